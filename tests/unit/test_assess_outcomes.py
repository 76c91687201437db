"""Kernels, images, expectations and health: one row for each outcome that the policies know."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.assessed import A100, HEALTHY, STEPS, failing, judge, told, torch

from gpuenv.api.spec.environment import Checks, Expectations
from gpuenv.assess.facts import (
    CommandResult,
    Facts,
    Failure,
    NodeFacts,
    Step,
)
from gpuenv.assess.model import Verdict
from gpuenv.assess.sources.probe.probe_facts import read_health

COMPILE = Checks(features=frozenset({"Compile"}))


@pytest.mark.parametrize(
    ("step", "verdict", "reason"),
    [
        (
            Step(
                "matmul",
                0,
                status="Fail",
                error=Failure(
                    "cudart", 209, message="no kernel image is available for execution on the device"
                ),
            ),
            "Incompatible",
            "ArchNotInBuild",
        ),
        (
            Step("matmul", 0, status="Fail", error=Failure("cudart", 222)),
            "Incompatible",
            "PtxNewerThanDriver",
        ),
        (Step("matmul", 0, status="Fail", error=Failure("cudart", 700)), "Incompatible", "KernelFault"),
        (
            Step("matmul", 0, status="Fail", error=Failure("cudart", 36)),
            "Incompatible",
            "DriverFeatureMissing",
        ),
        (Step("jit", 0, status="Fail", error=Failure("cudart", 36)), "Degraded", "DriverFeatureMissing"),
        (Step("jit", 0, status="Fail", error=Failure("cudart", 222)), "Degraded", "PtxNewerThanDriver"),
        (
            Step(
                "conv",
                0,
                status="Fail",
                error=Failure("torch", message="cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
            ),
            "Incompatible",
            "CudnnLoadFailed",
        ),
        (
            Step("matmul", 0, status="Fail", error=Failure("torch", message="nobody knows")),
            "Incompatible",
            "KernelFailed",
        ),
        (Step("matmul", 0, status="Wrong", detail="off by 3"), "Incompatible", "WrongResult"),
        (Step("matmul", 0, status="Unconfirmed", detail="off by 3"), "Unknown", "WrongResult"),
        (
            Step("matmul", 0, status="Crashed", error=Failure("signal", 11, "SIGSEGV")),
            "Incompatible",
            "KernelFailed",
        ),
        (Step("matmul", 0, status="Crashed", error=Failure("signal", 9, "SIGKILL")), "Unknown", "OomKilled"),
        (Step("matmul", 0, status="TimedOut"), "Unknown", "ProbeTimeout"),
        (Step("matmul", 0, status="Fail", error=Failure("cudart", 2)), "Unknown", "OutOfMemory"),
        (Step("matmul", 0, status="Fail", error=Failure("cudart", 46)), "Unknown", "GpuBusy"),
        (
            Step("stream", 0, status="Fail", error=Failure("torch", message="nobody knows")),
            "Degraded",
            "KernelFailed",
        ),
    ],
)
def test_each_outcome_of_a_step_has_its_reason(step: Step, verdict: str, reason: str) -> None:
    found = judge(failing(step))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_sick_hardware_beats_what_follows_from_it() -> None:
    soft = Step("conv", 0, status="Fail", error=Failure("cudart", 719, message="unspecified launch failure"))
    hard = Step(
        "matmul",
        0,
        status="Fail",
        error=Failure("cudart", 214, message="uncorrectable ECC error encountered"),
    )
    assert judge(failing(soft, hard)).reason == "EccUncorrectable"


def test_a_full_gpu_and_a_shared_gpu_are_busy_not_too_small() -> None:
    oom = Step("alloc", 0, status="Fail", error=Failure("cudart", 2, message="CUDA out of memory"))
    full = replace(failing(oom), gpus=(replace(A100, memory_free_mib=500),))
    assert judge(full).reason == "GpuBusy"
    shared = failing(oom)
    assert judge(replace(shared, node=replace(shared.node, sharing="time-slicing"))).reason == "GpuBusy"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(HEALTHY, stages=frozenset({"facts"}), steps=()), "KernelsNotRun"),
        (replace(HEALTHY, stages=frozenset({"facts"}), ended="deadline"), "KernelsNotRun"),
        (replace(HEALTHY, steps=tuple(replace(step, status="Skipped") for step in STEPS)), "KernelsNotRun"),
        (replace(HEALTHY, gpus=(A100, replace(A100, index=1))), "KernelsNotRun"),
        (replace(HEALTHY, steps=(Step("alloc", 0, status="Pass"),)), "KernelsNotRun"),
        (replace(HEALTHY, stages=frozenset({"kernels"})), "NotEnoughFacts"),
    ],
)
def test_what_did_not_run_is_never_a_pass(facts: Facts, reason: str) -> None:
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason), told(found)


def test_kernels_decide_against_the_tables() -> None:
    """The build's list lacks the GPU's architecture, the driver is below the floor; the kernels ran."""
    odd = replace(
        torch(arch_flags=("sm_90",)), driver=replace(HEALTHY.driver, version="470.57.02", cuda_version=11040)
    )
    assert judge(replace(odd, node=NodeFacts())).verdict is Verdict.COMPATIBLE


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (torch(version="2.9.1+cpu", cuda=None, cpu_build=True), "TorchCpuBuild"),
        (torch(version=None, cuda=None, missing=True), "TorchMissing"),
        (
            torch(import_error=Failure("python", name="ImportError", message="libfoo.so: cannot read")),
            "TorchBroken",
        ),
        (
            torch(
                import_error=Failure(
                    "python", message="undefined symbol: __nvJitLinkAddData_12_1, version libnvJitLink.so.12"
                )
            ),
            "LibraryConflict",
        ),
        (
            torch(import_error=Failure("python", message="libcudnn.so.9: cannot open shared object file")),
            "CudnnLoadFailed",
        ),
        (
            torch(import_error=Failure("python", message="/lib/libc.so.6: version `GLIBC_2.34' not found")),
            "TorchBroken",
        ),
    ],
)
def test_images_without_a_working_torch(facts: Facts, reason: str) -> None:
    found = judge(replace(facts, steps=(), stages=frozenset({"facts"})))
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, reason), told(found)


@pytest.mark.parametrize(
    ("expect", "verdict", "reason"),
    [
        (
            Expectations(
                pytorch="==2.9.*",
                cuda="==12.8",
                cudnn=">=9.10",
                nccl=">=2.27",
                python=">=3.10",
                driver=">=535",
            ),
            "Compatible",
            "",
        ),
        (Expectations(pytorch="==2.8.*"), "Incompatible", "ExpectationMismatch"),
        (Expectations(cudnn="<9"), "Incompatible", "ExpectationMismatch"),
        (Expectations(driver=">=580"), "Incompatible", "ExpectationMismatch"),
        (Expectations(min_compute_capability=(8, 0), max_compute_capability=(9, 0)), "Compatible", ""),
        (Expectations(min_compute_capability=(8, 6)), "Incompatible", "ExpectationMismatch"),
        (Expectations(products=("NVIDIA A100*", "NVIDIA H100*")), "Compatible", ""),
        (Expectations(products=("NVIDIA-A100-SXM4-80GB",)), "Compatible", ""),
        (Expectations(products=("NVIDIA L4",)), "Incompatible", "ExpectationMismatch"),
        (Expectations(min_memory_bytes=80 * 2**30), "Compatible", ""),
        (Expectations(min_memory_bytes=81 * 2**30), "Incompatible", "ExpectationMismatch"),
    ],
)
def test_expectations(expect: Expectations, verdict: str, reason: str) -> None:
    found = judge(HEALTHY, expect)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


@pytest.mark.parametrize("tried", [Checks(imports=("flash_attn",)), COMPILE])
def test_what_was_asked_for_and_not_tried_is_unknown(tried: Checks) -> None:
    found = judge(HEALTHY, tried=tried)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "ExpectationUnknown"), told(found)


def test_vendor_versions_compare_on_the_release_segment() -> None:
    facts = torch(version="2.9.0a0+145a3a7bda.nv25.10")
    assert judge(facts, Expectations(pytorch="==2.9.*")).verdict is Verdict.COMPATIBLE
    assert judge(facts, Expectations(pytorch=">=2.9.0")).verdict is Verdict.COMPATIBLE


@pytest.mark.parametrize(
    ("mib", "gib", "enough"),
    [
        (81559, 80, True),
        (23028, 24, True),
        (15360, 16, True),
        (15109, 16, True),
        (22731, 24, True),
        (40960, 40, True),
        (143771, 141, True),
        (95830, 94, True),
        (95830, 96, False),
        (11264, 12, False),
        (16280, 24, False),
        (9856, 10, True),
        (46068, 48, True),
    ],
)
def test_memory_is_nominal(mib: int, gib: int, enough: bool) -> None:
    facts = replace(HEALTHY, gpus=(replace(A100, memory_mib=mib),))
    found = judge(facts, Expectations(min_memory_bytes=gib * 2**30))
    assert (found.verdict is Verdict.COMPATIBLE) is enough, told(found)


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        ("Pass", "Compatible", ""),
        ("Fail", "Incompatible", "ImportFailed"),
        ("TimedOut", "Unknown", "ImportFailed"),
        ("Skipped", "Unknown", "ExpectationUnknown"),
    ],
)
def test_expected_imports(status: str, verdict: str, reason: str) -> None:
    step = Step(
        "import:vllm",
        0,
        status=status,
        error=Failure("python", message="undefined symbol") if status == "Fail" else None,
    )
    found = judge(replace(HEALTHY, steps=(*STEPS, step)), tried=Checks(imports=("vllm",)))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)
    assert judge(replace(HEALTHY, steps=(*STEPS, step))).verdict is Verdict.COMPATIBLE, (
        "nobody expects it any more"
    )


def test_expected_compile() -> None:
    broken = replace(
        HEALTHY,
        steps=(
            *STEPS,
            Step("compile", 0, status="Fail", error=Failure("torch", message="Failed to find C compiler")),
        ),
    )
    assert judge(broken).verdict is Verdict.COMPATIBLE
    assert judge(broken, tried=COMPILE).reason == "CompileUnavailable"
    working = replace(HEALTHY, steps=(*STEPS, Step("compile", 0, status="Pass")))
    assert judge(working, tried=COMPILE).verdict is Verdict.COMPATIBLE


@pytest.mark.parametrize(
    ("command", "verdict", "reason"),
    [
        (CommandResult("smoke", 0), "Compatible", ""),
        (CommandResult("smoke", 1, tail="boom"), "Incompatible", "CheckFailed"),
        (CommandResult("smoke", None, signal=9), "Incompatible", "CheckFailed"),
        (CommandResult("smoke", None, timed_out=True), "Incompatible", "CheckTimedOut"),
        (CommandResult("smoke", None), "Unknown", "CheckFailed"),
    ],
)
def test_commands(command: CommandResult, verdict: str, reason: str) -> None:
    found = judge(replace(HEALTHY, commands=(command,)))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


@pytest.mark.parametrize(
    ("health", "verdict", "reason"),
    [
        ({"remapFailed": True}, "Incompatible", "GpuUnhealthy"),
        ({"remapPending": 1}, "Degraded", "GpuUnhealthy"),
        ({"recoveryAction": 1}, "Incompatible", "GpuResetRequired"),
        ({"recoveryAction": 2}, "Incompatible", "GpuUnhealthy"),
        ({"eccUncorrected": 3}, "Degraded", "GpuUnhealthy"),
        ({"throttleReasons": 0x40}, "Degraded", "GpuSlowed"),
        ({"throttleReasons": 0x4}, "Compatible", ""),
        ({"powerLimitW": 250, "powerDefaultW": 400}, "Compatible", ""),
        ({"fabricState": 1}, "Compatible", ""),
        ({"pcieWidth": 8, "pcieWidthMax": 16}, "Compatible", ""),
        ({"eccUncorrected": None, "remapFailed": "n/a"}, "Compatible", ""),
    ],
)
def test_health(health: dict[str, Any], verdict: str, reason: str) -> None:
    found = judge(replace(HEALTHY, gpus=(replace(A100, health=read_health(health)),)))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)
