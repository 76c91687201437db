"""Error texts of every layer, as the software prints them, and the reason that they lead to first."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Failure, Gpu, TorchFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.knowledge import load

KNOWLEDGE = load()

TEXTS = {
    "SandboxFailed": (
        "nvidia-container-cli.real: initialization error: driver error: failed to process request: unknown",
        "docker: Error response from daemon: Unknown runtime specified nvidia.",
        'exec: "nvidia-container-runtime-hook": executable file not found in $PATH: unknown.',
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        "nvidia-container-cli: detection error: nvml error: unknown error: unknown.",
        "fork/exec /opt/nvidia-runtime/toolkit/nvidia-container-runtime: no such file or directory: unknown",
        "nvidia-container-cli: something that nobody has seen before",
        'failed to create pod sandbox: no runtime for "nvidia" is configured',
    ),
    "ImageArchMismatch": (
        "The requested image's platform (linux/amd64) does not match the detected host platform (linux/arm64/v8)",
        "exec /usr/bin/python3: exec format error",
    ),
    "OomKilled": ("Last State: Terminated  Reason: OOMKilled  Exit Code: 137",),
    "NoSuchBuild": ("ERROR: No matching distribution found for torch==2.9.1+cu118",),
    "NvmlUnavailable": (
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":830',
        "UserWarning: Can't initialize NVML",
    ),
    "GpuUnhealthy": ("NVRM: Xid (PCI:0000:3b:00): 38, pid='<unknown>', name=<unknown>",),
    "GpuNotAdvertised": ("UnexpectedAdmissionError: Allocate failed due to no healthy devices present",),
    "DriverFeatureMissing": (
        "Unexpected error from cudaGetDeviceCount(). Error 36: API call is not supported in the installed CUDA driver",
    ),
    "ContainerLostGpu": ("Failed to initialize NVML: Unknown Error",),
    "CudaInitUnknown": ("NCCL WARN Cuda failure 999 'unknown error'",),
    "GpuResetRequired": (
        "NVRM: Xid (PCI:0000:3d:00): 119, pid=2109, name=nvidia-smi, Timeout after 6s of waiting",
    ),
    "GpuLost": (
        "pynvml.nvml.NVMLError_GpuIsLost: GPU is lost",
        'DCGM_FI_DEV_XID_ERRORS{gpu="3"} 79',
        "Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "nvmlDeviceGetHandleByIndex: GPU is lost. Reboot the system to recover this GPU",
    ),
    "EccUncorrectable": (
        "Xid 48 double bit ECC error on GPU 3",
        "NVRM: Xid (PCI:0000:07:00): 94, pid=1234, Contained: SM (0x1).",
    ),
    "NvlinkFault": (
        "NVRM: Xid (PCI:0000:87:00): 74, pid='<unknown>', NVLink: fatal error detected on link 3(0x10000, 0x0)",
        "CUDA error: uncorrectable NVLink error detected during the execution",
    ),
    "TorchMissing": (
        "ImportError: No module named torch",
        '(ModuleNotFoundError: No module named "torch")',
        "ModuleNotFoundError: No module named 'torch'",
    ),
    "TorchCpuBuild": ("AssertionError: Torch not compiled with CUDA enabled",),
    "DriverMismatch": (
        "pynvml.NVMLError_LibRmVersionMismatch: RM has detected an NVML/RM version mismatch.",
        "Failed to initialize NVML: Driver/library version mismatch",
        "NVRM: API mismatch: the client has the version 535.183.01, but this kernel module has the version 535.171.04.",
    ),
    "StubLibcuda": ("Unexpected error from cudaGetDeviceCount(). Error 34: CUDA driver is a stub library",),
    "FabricNotReady": (
        "nvidia-fabricmanager: Failed to initialize NVSwitch",
        "fabric manager NVIDIA GPU driver interface version 550.54.15 don't match with driver version 550.90.07.",
        "CUDA_ERROR_SYSTEM_NOT_READY: system not yet initialized",
    ),
    "DriverDroppedGpu": (
        "[Sun] NVRM: The GTX 1050 GPU is\n    NVRM:  supported through the NVIDIA 580.xx Legacy drivers.",
        "NVRM: The NVIDIA Tesla V100 GPU installed in this system is supported through the NVIDIA 580.xx Legacy drivers.",
        "NVRM: The 590.48.01 NVIDIA driver will ignore this GPU. Continuing probe...",
    ),
    "DriverNotVisible": (
        'starting container process caused: exec: "nvidia-smi": executable file not found in $PATH',
        "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service",
        'error gathering device information while adding custom device "/dev/nvidiactl": no such file or directory',
        "pynvml.NVMLError_DriverNotLoaded: Driver Not Loaded",
        "NVIDIA-SMI has failed because it couldn’t communicate with the NVIDIA driver.",
        "NVIDIA-SMI has failed because it couldn&#39;t communicate with the NVIDIA driver.",
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
        "nvidia-container-cli: initialization error: WSL environment detected but no adapters were found",
    ),
    "DriverTooOld": (
        "unsatisfied condition: brand = Tesla",
        "vllm-1  | RuntimeError: The NVIDIA driver on your system is too\nvllm-1  | old (found version 12020).",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    ),
    "NoDevice": (
        "DeferredCudaCallError: CUDA call failed lazily: device >= 0 && device < num_gpus INTERNAL ASSERT FAILED",
        "NVRM: installed in this system is not supported by open\n      NVRM: nvidia.ko because",
        "RuntimeError: No CUDA GPUs are available",
        "No devices were found",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 101: invalid device ordinal",
        "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
    ),
    "CudaInitFailed": (
        "node-1: Last error:\nnode-1: Cuda failure 'initialization error'",
        "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.",
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "CUDA error: named symbol not found",
    ),
    "LibraryConflict": (
        "ImportError: libc10_cuda.so: undefined symbol: cudaGetDriverEntryPointByVersion, version libcudart.so.12",
        "NotImplementedError: Could not run 'torchvision::nms'",
        "RuntimeError: cuDNN version incompatibility: PyTorch was compiled against (9, 1, 0), found (8, 9, 2).",
        "RuntimeError: operator torchvision::nms does not exist",
        "ImportError: libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent",
    ),
    "CudnnLoadFailed": (
        "Could not load library libcudnn_cnn_infer.so.8. Error: undefined",
        "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, libcudnn_ops.so.9, libcudnn_ops.so}",
        "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
    ),
    "TorchBroken": (
        "AttributeError: partially initialized module 'torch' has no attribute 'Tensor'",
        "nvrtc: error: failed to open libnvrtc-builtins.so.12.1.",
        "ImportError: libmpi_cxx.so.20: cannot open shared object file: No such file or directory",
        "ImportError: libcudss.so.0: cannot open shared object file: No such file or directory",
        "ImportError: libnvshmem_host.so.3: cannot open shared object file",
        "ImportError: libtorch_cpu.so: cannot enable executable stack as shared object requires: Invalid argument",
        "ImportError: Failed to load PyTorch C extensions:",
        "ModuleNotFoundError: No module named 'torch._C'",
        "/lib64/libm.so.6: version `GLIBC_2.29' not found (required by /opt/lib/libfoo.so)",
        "OSError: [WinError 126] The specified module could not be found. Error loading torch\\lib\\c10.dll",
    ),
    "ArchNotInBuild": (
        "RuntimeError: CUDA error: no kernel image is available for\nexecution on the device",
        "CUDA error 209 [/build/xx.cu, 126]",
        "RuntimeError: CUDA error: invalid device function",
        "nvrtc: error: invalid value for --gpu-architecture (-arch)",
    ),
    "PtxNewerThanDriver": (
        "ptxas application ptx input, line 9; fatal   : Unsupported .version 8.7; current version is '8.4'",
    ),
    "PtxJitFailed": ("CUDA error: PTX JIT compiler library not found",),
    "ImportFailed": (
        "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded",
        "ImportError: libcudart.so.11.0: cannot open shared object file: No such file or directory",
        "AttributeError: '_OpNamespace' '_C' object has no attribute 'rms_norm'",
        "ImportError: DLL load failed while importing flash_attn_2_cuda",
        "ImportError: /root/vllm/vllm/_C.abi3.so: undefined symbol: _Z20cutlass_moe_mm_sm100RN2at6TensorERKS0_",
        "ImportError: /lib/libc.so.6: version `GLIBC_2.32' not found (required by /x/site-packages/flash_attn_2_cuda.so)",
        "ImportError: flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
    ),
    "CompileUnavailable": (
        "RuntimeError: Ninja is required to load C++ extensions",
        "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:",
        "AssertionError: libcuda.so cannot found!",
        "/usr/bin/ld: cannot find -lcuda: No such file or directory",
        "/tmp/x/main.c:5:10: fatal error: Python.h: No such file or directory",
        "ptxas-blackwell fatal   : Value 'sm_110a' is not defined for option 'gpu-name'",
        "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler. Please specify via CC environment variable",
        "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
        "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
    ),
    "FeatureOutOfReach": (
        "ValueError: Cannot use FlashAttention-2 backend for Volta and Turing GPUs.",
        "RuntimeError: torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0",
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072",
        "type fp8e4nv not supported in this architecture. The supported fp8 dtypes are",
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 80.",
        "ERROR: Cannot use FA version 3 is not supported due to FA3 is only supported on devices with compute capability >= 8",
        "RuntimeError: CUDA error: operation not supported",
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla V100 GPU has 7.0.",
        "RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
    ),
    "OutOfMemory": (
        "cudaErrorMemoryAllocation",
        "RuntimeError: CUDA driver error: out of memory",
        "ValueError: Free memory on device (12.6/79.25 GiB) on startup is less than desired GPU memory",
        "ValueError: No available memory for the cache blocks.",
        "Cuda failure 'out of memory'",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    ),
    "GpuBusy": ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",),
    "MpsUnavailable": (
        "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
    ),
    "KernelFault": (
        "NVRM: Xid (PCI:0000:4f:00): 31, pid=123456, name=python, MMU Fault: ENGINE GRAPHICS",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
    ),
    "KernelFailed": (
        "cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support the graph.",
        "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm",
    ),
    "OsCallFailed": (
        "RuntimeError: CUDA error: operation not permitted",
        "Failed to initialize NVML: GPU access blocked by the operating system",
    ),
    "ImagePullFailed": ('Warning  Failed  kubelet  Failed to pull image "registry/x:1": not found',),
    "Unschedulable": ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",),
}


@pytest.mark.parametrize(
    ("reason", "text"), [(reason, text) for reason, texts in TEXTS.items() for text in texts]
)
@pytest.mark.parametrize(
    "wrapping",
    [
        "{}",
        "Traceback (most recent call last):\n  File 'x.py', line 1\n{}\nCUDA kernel errors might be\n",
        "[rank0]: {}",
    ],
)
def test_the_text_leads_to_its_reason_first(reason: str, text: str, wrapping: str) -> None:
    found = assess(read_error_text(wrapping.format(text), KNOWLEDGE), None, (), KNOWLEDGE)
    assert found.checks[0].reason == reason, [
        (check.status, check.reason, check.message) for check in found.checks
    ]
    assert found.checks[0].remedies
    assert found.checks[0].source


def test_every_number_of_the_layers_has_its_reason() -> None:
    expected = {
        ("cuda", 2): "OutOfMemory",
        ("cuda", 3): "CudaInitFailed",
        ("cuda", 34): "StubLibcuda",
        ("cudart", 35): "DriverTooOld",
        ("cudart", 36): "DriverFeatureMissing",
        ("cuda", 46): "GpuBusy",
        ("cudart", 98): "ArchNotInBuild",
        ("cuda", 100): "NoDevice",
        ("cuda", 101): "NoDevice",
        ("cuda", 200): "BuildBroken",
        ("cuda", 209): "ArchNotInBuild",
        ("cuda", 214): "EccUncorrectable",
        ("cuda", 218): "PtxJitFailed",
        ("cuda", 220): "NvlinkFault",
        ("cuda", 221): "PtxJitFailed",
        ("cuda", 222): "PtxNewerThanDriver",
        ("cuda", 223): "PtxJitFailed",
        ("cudart", 226): "ContainedHwError",
        ("cuda", 304): "OsCallFailed",
        ("cuda", 700): "KernelFault",
        ("cuda", 719): "KernelFault",
        ("cuda", 802): "FabricNotReady",
        ("cuda", 803): "DriverMismatch",
        ("cuda", 804): "ForwardCompatUnsupported",
        ("cuda", 805): "MpsUnavailable",
        ("cuda", 807): "MpsUnavailable",
        ("cuda", 999): "CudaInitUnknown",
        ("nvml", 4): "OsCallFailed",
        ("nvml", 9): "DriverNotVisible",
        ("nvml", 12): "NvmlUnavailable",
        ("nvml", 15): "GpuLost",
        ("nvml", 16): "GpuResetRequired",
        ("nvml", 18): "DriverMismatch",
        ("nvml", 999): "ContainerLostGpu",
    }
    found = {key: classify(Failure(*key), KNOWLEDGE) for key in expected}
    assert {key: rule.reason if rule else None for key, rule in found.items()} == expected
    assert classify(Failure("nvml", 3), KNOWLEDGE) is None, "a query that a card does not offer is no failure"


@pytest.mark.parametrize(
    "text",
    [
        "Collecting torch\n  Downloading torch-2.9.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "/usr/lib/x86_64-linux-gnu/libcudnn.so.8.9.7\n/usr/lib/x86_64-linux-gnu/libcudnn_ops_infer.so.8.9.7",
        "WARNING: Failed to import from vllm._C with ModuleNotFoundError",
        "ModuleNotFoundError: No module named 'torchvision'",
        "Vulnerability Meltdown: Mitigation; PTI\nVulnerability Spectre v2: Mitigation",
        "WARNING: No module named 'flash_attn', falling back to sdpa",
        "INFO:root:No module named 'xformers'. Proceeding without it.",
        "NCCL WARN Failed to find CUDA library libcuda.so : libcuda.so: cannot open shared object file",
        "/usr/lib/libcudnn.so.9.1.0\nNCCL INFO NET/Plugin: dlerror=libnccl-net.so: cannot open shared object file",
        "Could not load dynamic library 'libcupti.so.11.2'; dlerror: libcupti.so.11.2: cannot open shared object file",
        "No module named torchvision",
        'DCGM_FI_DEV_XID_ERRORS{gpu="3"} 0',
        "libcudnn.so.9\nlibfoo.so: cannot open shared object file",
    ],
)
def test_what_is_no_error_is_not_taken_for_one(text: str) -> None:
    assert read_error_text(text, KNOWLEDGE).errors == ()


def judge(error: str, **known: object) -> Assessment:
    """An error beside versions that fit each other."""
    flags = Facts(
        source="flags",
        torch=TorchFacts(version="2.9.1+cu128", cuda="12.8", available=known.get("available")),  # type: ignore[arg-type]  # a bool or None
        driver=DriverFacts(version="580.95.05"),
        gpus=(Gpu(product="NVIDIA H100 80GB HBM3"),),
    )
    return assess(merge([flags, read_error_text(error, KNOWLEDGE)]), None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    "text",
    [
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error",
        "Fatal Python error: Segmentation fault",
        "RuntimeError: CUDA error: mapping of buffer object failed",
        "Cuda failure 205 'whatever'",
        "NVRM: Xid (PCI:0000:3b:00): 38, pid='<unknown>'",
        "Traceback (most recent call last):\nValueError: something of the program's own",
        "it does not work",
    ],
)
def test_an_error_that_no_rule_knows_is_never_a_pass(text: str) -> None:
    found = judge(text)
    assert found.verdict == "Unknown"
    assert found.checks[0].remedies


def test_an_unknown_error_is_named_and_a_known_one_explains_the_lines_around_it() -> None:
    assert "something of ours" in judge("RuntimeError: something of ours").message
    known = "Traceback (most recent call last):\nRuntimeError: CUDA error: an illegal memory access was encountered"
    assert (judge(known).verdict, judge(known).reason) == ("Unknown", "KernelFault")
    assert judge("RuntimeError: CUDA error: device-side assert triggered").verdict == "Compatible"


def test_a_dump_that_is_given_as_an_error_is_no_error() -> None:
    dump = (
        "CUDA used to build PyTorch: 12.8\nNvidia driver version: 580.95.05\ncuDNN version: Could not collect"
    )
    assert not read_error_text(dump, KNOWLEDGE).unrecognised
    assert read_error_text(f"{dump}\nRuntimeError: odd", KNOWLEDGE).errors
    assert read_error_text(f"{dump}\nOddError: odd", KNOWLEDGE).unrecognised
    assert not read_error_text("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n", KNOWLEDGE).unrecognised


def test_what_says_that_cuda_cannot_start_is_doubted_where_it_was_seen_to_start() -> None:
    text = "RuntimeError: Failed to infer device type"
    assert judge(text).verdict == "Incompatible"
    doubted = judge(text, available=True)
    assert (doubted.verdict, doubted.reason) == ("Unknown", "NoDevice")
    assert "ConflictingFacts" in {check.reason for check in doubted.checks}
    elsewhere = "nvidia-container-cli: initialization error: nvml error: driver not loaded"
    assert judge(elsewhere, available=True).verdict == "Incompatible", (
        "the container runtime fails before any program"
    )


def test_the_end_of_a_long_log_is_read() -> None:
    log = (
        "INFO step 1 loss 0.5\n" * 150_000
        + "CUDA error: no kernel image is available for execution on the device"
    )
    assert [error.name for error in read_error_text(log, KNOWLEDGE).errors] == ["no-kernel-image"]


def test_the_cure_of_803_is_its_own() -> None:
    (own,) = (
        judge("Error 803: system has unsupported display driver / cuda driver combination").checks[0].remedies
    )
    assert own.action == "RepairImage"
    assert "libcuda.so.*" in own.message
    (of_reason,) = judge("Failed to initialize NVML: Driver/library version mismatch").checks[0].remedies
    assert of_reason.action == "ReloadDriver"
    assert "Drain" in of_reason.message


def test_lines_that_are_known_to_be_harmless_are_no_error() -> None:
    assert (
        judge("UserWarning: 1Torch was not compiled with flash attention. (Triggered internally)").verdict
        == "Compatible"
    )
    assert judge("node1:77:77 [0] NCCL INFO NET/Plugin: no plugin found").verdict == "Compatible"


def test_logs_of_containers_are_read_across_their_lines() -> None:
    stamp = "2026-11-24T12:00:00.1Z stderr F "
    text = f"{stamp}CUDA error: no kernel image is available for execution\n{stamp}on the device\n"
    assert "no-kernel-image" in [error.name for error in read_error_text(text, KNOWLEDGE).errors]


@pytest.mark.parametrize("text", [text for texts in TEXTS.values() for text in texts])
def test_no_error_beside_good_facts_is_a_pass(text: str) -> None:
    assert judge(text).verdict != "Compatible"
    assert judge(text, available=True).verdict != "Compatible"


@pytest.mark.parametrize(
    "tail",
    [
        "RuntimeError: operator _C::foo does not exist",
        "ERROR 10-28 [core.py:708] EngineCore failed to start.",
        "NCCL error in: x.cpp",
    ],
)
def test_an_unknown_error_in_the_paste_of_a_dump_is_no_pass_either(tail: str) -> None:
    assert read_error_text(f"Is CUDA available: True\n{tail}\n", KNOWLEDGE, given=False).errors
