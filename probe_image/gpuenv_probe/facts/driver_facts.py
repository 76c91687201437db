"""Facts about the NVIDIA driver: device nodes, NVML, and the CUDA driver API through ctypes.

torch hides most of these facts: its ``device_count()`` turns every initialisation error into 0 and a warning. The
driver's own error numbers identify the cause. No function in this module creates a CUDA context. The signatures of the
driver's functions are those in ``cuda.h`` of CUDA 12.8.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from typing import Any

from gpuenv_probe import failures, statuses
from gpuenv_probe.facts import container, gpus, kernel_module, nvml
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

_CONTROL_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MIB = 1024 * 1024


def steps(job: dict[str, Any]) -> list[Step]:
    """Return the steps of the driver worker process. The steps that most often crash or hang come last.

    A worker that hangs in the Linux kernel ends the stage; the earlier steps have reported by then.
    """
    return [
        Step("start", 20.0, lambda context: {}, _python_failed, setup=True),
        Step("device nodes", 20.0, _read_device_nodes, _device_nodes_failed),
        Step("kernel module", 20.0, _read_kernel_module, _kernel_module_failed),
        Step("nvml", 40.0, nvml.system, nvml.failed),
        Step("libcuda", 20.0, _load_library, _library_failed),
        Step("cuInit", 60.0, _start_cuda, _cuda_failed),
        *gpus.steps(),
    ]


def device_nodes(directory: str = "/dev") -> list[dict[str, Any]]:
    """Return a row for each NVIDIA device node: its ``path``, and the ``errno`` of opening it.

    The errno is 0 if the node can be opened. The nodes are ``/dev/nvidia*``, or ``/dev/dxg`` alone under WSL.
    ``nvidiactl`` and ``nvidia-uvm`` are listed even if they do not exist, because their absence explains many errors.
    """
    try:
        named = [name for name in os.listdir(directory) if re.fullmatch(r"nvidia.*|dxg", name)]
        present = {name for name in named if not os.path.isdir(os.path.join(directory, name))}
    except OSError:
        present = set()
    if "dxg" in present:
        names = ["dxg"]
    else:
        names = [
            *_CONTROL_NODES[:2],
            *sorted(present - set(_CONTROL_NODES), key=_natural_order),
            *sorted(present & set(_CONTROL_NODES[2:])),
        ]
    return [
        {"path": path, "errno": _open_errno(path)}
        for path in (os.path.join(directory, name) for name in names)
    ]


def _open_errno(path: str) -> int:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO  # an error without a number is a refusal too
    return 0


def _natural_order(name: str) -> list[Any]:
    """Return a sort key that puts nvidia2 before nvidia10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _read_device_nodes(context: Context) -> Partial:
    return {"driver": {"deviceNodes": device_nodes()}}


def _device_nodes_failed(failure: Failure, outcome: str) -> Partial:
    hung = errno.ETIMEDOUT if outcome == statuses.TIMED_OUT else errno.EIO
    return {"driver": {"deviceNodes": [{"path": "/dev/nvidia*", "errno": hung}]}}


def _read_kernel_module(context: Context) -> Partial:
    found = kernel_module.facts()
    return {"driver": {"kernelModule": found}} if found else {}


def _kernel_module_failed(failure: Failure, outcome: str) -> Partial:
    return {}


def _python_failed(failure: Failure, outcome: str) -> Partial:
    return _library_error("the image's Python started only once", failure)


def _library_failed(failure: Failure, outcome: str) -> Partial:
    return _library_error(f"loading it {outcome}", failure)


def _cuda_failed(failure: Failure, outcome: str) -> Partial:
    return _library_error(f"cuInit {outcome}", failure)


def _library_error(what: str, failure: Failure) -> Partial:
    """Return a partial report of a step that failed while it used libcuda.

    ``what`` says which step failed and how, such as "cuInit Crashed".
    """
    words = f"{what}: {failure.get('name', '')} {failure.get('message', '')}"
    return {"driver": {"libcuda": {"error": words.strip()}}}


