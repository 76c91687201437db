"""One row a rule: what is seen, and which check it leads to. Adding a check means adding a row here."""

from dataclasses import replace
from typing import Any

import pytest

from gpuenv.api.environment import Expectations, Floor
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import (
    Benchmark,
    CommandResult,
    ContainerFacts,
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
from gpuenv.assess.model import Assessment, Status, Verdict
from gpuenv.assess.policies.floors import peer_key
from gpuenv.knowledge import load

K = load()
A100 = Gpu(0, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0), memory_mib=81920, memory_free_mib=81000)
STEPS = tuple(
    Step(name, 0, dtype)
    for name in ("alloc", "matmul", "conv", "attention", "train")
    for dtype in ("fp32", "bf16")
)
HEALTHY = Facts(
    source="probe",
    stages=frozenset({"facts", "kernels"}),
    container=ContainerFacts(python="3.11.7", uid=1000, shm_mib=1024, writable=("/tmp",)),
    driver=DriverFacts(
        version="570.124.06",
        cuda_version=12080,
        cu_init=0,
        device_count=1,
        libcuda=Libcuda("/usr/lib/libcuda.so.1", "host"),
    ),
    gpus=(A100,),
    torch=TorchFacts(
        version="2.9.1+cu128",
        cuda="12.8",
        cudnn=91002,
        nccl="2.27.5",
        arch_flags=("sm_70", "sm_80", "sm_90"),
        available=True,
    ),
    node=NodeFacts(name="n", driver_version="570.124.06", platform="gfd"),
    steps=STEPS,
)


def judge(
    facts: Facts, expect: Expectations | None = None, *floors: Floor, peers: dict[str, float] | None = None
) -> Assessment:
    return assess(facts, expect, floors, K, peers=peers)


def told(found: Assessment) -> list[tuple[Status, str, str]]:
    return [
        (check.status, check.reason, check.message)
        for check in found.checks
        if check.status is not Status.PASS
    ]


def driver(**changes: Any) -> Facts:
    return replace(HEALTHY, driver=replace(HEALTHY.driver, **changes))


def torch(**changes: Any) -> Facts:
    return replace(HEALTHY, torch=replace(HEALTHY.torch, **changes))


def stopped(**changes: Any) -> Facts:
    """CUDA does not start: no kernels either."""
    base = (
        driver(cu_init=None, device_count=None, **changes)
        if "cu_init" not in changes
        else driver(device_count=None, **changes)
    )
    return replace(base, torch=replace(base.torch, available=False), steps=(), stages=frozenset({"facts"}))


def failing(*steps: Step) -> Facts:
    return replace(
        HEALTHY, steps=(*steps, *(step for step in STEPS if step.name not in {bad.name for bad in steps}))
    )


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
        assert words in found.checks[0].remediation


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
        facts, steps=(Step("matmul"), Step("conv", status="Crashed", error=Failure("signal", 11, "SIGSEGV")))
    )
    found = judge(crashed)
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, "CudnnDroppedGpu")


@pytest.mark.parametrize(
    ("step", "verdict", "reason"),
    [
        (
            Step(
                "matmul",
                status="Fail",
                error=Failure(
                    "cudart", 209, message="no kernel image is available for execution on the device"
                ),
            ),
            "Incompatible",
            "ArchNotInBuild",
        ),
        (Step("matmul", status="Fail", error=Failure("cudart", 222)), "Incompatible", "PtxNewerThanDriver"),
        (Step("matmul", status="Fail", error=Failure("cudart", 700)), "Incompatible", "KernelFault"),
        (Step("matmul", status="Fail", error=Failure("cudart", 36)), "Incompatible", "DriverFeatureMissing"),
        (Step("jit", status="Fail", error=Failure("cudart", 36)), "Degraded", "DriverFeatureMissing"),
        (Step("jit", status="Fail", error=Failure("cudart", 222)), "Degraded", "PtxNewerThanDriver"),
        (
            Step(
                "conv",
                status="Fail",
                error=Failure("torch", message="cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
            ),
            "Incompatible",
            "CudnnLoadFailed",
        ),
        (
            Step("matmul", status="Fail", error=Failure("torch", message="nobody knows")),
            "Incompatible",
            "KernelFailed",
        ),
        (Step("matmul", status="Wrong", detail="off by 3"), "Incompatible", "WrongResult"),
        (Step("matmul", status="Unconfirmed", detail="off by 3"), "Unknown", "WrongResult"),
        (
            Step("matmul", status="Crashed", error=Failure("signal", 11, "SIGSEGV")),
            "Incompatible",
            "KernelFailed",
        ),
        (Step("matmul", status="Crashed", error=Failure("signal", 9, "SIGKILL")), "Unknown", "OomKilled"),
        (Step("matmul", status="TimedOut"), "Unknown", "ProbeTimeout"),
        (Step("matmul", status="Fail", error=Failure("cudart", 2)), "Unknown", "OutOfMemory"),
        (Step("matmul", status="Fail", error=Failure("cudart", 46)), "Unknown", "GpuBusy"),
        (
            Step("stream", status="Fail", error=Failure("torch", message="nobody knows")),
            "Degraded",
            "KernelFailed",
        ),
    ],
)
def test_each_outcome_of_a_step_has_its_reason(step: Step, verdict: str, reason: str) -> None:
    found = judge(failing(step))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_sick_hardware_beats_what_follows_from_it() -> None:
    soft = Step("conv", status="Fail", error=Failure("cudart", 719, message="unspecified launch failure"))
    hard = Step(
        "matmul", status="Fail", error=Failure("cudart", 214, message="uncorrectable ECC error encountered")
    )
    assert judge(failing(soft, hard)).reason == "EccUncorrectable"


def test_a_full_gpu_and_a_shared_gpu_are_busy_not_too_small() -> None:
    oom = Step("alloc", status="Fail", error=Failure("cudart", 2, message="CUDA out of memory"))
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
        (replace(HEALTHY, steps=(Step("alloc"),)), "KernelsNotRun"),
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
        (Expectations(imports=("flash_attn",)), "Unknown", "ExpectationUnknown"),
        (Expectations(compile=True), "Unknown", "ExpectationUnknown"),
    ],
)
def test_expectations(expect: Expectations, verdict: str, reason: str) -> None:
    found = judge(HEALTHY, expect)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


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
        status=status,
        error=Failure("python", message="undefined symbol") if status == "Fail" else None,
    )
    found = judge(replace(HEALTHY, steps=(*STEPS, step)), Expectations(imports=("vllm",)))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)
    assert judge(replace(HEALTHY, steps=(*STEPS, step))).verdict is Verdict.COMPATIBLE, (
        "nobody expects it any more"
    )


