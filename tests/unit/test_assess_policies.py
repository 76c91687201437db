"""Driver, device and architecture: one row for each reason that the policies about them know."""

from dataclasses import replace

import pytest
from tests.support.assessed import HEALTHY, STEPS, driver, judge, stopped, told, torch

from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.facts import (
    DeviceNode,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    Libcuda,
    NodeFacts,
    Step,
    TorchFacts,
)
from gpuenv.assess.model import Verdict
from gpuenv.cli.output.text import in_words


def test_a_healthy_run_is_compatible_and_says_nothing_else() -> None:
    found = judge(HEALTHY)
    assert found.verdict is Verdict.COMPATIBLE
    assert (found.reason, found.message) == ("", "")
    assert told(found) == []


NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0")


@pytest.mark.parametrize(
    ("number", "verdict", "reason"),
    [
        (2, "Unknown", "OutOfMemory"),
        (3, "Incompatible", "CudaInitFailed"),
        (34, "Incompatible", "StubLibcuda"),
        (35, "Incompatible", "DriverTooOld"),
        (36, "Unknown", "KernelsNotRun"),
        (46, "Unknown", "GpuBusy"),
        (100, "Incompatible", "NoDevice"),
        (214, "Incompatible", "EccUncorrectable"),
        (304, "Incompatible", "OsCallFailed"),
        (802, "Incompatible", "FabricNotReady"),
        (803, "Incompatible", "DriverMismatch"),
        (804, "Incompatible", "ForwardCompatUnsupported"),
        (805, "Unknown", "MpsUnavailable"),
        (807, "Unknown", "MpsUnavailable"),
        (999, "Incompatible", "CudaInitUnknown"),
        (12345, "Incompatible", "CudaInitFailed"),
    ],
)
def test_each_number_of_cuinit_has_its_reason(number: int, verdict: str, reason: str) -> None:
    found = judge(stopped(cu_init=number))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_a_driver_call_that_fails_after_cuinit_has_its_reason() -> None:
    found = judge(stopped(cu_init=0, cuda=Failure("cuda", 46, "cuDeviceGetCount")))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "GpuBusy"), told(found)
    assert "cuDeviceGetCount failed" in found.message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
            "DriverNotVisible",
        ),
        ("The NVIDIA driver on your system is too old (found version 11040).", "DriverTooOld"),
        (
            "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
            "FabricNotReady",
        ),
        (
            "Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW",
            "ForwardCompatUnsupported",
        ),
        ("CUDA unknown error - this may be due to an incorrectly set up environment", "CudaInitUnknown"),
        ("No CUDA GPUs are available", "NoDevice"),
        ("something nobody has seen", "CudaInitFailed"),
    ],
)
def test_what_torch_says_at_its_start_has_its_reason(message: str, reason: str) -> None:
    facts = stopped()
    facts = replace(
        facts, torch=replace(facts.torch, init_error=Failure("torch", name="RuntimeError", message=message))
    )
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, reason), told(found)


@pytest.mark.parametrize(
    ("nvml", "verdict", "reason"),
    [
        (Failure("nvml", 9, message="Driver Not Loaded"), "Incompatible", "DriverNotVisible"),
        (Failure("nvml", 15, message="GPU is lost"), "Incompatible", "GpuLost"),
        (Failure("nvml", 16, message="GPU requires reset"), "Incompatible", "GpuResetRequired"),
        (Failure("nvml", 18, message="Driver/library version mismatch"), "Incompatible", "DriverMismatch"),
        (Failure("nvml", 999, message="Unknown Error"), "Unknown", "ContainerLostGpu"),
    ],
)
def test_nvml_names_the_reason_where_cuda_does_not_start(nvml: Failure, verdict: str, reason: str) -> None:
    facts = stopped(nvml=nvml)
    facts = replace(facts, torch=replace(facts.torch, available=None))
    found = judge(facts)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_nvml_alone_missing_is_degraded_and_a_lost_gpu_is_not() -> None:
    missing = judge(driver(nvml=Failure("nvml", 12, message="NVML Shared Library Not Found")))
    assert (missing.verdict, missing.reason) == (Verdict.DEGRADED, "NvmlUnavailable")
    lost = judge(driver(nvml=Failure("nvml", 15, message="GPU is lost")))
    assert (lost.verdict, lost.reason) == (Verdict.INCOMPATIBLE, "GpuLost")


