"""A small model of drivers, GPUs and PyTorch builds, which predicts what an image does on a real machine.

The model predicts what a probe observes there (error numbers and texts); the operator has to derive verdict and reason
from that. The model is deliberately independent of the operator's knowledge tables, so that each checks the other. The
test ``tests/unit/test_physics_and_knowledge.py`` fails if only one of them has been updated.
Sources: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/ (drivers),
https://docs.nvidia.com/deploy/cuda-compatibility/ (minor-version compatibility),
https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (binary and PTX compatibility).
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gpuenv_sandbox.scenario.model import Fault, SimulatedImage, SimulatedNode

Failure = dict[str, Any]
"""An error as an object of a probe report, with the fields ``layer``, ``code``, ``name`` and ``message``."""

CUDA_OF_BRANCH: Final = {
    440: (10, 2),
    450: (11, 0), 455: (11, 1), 460: (11, 2), 465: (11, 3), 470: (11, 4),
    495: (11, 5), 510: (11, 6), 515: (11, 7), 520: (11, 8),
    525: (12, 0), 530: (12, 1), 535: (12, 2), 545: (12, 3), 550: (12, 4),
    555: (12, 5), 560: (12, 6), 565: (12, 7), 570: (12, 8), 575: (12, 9),
    580: (13, 0), 590: (13, 1), 595: (13, 2), 610: (13, 3), 615: (13, 4), 620: (13, 4),
}  # fmt: skip
"""The CUDA version that ``nvidia-smi`` shows with a driver of each branch (the driver's first number).

Source of branch 610: https://github.com/aikitoria/open-gpu-kernel-modules/pull/29, of branch 615:
https://github.com/AOSC-Dev/aosc-os-abbs/pull/17616
"""

FIRST_BRANCH: Final = {
    (8, 0): 450,
    (8, 6): 455,
    (8, 9): 520,
    (9, 0): 520,
    (10, 0): 570,
    (10, 3): 575,
    (11, 0): 580,
    (12, 0): 570,
    (12, 1): 575,
}
"""Compute capabilities of GPUs, each with the first driver branch that supports these GPUs.

A GPU with a capability between two entries is treated like the lower entry. GPUs with a capability below 8.0 are not
limited to a first branch.
"""

_LAST_BRANCH: Final = (((5, 0), 470), ((7, 5), 580))
"""Pairs (compute capability, branch): GPUs below the capability are supported up to this driver branch."""

DEVICE_NODES: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0")

_SEE: Final = "http://www.nvidia.com/Download/index.aspx"
_COUNT_FAILED: Final = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error {code}: {text}"
)
_UNKNOWN: Final = (
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero."
)


class BuildCode(StrEnum):
    """The kind of code in a PyTorch build that a GPU can run: machine code (native), PTX or none."""

    NATIVE = "native"
    PTX = "ptx"
    """NVIDIA's intermediate code, which the driver compiles for the GPU before it runs."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CudaStart:
    """The result of starting CUDA and NVML inside a container.

    ``cu_init`` is the error number that cuInit returns (0 for success), or None if the container has no libcuda.
    ``devices`` is the number of GPUs that CUDA counts, or None if CUDA does not start. ``libcuda`` is the object
    ``libcuda`` of the probe report: the library's path and origin, or the error on loading it. ``nvml`` is the error on
    starting NVML, or None if it starts. ``missing_nodes`` are the paths in /dev that do not exist.
    """

    cu_init: int | None = 0
    devices: int | None = None
    libcuda: dict[str, Any] = field(default_factory=dict)
    nvml: Failure | None = None
    missing_nodes: tuple[str, ...] = ()
    torch: Failure | None = None
    """The error that ``torch.cuda.init()`` raises if the PyTorch build supports CUDA, or None if it succeeds."""


def branch(driver: str) -> int:
    """Return the branch of a driver, which is the first number of its version: 570 for 570.124.06."""
    return int(driver.partition(".")[0])


def driver_api(driver: str) -> int:
    """Return what ``cuDriverGetVersion`` returns with a driver of this version, such as 13000 for CUDA 13.0."""
    known = [number for number in CUDA_OF_BRANCH if number <= branch(driver)]
    major, minor = CUDA_OF_BRANCH[max(known)] if known else (10, 0)
    return 1000 * major + 10 * minor


def image_api(image: SimulatedImage) -> int:
    """Return the image's CUDA version as a number, such as 13000 for CUDA 13.0, or 0 for a CPU build."""
    major, minor = map(int, (image.cuda or "0.0").split("."))
    return 1000 * major + 10 * minor


def driver_knows_gpu(driver: str, capability: tuple[int, int]) -> bool:
    """Return whether a driver of this version supports GPUs of this compute capability."""
    row = max((known for known in FIRST_BRANCH if known <= capability), default=None)
    first = FIRST_BRANCH[row] if row else 0
    last = next((number for below, number in _LAST_BRANCH if capability < below), 9999)
    return first <= branch(driver) <= last


def code_for(archs: tuple[str, ...], capability: tuple[int, int]) -> BuildCode:
    """Return the best kind of code that a GPU can run in a PyTorch build.

    ``archs`` are the build's targets, such as ``sm_90``, and ``capability`` is the GPU's compute capability. Binaries
    (``sm_``) run on GPUs of the same major version and an equal or higher minor version; those for a target with the
    suffix ``a`` run only on exactly the target's version. PTX (``compute_``) runs on the target's version and all later
    ones.
    """
    found = BuildCode.NONE
    for arch in archs:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
        assert match is not None, arch
        kind, target, suffix = match[1], (int(match[2]), int(match[3])), match[4]
        same_major = target[0] == capability[0] and target <= capability
        if kind == "sm" and (target == capability if suffix == "a" else same_major):
            return BuildCode.NATIVE
        if kind == "compute" and not suffix and target <= capability:
            found = BuildCode.PTX
    return found


def start(node: SimulatedNode, image: SimulatedImage, devices: int) -> CudaStart:
    """Return the result of starting CUDA in a container that was given ``devices`` GPUs of the node.

    If the node has a fault that affects the start, the result is that of the fault. Otherwise it depends on the GPU and
    on the versions of the driver and the image.
    """
    fault = _FAULTS.get(node.fault) if node.fault else None
    if fault is not None:
        return fault
    if not driver_knows_gpu(node.driver, node.hardware.compute_capability):
        return _UNSUPPORTED_GPU
    if image.cuda and driver_api(node.driver) // 1000 < image_api(image) // 1000:
        return CudaStart(devices=devices, libcuda=_host(node), torch=_too_old(driver_api(node.driver)))
    return CudaStart(devices=devices, libcuda=_host(node))


def launch(node: SimulatedNode, image: SimulatedImage) -> Failure | None:
    """Return the error of the first kernel launch after CUDA has started, or None if the launch succeeds."""
    code = code_for(image.archs, node.hardware.compute_capability)
    if code is BuildCode.NONE:
        return _accelerator(209, "no kernel image is available for execution on the device")
    if code is BuildCode.PTX and driver_api(node.driver) < image_api(image):
        return _accelerator(222, "the provided PTX was compiled with an unsupported toolchain.")
    return None


def api_in_container(node: SimulatedNode, image: SimulatedImage) -> int | None:
    """Return what ``cuDriverGetVersion`` returns in a container, or None if the container has no libcuda.

    With the fault ``forwardCompat``, the container has NVIDIA's cuda-compat package for the image's CUDA version. If
    that version is newer than the driver's, it is returned.
    """
    if node.fault is Fault.NO_GPU_IN_CONTAINER:
        return None
    if node.fault is Fault.FORWARD_COMPAT:
        return max(image_api(image), driver_api(node.driver))
    return driver_api(node.driver)


def _host(node: SimulatedNode) -> dict[str, Any]:
    folder = "x86_64" if node.architecture == "amd64" else "aarch64"
    if node.platform.value == "gke":
        return {"path": "/usr/local/nvidia/lib64/libcuda.so.1", "origin": "gke"}
    return {"path": f"/usr/lib/{folder}-linux-gnu/libcuda.so.{node.driver}", "origin": "host"}


def _torch(message: str) -> Failure:
    return {"layer": "torch", "name": "RuntimeError", "message": message}


def _count_failed(code: int, text: str) -> Failure:
    """Return the error that PyTorch raises if the call ``cudaGetDeviceCount()`` fails.

    ``code`` and ``text`` are CUDA's error number and its meaning. PyTorch gives them only in its message, in which the
    probe finds the number.
    """
    return _torch(_COUNT_FAILED.format(code=code, text=text)) | {"layer": "cudart", "code": code}


def _accelerator(code: int, text: str) -> Failure:
    """Return a CUDA runtime error, with its number ``code`` and its text, as PyTorch 2.8 and later raise it.

    PyTorch appends debugging advice to the text. It is left out here, because the probe removes it.
    """
    return {"layer": "cudart", "code": code, "name": "AcceleratorError", "message": f"CUDA error: {text}"}


def _too_old(api: int) -> Failure:
    return _torch(
        f"The NVIDIA driver on your system is too old (found version {api}). Please update your GPU driver "
        f"by downloading and installing a new version from the URL: {_SEE} Alternatively, go to: "
        "https://pytorch.org to install a PyTorch version that has been compiled with your version of the "
        "CUDA driver."
    )


_HOST_LIBRARY: Final = {"path": "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "origin": "host"}

_UNSUPPORTED_GPU: Final = CudaStart(
    cu_init=100,
    libcuda=_HOST_LIBRARY,
    nvml={"layer": "nvml", "code": 9, "name": "NVML_ERROR_DRIVER_NOT_LOADED", "message": "Driver Not Loaded"},
    missing_nodes=DEVICE_NODES,
    torch=_torch("No CUDA GPUs are available"),
)

_FAULTS: Final = {
    Fault.UVM_MISSING: CudaStart(
        cu_init=999,
        libcuda=_HOST_LIBRARY,
        missing_nodes=("/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
        torch=_torch(_UNKNOWN),
    ),
    Fault.FORWARD_COMPAT: CudaStart(
        cu_init=804,
        libcuda={"path": "/usr/local/cuda/compat/libcuda.so.1", "origin": "compat"},
        torch=_count_failed(804, "forward compatibility was attempted on non supported HW"),
    ),
    Fault.DRIVER_MISMATCH: CudaStart(
        cu_init=803,
        libcuda=_HOST_LIBRARY,
        nvml={
            "layer": "nvml",
            "code": 18,
            "name": "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
            "message": "Driver/library version mismatch",
        },
        torch=_count_failed(803, "system has unsupported display driver / cuda driver combination"),
    ),
    Fault.FABRIC_NOT_READY: CudaStart(
        cu_init=802, libcuda=_HOST_LIBRARY, torch=_count_failed(802, "system not yet initialized")
    ),
    Fault.GPU_LOST: CudaStart(cu_init=999, libcuda=_HOST_LIBRARY, torch=_torch(_UNKNOWN)),
    Fault.NO_GPU_IN_CONTAINER: CudaStart(
        cu_init=None,
        libcuda={"error": "libcuda.so.1: cannot open shared object file: No such file or directory"},
        nvml={
            "layer": "nvml",
            "code": 12,
            "name": "NVML_ERROR_LIBRARY_NOT_FOUND",
            "message": "NVML Shared Library Not Found",
        },
        missing_nodes=DEVICE_NODES,
        torch=_torch(
            "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a "
            f"driver from {_SEE}"
        ),
    ),
}