def test_expected_compile() -> None:
    broken = replace(
        HEALTHY,
        steps=(
            *STEPS,
            Step("compile", status="Fail", error=Failure("torch", message="Failed to find C compiler")),
        ),
    )
    assert judge(broken).verdict is Verdict.COMPATIBLE
    assert judge(broken, Expectations(compile=True)).reason == "CompileUnavailable"
    working = replace(HEALTHY, steps=(*STEPS, Step("compile")))
    assert judge(working, Expectations(compile=True)).verdict is Verdict.COMPATIBLE


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


MATMUL = Benchmark("matmul", 0, "bf16", "TFLOPS", 200.0)


@pytest.mark.parametrize(
    ("floor", "verdict", "reason"),
    [
        (Floor("matmul", "bf16", min_tflops=180), "Compatible", ""),
        (Floor("matmul", "bf16", min_tflops=220), "Degraded", "BelowFloor"),
        (Floor("matmul", "bf16", products=("NVIDIA H100*",), min_tflops=900), "Compatible", ""),
        (Floor("matmul", "fp16", min_tflops=180), "Unknown", "FloorNotMeasured"),
        (Floor("memory", min_gbps=1000), "Unknown", "FloorNotMeasured"),
        (Floor("matmul", "bf16", min_gbps=1000), "Unknown", "FloorNotMeasured"),
        (Floor("matmul", "bf16", min_percent_of_peers=85), "Compatible", ""),
    ],
)
def test_floors(floor: Floor, verdict: str, reason: str) -> None:
    found = judge(replace(HEALTHY, benchmarks=(MATMUL,)), None, floor)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_floors_against_peers() -> None:
    facts = replace(HEALTHY, benchmarks=(MATMUL,))
    peers = {peer_key("matmul", "bf16", "NVIDIA A100-SXM4-80GB"): 250.0}
    assert (
        judge(facts, None, Floor("matmul", "bf16", min_percent_of_peers=85), peers=peers).reason
        == "BelowFloor"
    )
    assert (
        judge(facts, None, Floor("matmul", "bf16", min_percent_of_peers=75), peers=peers).verdict
        is Verdict.COMPATIBLE
    )


def test_floors_on_shared_devices_are_a_note() -> None:
    shared = replace(HEALTHY, node=replace(HEALTHY.node, sharing="mig"))
    assert judge(shared, None, Floor("matmul", "bf16", min_tflops=180)).verdict is Verdict.COMPATIBLE


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
    found = judge(replace(HEALTHY, gpus=(replace(A100, health=health),)))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def flags(version: str, gpu: str, driver_version: str = "580.65.06", **more: Any) -> Facts:
    return Facts(
        source="flags",
        torch=TorchFacts(version=version, **more),
        driver=DriverFacts(version=driver_version),
        gpus=(Gpu(product=gpu),),
    )