def test_999_is_uvm_only_with_evidence() -> None:
    nodes = tuple(DeviceNode(path, 2 if "uvm" in path else 0) for path in NODES)
    found = judge(stopped(cu_init=999, device_nodes=nodes))
    assert found.reason == "UvmMissing"
    assert "errno 2" in found.message
    fine = tuple(DeviceNode(path, 0) for path in NODES)
    assert judge(stopped(cu_init=999, device_nodes=fine)).reason == "CudaInitUnknown"


def test_no_device_names_the_variable_that_hides_them() -> None:
    facts = stopped(cu_init=100)
    facts = replace(facts, container=replace(facts.container, env={"CUDA_VISIBLE_DEVICES": "all"}))
    found = judge(facts)
    assert found.reason == "NoDevice"
    assert "CUDA_VISIBLE_DEVICES=all" in found.message


def test_cures_fit_the_platform() -> None:
    for platform, words in (
        ("gke", "/usr/local/nvidia"),
        ("wsl", "Windows"),
        ("eks", "AMI"),
        ("gfd", "RuntimeClass"),
    ):
        facts = stopped(libcuda=Libcuda(None, None, "libcuda.so.1: cannot open shared object file"))
        found = judge(
            replace(
                facts, node=replace(facts.node, platform=platform), torch=replace(facts.torch, available=None)
            )
        )
        assert found.reason == "DriverNotVisible", told(found)
        assert words in in_words(found.checks[0].remedies)


@pytest.mark.parametrize(
    ("version", "api", "cuda", "verdict", "reason"),
    [
        ("525.60.13", 12000, "12.8", "Compatible", ""),
        ("520.61.05", 11080, "12.1", "Incompatible", "DriverTooOld"),
        ("580.65.06", 13000, "13.2", "Compatible", ""),
        ("575.57.08", 12090, "13.0", "Incompatible", "DriverTooOld"),
        ("450.80.02", 11000, "11.8", "Compatible", ""),
        ("450.51.06", 11000, "11.8", "Incompatible", "DriverTooOld"),
        ("450.51.06", 11000, "11.0", "Compatible", ""),
        ("440.33.01", 10020, "10.2", "Compatible", ""),
        ("430.64", 10010, "10.2", "Incompatible", "DriverTooOld"),
        ("470.57.02", 12010, "12.1", "Compatible", ""),
        ("595.71.05", 13020, "11.8", "Compatible", ""),
    ],
)
def test_minor_version_compatibility(version: str, api: int, cuda: str, verdict: str, reason: str) -> None:
    steps = STEPS if verdict == "Compatible" else ()
    facts = replace(
        HEALTHY,
        driver=replace(HEALTHY.driver, version=version, cuda_version=api),
        torch=replace(HEALTHY.torch, cuda=cuda),
        node=NodeFacts(),
        steps=steps,
    )
    found = judge(facts)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


@pytest.mark.parametrize(
    ("api", "cuda", "verdict", "reason"),
    [
        (12080, "12.8", "Compatible", ""),
        (12020, "12.8", "Incompatible", "DriverTooOld"),
        (13000, "12.8", "Compatible", ""),
    ],
)
def test_the_toolkit_rule_is_stricter(api: int, cuda: str, verdict: str, reason: str) -> None:
    facts = driver(cuda_version=api)
    found = judge(replace(facts, torch=replace(facts.torch, cuda=cuda)), Expectations(driver_rule="Toolkit"))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_minor_version_compatibility_in_use_is_a_note() -> None:
    found = judge(driver(version="535.104.05", cuda_version=12020))
    assert found.verdict is Verdict.COMPATIBLE
    assert "DriverOlderThanToolkit" in {check.reason for check in found.checks}


def test_cuda_compat_in_use_is_a_note() -> None:
    found = judge(driver(version="535.104.05", cuda_version=12080))
    assert found.verdict is Verdict.COMPATIBLE
    assert "ForwardCompatInUse" in {check.reason for check in found.checks}


@pytest.mark.parametrize(
    ("product", "capability", "version", "reason"),
    [
        ("Tesla V100-SXM2-16GB", (7, 0), "590.48.01", "DriverDroppedGpu"),
        ("Tesla P100-PCIE-16GB", (6, 0), "595.45.04", "DriverDroppedGpu"),
        ("Tesla K80", (3, 7), "525.60.13", "DriverDroppedGpu"),
        ("NVIDIA B200", (10, 0), "550.54.15", "DriverTooOld"),
    ],
)
def test_drivers_that_do_not_know_the_gpu(
    product: str, capability: tuple[int, int], version: str, reason: str
) -> None:
    facts = stopped(cu_init=100, version=version)
    facts = replace(
        facts,
        gpus=(Gpu(0, product, compute_capability=capability),),
        node=NodeFacts(),
        torch=replace(facts.torch, cuda="11.8"),
    )
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, reason), told(found)