def _load_library(context: Context) -> Partial:
    """Load ``libcuda.so.1`` as every CUDA program does, and report its path, its origin and its CUDA version.

    If it cannot be loaded, the loader's error is reported instead.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"driver": {"libcuda": {"error": str(error)}}}
    context.found["driver"] = driver
    path = loaded_path("libcuda.so")
    found: dict[str, Any] = {"libcuda": {"path": path, "origin": origin(path)}}
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
        found["cudaVersion"] = version.value
    return {"driver": found}


def _start_cuda(context: Context) -> Partial:
    """Call cuInit, and report its error number and a row for each CUDA device.

    The rows are reported before NVML is asked about the devices, so that a crash of NVML cannot lose them.
    """
    driver = context.found.get("driver")
    if driver is None:
        return {}
    found: dict[str, Any] = {"cuInit": driver.cuInit(0)}
    if found["cuInit"] != 0:
        return {"driver": found}
    count = ctypes.c_int()
    number = driver.cuDeviceGetCount(ctypes.byref(count))
    if number != 0:
        words = f"cuDeviceGetCount returned {number}"
        found["cuda"] = failures.failure("cuda", number, "cuDeviceGetCount", words)
        return {"driver": found}
    found["deviceCount"] = count.value
    rows = [_cuda_gpu(driver, index) for index in range(count.value)]
    return {"driver": found, "gpus": rows, "control": {"cudaGpus": rows}}


def _cuda_gpu(driver: ctypes.CDLL, index: int) -> dict[str, Any]:
    """Return the row of one GPU in the probe report, with the facts that the CUDA driver API gives about it.

    ``index`` is the GPU's CUDA index. A fact is left out if the call for it fails.
    """
    gpu: dict[str, Any] = {"index": index}
    device = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), index) != 0:
        return gpu
    name = ctypes.create_string_buffer(128)
    if driver.cuDeviceGetName(name, len(name), device) == 0:
        gpu["product"] = name.value.decode("utf-8", "replace")
    major, minor = ctypes.c_int(), ctypes.c_int()
    attribute = driver.cuDeviceGetAttribute
    if (
        attribute(ctypes.byref(major), _MAJOR, device) == 0
        and attribute(ctypes.byref(minor), _MINOR, device) == 0
    ):
        gpu["computeCapability"] = f"{major.value}.{minor.value}"
    total = ctypes.c_size_t()
    if driver.cuDeviceTotalMem_v2(ctypes.byref(total), device) == 0:
        gpu["memoryMiB"] = total.value // _MIB
    uuid = _uuid(driver, device)
    profile = nvml.mig_profile(gpu.get("product", ""))
    if profile:
        gpu["mig"] = profile
    if uuid:
        gpu["uuid"] = f"MIG-{uuid[4:]}" if profile else uuid
    return gpu


def uuid_of(driver: ctypes.CDLL, index: int) -> str | None:
    """Return the UUID of the device with the CUDA index ``index``, or None if CUDA does not give it.

    The UUID has the prefix ``GPU-``, for a MIG instance too. This process must have called cuInit before.
    """
    device = ctypes.c_int()
    return _uuid(driver, device) if driver.cuDeviceGet(ctypes.byref(device), index) == 0 else None


def _uuid(driver: ctypes.CDLL, device: ctypes.c_int) -> str | None:
    """Return a device's UUID in the notation of nvidia-smi (``GPU-...``), or None if CUDA does not give it.

    ``cuDeviceGetUuid_v2``, available since CUDA 11.4, is preferred, because the first version of the function does not
    know MIG instances.
    """
    raw = (ctypes.c_ubyte * 16)()
    for call in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"):
        function = getattr(driver, call, None)
        if function is not None and function(ctypes.byref(raw), device) == 0:
            text = bytes(raw).hex()
            return "-".join(("GPU", text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return None


def loaded_path(name: str) -> str | None:
    """Return the path of the first file mapped into this process whose name contains ``name``, or None.

    The path is the real one, without symbolic links.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                path = line.split(None, 5)[-1].strip()
                if name in os.path.basename(path):
                    return path
    except OSError:
        return None
    return None


def origin(path: str | None) -> str | None:
    """Return where the libcuda at ``path`` comes from, or None if ``path`` is None.

    ``host`` is the library of the host's driver, which the NVIDIA container toolkit mounts as a single file; ``gke`` is
    the same library in ``/usr/local/nvidia``, a directory that GKE mounts; ``wsl`` is the library of Windows.
    ``compat`` is the library of a forward-compatibility package, ``stub`` a library for linking only, and ``other`` any
    other file.
    https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    if path is None:
        return None
    parts = path.split("/")
    if "stubs" in parts:
        return "stub"
    if "compat" in parts or any(part.startswith("compat") for part in parts[:-1]):
        return "compat"
    if path.startswith("/usr/local/nvidia/"):
        return "gke"
    if "wsl" in parts:
        return "wsl"
    return "host" if not container.in_container() or container.is_mount(path) else "other"