def test_notes_that_do_not_fail() -> None:
    def notes(facts: Facts) -> set[str]:
        found = judge(facts)
        assert found.verdict is Verdict.COMPATIBLE, told(found)
        return {check.reason for check in found.checks if check.status is Status.NOTE}

    assert "FeatureOutOfReach" in notes(flags("2.7.1+cu118", "NVIDIA H100 PCIe", cuda="11.8"))
    assert "LastSupportedGeneration" in notes(flags("2.7.1+cu118", "Tesla P40", cuda="11.8"))
    assert "NoSuchBuild" in notes(flags("2.9.0", "NVIDIA A100-PCIE-40GB", cuda="11.8"))
    assert "TorchNotInTables" in notes(flags("2.19.0", "NVIDIA A100-PCIE-40GB", cuda="13.2"))


def test_a_wheel_that_names_its_cuda_exists() -> None:
    seen = replace(flags("2.9.0+cu129", "NVIDIA L4", cuda="12.9"), source="collect-env")
    assert "NoSuchBuild" not in {check.reason for check in judge(seen).checks}


def test_gpus_beside_arm_processors_take_the_arm_wheels() -> None:
    assert judge(flags("2.11.0+cu130", "NVIDIA Thor", cuda="13.0")).verdict is Verdict.COMPATIBLE
    x86 = replace(
        flags("2.11.0+cu130", "NVIDIA Thor", cuda="13.0"), container=ContainerFacts(machine="x86_64")
    )
    assert judge(x86).reason == "ArchNotInBuild"


def test_a_build_that_never_was_names_those_that_were() -> None:
    message = next(
        check.message
        for check in judge(flags("2.9.0", "NVIDIA L4", cuda="11.8")).checks
        if check.reason == "NoSuchBuild"
    )
    assert message == "PyTorch 2.9 was not released for CUDA 11.8; it was for 12.6, 12.8 and 13.0"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(source="flags"), "NotEnoughFacts"),
        (replace(flags("2.9.1+cu128", "x"), gpus=()), "NotEnoughFacts"),
        (flags("2.9.1+cu128", "NVIDIA X9999"), "ArchUnknown"),
        (flags("2.9.0a0+gitabcdef", "NVIDIA L4", cuda="12.8"), "ArchUnknown"),
        (replace(flags("2.9.1+cu128", "NVIDIA L4"), driver=DriverFacts()), "NotEnoughFacts"),
    ],
)
def test_what_is_not_known_stays_unknown(facts: Facts, reason: str) -> None:
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason), told(found)
    assert found.checks[0].remediation


@pytest.mark.parametrize(
    ("cuda", "version", "verdict", "reason"),
    [("14.1", "595.45.04", "Incompatible", "DriverTooOld"), ("14.1", "690.10", "Unknown", "NotEnoughFacts")],
)
def test_a_cuda_beyond_the_tables_is_judged_by_rule(
    cuda: str, version: str, verdict: str, reason: str
) -> None:
    found = judge(flags("3.0.0", "NVIDIA L4", version, cuda=cuda))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_a_v100_is_never_sent_past_r580() -> None:
    found = judge(flags("2.9.1+cu128", "Tesla V100-SXM2-16GB", "470.57.02"))
    assert found.reason == "DriverTooOld"
    assert "not past R580" in found.checks[0].remediation
    gone = judge(flags("2.9.1+cu128", "Tesla V100-SXM2-16GB", "595.45.04"))
    assert gone.reason == "DriverDroppedGpu"
    assert "R580" in gone.checks[0].remediation


@pytest.mark.parametrize("platform", [None, "gfd", "gke", "eks", "aks", "openshift", "wsl"])
def test_every_platform_has_its_words_for_a_newer_driver(platform: str | None) -> None:
    found = judge(
        replace(
            flags("2.11.0+cu130", "NVIDIA L4", "535.104.05", cuda="13.0"), node=NodeFacts(platform=platform)
        )
    )
    assert "580.65.06 or newer" in found.checks[0].remediation
    assert "{" not in found.checks[0].remediation


def test_a_newer_driver_is_no_cure_where_the_build_has_no_code() -> None:
    found = judge(flags("2.11.0+cu130", "Tesla V100-SXM2-16GB", "535.104.05", cuda="13.0"))
    cure = next(check.remediation for check in found.checks if check.reason == "DriverTooOld")
    assert "cu126" in cure
    assert "pgrade" not in cure


def test_facts_that_contradict_each_other_are_named() -> None:
    facts = replace(
        HEALTHY, node=replace(HEALTHY.node, driver_version="535.104.05"), conflicts=("driver: a or b",)
    )
    messages = [check.message for check in judge(facts).checks if check.reason == "ConflictingFacts"]
    assert len(messages) == 2


@pytest.mark.parametrize(("node", "noted"), [(NodeFacts(name="n"), False), (NodeFacts(), True)])
def test_small_shared_memory_is_told_where_it_is_the_users_own(node: NodeFacts, noted: bool) -> None:
    """In a probe pod it is the pod's, and says nothing of the pods that will work with the image."""
    facts = replace(HEALTHY, container=replace(HEALTHY.container, shm_mib=64), node=node)
    assert ("SmallWorkspace" in {check.reason for check in judge(facts).checks}) is noted