def test_the_node_label_tells_of_a_gpu_that_the_driver_dropped() -> None:
    nodes = tuple(DeviceNode(path, 2) for path in NODES)
    facts = stopped(
        cu_init=100, version=None, device_nodes=nodes, nvml=Failure("nvml", 9, message="Driver Not Loaded")
    )
    facts = replace(
        facts, gpus=(), node=NodeFacts(product="Tesla-V100-SXM2-16GB", driver_version="590.48.01")
    )
    assert judge(facts).reason == "DriverDroppedGpu"


@pytest.mark.parametrize(
    ("capability", "flags", "cuda", "reason"),
    [
        ((8, 9), ("sm_80", "sm_90"), "12.8", ""),
        ((8, 9), ("sm_86",), "12.8", ""),
        ((10, 3), ("sm_100",), "12.9", ""),
        ((12, 1), ("sm_120",), "13.0", ""),
        ((6, 1), ("sm_60",), "12.6", ""),
        ((7, 5), ("sm_70",), "12.1", ""),
        ((8, 0), ("sm_86",), "12.8", "ArchNotInBuild"),
        ((12, 0), ("sm_100",), "12.8", "ArchNotInBuild"),
        ((9, 0), ("sm_80", "sm_86"), "12.1", "ArchNotInBuild"),
        ((10, 0), ("sm_90a",), "12.8", "ArchNotInBuild"),
        ((10, 3), ("sm_100a",), "12.9", "ArchNotInBuild"),
        ((10, 3), ("sm_100f",), "12.9", ""),
        ((9, 0), ("sm_90a",), "12.4", ""),
        ((8, 7), ("sm_80", "sm_86"), "12.8", "ArchNotInBuild"),
        ((8, 7), ("sm_80",), "13.2", ""),
        ((8, 7), ("sm_87",), "12.6", ""),
        ((7, 2), ("sm_70",), "11.4", "ArchNotInBuild"),
        ((8, 6), ("sm_87",), "12.6", "ArchNotInBuild"),
        ((11, 0), ("sm_101",), "12.9", ""),
        ((11, 0), ("sm_100", "sm_120"), "13.0", "ArchNotInBuild"),
        ((12, 0), ("sm_90", "compute_90"), "12.6", "ArchNotInBuild"),
        ((9, 0), ("sm_80", "compute_80"), "12.1", "PtxJitOnly"),
        ((5, 3), ("sm_50",), "10.2", "ArchNotInBuild"),
        ((14, 0), ("sm_120",), "13.2", "ArchNotInBuild"),
    ],
)
def test_the_true_binary_rules(
    capability: tuple[int, int], flags: tuple[str, ...], cuda: str, reason: str
) -> None:
    facts = Facts(
        source="flags",
        torch=TorchFacts(version="2.9.0", cuda=cuda, arch_flags=flags),
        driver=DriverFacts(version="585.10"),
        gpus=(Gpu(compute_capability=capability),),
    )
    named = {check.reason for check in judge(facts).checks} & {
        "ArchNotInBuild",
        "PtxJitOnly",
        "PtxNewerThanDriver",
    }
    assert named == ({reason} if reason else set())


def test_ptx_of_a_newer_toolkit_than_the_driver_fails() -> None:
    facts = Facts(
        source="flags",
        torch=TorchFacts(version="2.9.0", cuda="12.8", arch_flags=("sm_80", "compute_80")),
        driver=DriverFacts(version="535.104.05"),
        gpus=(Gpu(0, "NVIDIA H100 PCIe"),),
    )
    assert judge(facts).reason == "PtxNewerThanDriver"


def test_cudnn_has_dropped_volta_unless_convolutions_ran() -> None:
    v100 = (Gpu(0, "Tesla V100-SXM2-16GB", compute_capability=(7, 0)),)
    facts = replace(torch(cudnn=91300), gpus=v100)
    assert judge(facts).verdict is Verdict.COMPATIBLE
    crashed = replace(
        facts,
        steps=(
            Step("matmul", 0, status="Pass"),
            Step("conv", 0, status="Crashed", error=Failure("signal", 11, "SIGSEGV")),
        ),
    )
    found = judge(crashed)
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, "CudnnDroppedGpu")
