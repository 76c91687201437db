"""Error texts of every layer, as the software prints them, and the reason that they lead to first."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.error_text import read_error_text
from gpuenv.assess.errors import classify
from gpuenv.assess.facts import Failure
from gpuenv.knowledge import load

KNOWLEDGE = load()

TEXTS = {
    "GpuLost": (
        "Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "nvmlDeviceGetHandleByIndex: GPU is lost. Reboot the system to recover this GPU",
    ),
    "EccUncorrectable": ("NVRM: Xid (PCI:0000:07:00): 94, pid=1234, Contained: SM (0x1).",),
    "NvlinkFault": ("CUDA error: uncorrectable NVLink error detected during the execution",),
    "TorchMissing": ("ModuleNotFoundError: No module named 'torch'",),
    "TorchCpuBuild": ("AssertionError: Torch not compiled with CUDA enabled",),
    "DriverMismatch": (
        "Failed to initialize NVML: Driver/library version mismatch",
        "NVRM: API mismatch: the client has the version 535.183.01, but this kernel module has the version 535.171.04.",
    ),
    "StubLibcuda": ("Unexpected error from cudaGetDeviceCount(). Error 34: CUDA driver is a stub library",),
    "FabricNotReady": ("CUDA_ERROR_SYSTEM_NOT_READY: system not yet initialized",),
    "DriverDroppedGpu": (
        "NVRM: The NVIDIA Tesla V100 GPU installed in this system is supported through the NVIDIA 580.xx Legacy drivers.",
        "NVRM: The 590.48.01 NVIDIA driver will ignore this GPU. Continuing probe...",
    ),
    "DriverNotVisible": (
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
        "nvidia-container-cli: initialization error: WSL environment detected but no adapters were found",
    ),
    "DriverTooOld": (
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8",
        "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    ),
    "NoDevice": (
        "RuntimeError: No CUDA GPUs are available",
        "No devices were found",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 101: invalid device ordinal",
        "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
    ),
    "CudaInitFailed": (
        "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.",
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "CUDA error: named symbol not found",
    ),
    "LibraryConflict": (
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
        "ImportError: libcudart.so.11.0: cannot open shared object file: No such file or directory",
        "OSError: [WinError 126] The specified module could not be found. Error loading torch\\lib\\c10.dll",
    ),
    "ArchNotInBuild": (
        "RuntimeError: CUDA error: invalid device function",
        "nvrtc: error: invalid value for --gpu-architecture (-arch)",
    ),
    "PtxNewerThanDriver": (
        "ptxas application ptx input, line 9; fatal   : Unsupported .version 8.7; current version is '8.4'",
    ),
    "PtxJitFailed": ("CUDA error: PTX JIT compiler library not found",),
    "ImportFailed": (
        "ImportError: flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
    ),
    "CompileUnavailable": (
        "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler. Please specify via CC environment variable",
        "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
        "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
    ),
    "FeatureOutOfReach": (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla V100 GPU has 7.0.",
        "RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
    ),
    "OutOfMemory": ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",),
    "GpuBusy": ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",),
    "MpsUnavailable": (
        "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
    ),
    "KernelFault": ("RuntimeError: CUDA error: an illegal memory access was encountered",),
    "KernelFailed": ("RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm",),
    "NvmlUnavailable": ("UserWarning: Can't initialize NVML",),
    "OsCallFailed": ("Failed to initialize NVML: GPU access blocked by the operating system",),
    "ImageArchMismatch": ("exec /usr/bin/python3: exec format error",),
    "ImagePullFailed": ('Warning  Failed  kubelet  Failed to pull image "registry/x:1": not found',),
    "Unschedulable": ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",),
    "SandboxFailed": ('failed to create pod sandbox: no runtime for "nvidia" is configured',),
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
    assert found.checks[0].remediation
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
    ],
)
def test_what_is_no_error_is_not_taken_for_one(text: str) -> None:
    assert read_error_text(text, KNOWLEDGE).errors == ()
