"""Facts from NVML about the driver and the GPUs, read with NVIDIA's Python bindings, ``pynvml``.

If NVML gives an error instead of a fact about a GPU, the fact is left out, and ``health.unavailable`` of the GPU's row
lists the fact's name under NVML's error number. The bindings look functions up at their first call, so an old driver
gives error 13 (function not found) for a function that it lacks.
https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
import os
import sys
import types
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from typing import Any, Callable, Tuple, cast

from gpuenv_probe import failures
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial

_PRIVATE = "gpuenv_probe_pynvml"
"""The name in ``sys.modules`` of the probe's own copy of the NVML bindings."""
_LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND = 12, 13
UNKNOWN_DEVICE = (2, 6)
"""NVML's error numbers for a UUID that no device has: INVALID_ARGUMENT and NOT_FOUND."""
_MIB = 1024 * 1024
_VIRTUAL = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
_FI_RECOVERY_ACTION = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION

Reading = Tuple[str, Callable[[Any, Any], Any]]
"""The name of a fact, and the function that reads it, given the NVML bindings and a device handle.

The function may also return a dict, from the names of several facts to their values.
"""


def load() -> Any:
    """Return the NVML bindings that are packed with the probe, imported under a private name.

    torch imports ``pynvml`` too, and the image's version may be old. The private name keeps the two apart. If the probe
    is not run from its zip application, as in its tests, the installed bindings are used.
    """
    if _PRIVATE in sys.modules:
        return sys.modules[_PRIVATE]
    vendor = os.path.join(
        os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "vendor"
    )
    spec = PathFinder.find_spec("pynvml", [vendor]) or PathFinder.find_spec("pynvml")
    # zipimport has exec_module only since Python 3.10, but get_code in every version.
    code = cast(InspectLoader, spec.loader).get_code("pynvml") if spec else None
    if code is None:
        raise ImportError("the NVML bindings are missing")
    module = types.ModuleType(_PRIVATE)
    sys.modules[_PRIVATE] = module  # the bindings look themselves up while they are executed
    exec(code, module.__dict__)  # noqa: S102 - the file is packed with the probe
    return module


def refusals(library: Any) -> tuple[Any, ...]:
    """Return the types of the exceptions that mean that NVML does not give a fact.

    They are NVML's own exception, and AttributeError for a function that the bindings (``library``) lack.
    """
    return (library.NVMLError, AttributeError)


def system(context: Context) -> Partial:
    """Initialise NVML, and report the driver version, its CUDA version and the first error of NVML, if any.

    The number of GPUs is kept as a ``control`` value for later steps.
    """
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        missing = failures.failure("nvml", _LIBRARY_NOT_FOUND, "NVML_ERROR_LIBRARY_NOT_FOUND", str(error))
        return {"driver": {"nvml": missing}}
    library = load()
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return {"driver": {"nvml": of_error(library, error)}}
    context.found["nvml"] = library
    found: dict[str, Any] = {}
    for name, call in (
        ("version", "nvmlSystemGetDriverVersion"),
        ("nvmlCudaVersion", "nvmlSystemGetCudaDriverVersion_v2"),
        ("count", "nvmlDeviceGetCount"),
    ):
        try:
            found[name] = _text(getattr(library, call)())
        except refusals(library) as error:
            found.setdefault("nvml", of_error(library, error))
    count = found.pop("count", 0)
    return {"driver": found, "control": {"nvmlWorks": True, "nvmlCount": count}}


def opened(context: Context) -> Any | None:
    """Return the initialised bindings, or None if NVML did not start.

    A worker process that replaces a dead one has to initialise NVML again, which happens here.
    """
    if context.known.get("nvmlWorks") and "nvml" not in context.found:
        library = load()
        library.nvmlInit()
        context.found["nvml"] = library
    return context.found.get("nvml")


def failed(failure: Failure, outcome: str) -> Partial:
    """Return the partial report for a step that failed, crashed or hung inside NVML.

    ``outcome`` says what happened, such as ``Crashed``; it becomes part of the message.
    """
    words = f"NVML: {outcome}: {failure.get('message', '')}"
    return {"driver": {"nvml": {**failure, "message": failures.shorten(words)}}}


def of_error(library: Any, error: Any) -> Failure:
    """Return an exception of the bindings as a failure: NVML's number, the name of its constant, and the message."""
    number = code_of(error)
    names = (
        name for name in dir(library) if name.startswith("NVML_ERROR_") and getattr(library, name) == number
    )
    return failures.failure("nvml", number, next(names, ""), str(error))


def code_of(error: Any) -> int:
    """Return NVML's error number for the exception ``error``.

    The number is 13 (function not found) if the bindings lack the function, which is an AttributeError.
    """
    return int(getattr(error, "value", _FUNCTION_NOT_FOUND))


def handle_of(library: Any, gpu: dict[str, Any]) -> Any:
    """Return NVML's handle of a device that CUDA reported, found by its UUID.

    ``gpu`` is the device's row in the probe report, whose field ``uuid`` holds the UUID. NVML writes the UUID of
    a MIG instance with the prefix ``MIG-`` in place of ``GPU-``. Raises NVMLError if NVML does not know the device or
    cannot open it.
    """
    digits = str(gpu.get("uuid", ""))[4:]
    try:
        return library.nvmlDeviceGetHandleByUUID(f"GPU-{digits}".encode("ascii"))
    except library.NVMLError as error:
        if code_of(error) not in UNKNOWN_DEVICE:
            raise
        return library.nvmlDeviceGetHandleByUUID(f"MIG-{digits}".encode("ascii"))


def identity(library: Any, handle: Any) -> dict[str, Any]:
    """Return the name, UUID, MIG mode, compute capability and memory of one device.

    ``health.unavailable`` lists the names of the facts that NVML does not give, by NVML's error number.
    """
    row, unavailable = _read_all(library, handle, _IDENTITY)
    return {**row, "health": {"unavailable": unavailable}} if unavailable else row


def health(library: Any, handle: Any) -> dict[str, Any]:
    """Return all health facts of one device, such as its error counters, clocks and power.

    ``unavailable`` lists the names of the facts that NVML does not give, by NVML's error number. For a MIG instance,
    the facts of its whole GPU are returned, because NVML keeps counters and clocks per GPU.
    """
    whole = handle
    try:
        if library.nvmlDeviceIsMigDeviceHandle(handle):
            whole = library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    except refusals(library):
        whole = handle
    found, unavailable = _read_all(library, whole, _READINGS)
    return {**found, "unavailable": unavailable} if unavailable else found


def under_load(library: Any, handle: Any) -> dict[str, Any]:
    """Return the facts that may explain a slow benchmark: clocks, power, temperature, throttling and PCIe link.

    The benchmarks call this function while a GPU computes.
    """
    return _read_all(library, handle, _UNDER_LOAD)[0]


def _read_all(
    library: Any, handle: Any, readings: tuple[Reading, ...]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return a dict from the names of facts to their values, and a dict of the facts that NVML does not give.

    The second dict has NVML's error numbers as keys, and lists of names of facts as values.
    """
    found: dict[str, Any] = {}
    refused: dict[str, list[str]] = {}
    for name, reading in readings:
        try:
            value = reading(library, handle)
        except refusals(library) as error:
            refused.setdefault(str(code_of(error)), []).append(name)
            continue
        found.update(value if isinstance(value, dict) else {name: _text(value)})
    return {name: value for name, value in found.items() if value is not None}, refused


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def mig_profile(product: str) -> str:
    """Return the MIG profile in a device's name, such as 1g.10gb, or "" for a whole GPU.

    The profile is the part of the name after ``MIG``.
    """
    return product.partition("MIG ")[2]


def _mig(library: Any, handle: Any) -> str | None:
    """Return the profile of a MIG instance, ``enabled`` for a whole GPU in MIG mode, or None if MIG is off."""
    if library.nvmlDeviceIsMigDeviceHandle(handle):
        return mig_profile(str(_text(library.nvmlDeviceGetName(handle)))) or "instance"
    return "enabled" if library.nvmlDeviceGetMigMode(handle)[0] == 1 else None


def _capability(library: Any, handle: Any) -> str:
    major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    return f"{major}.{minor}"


def _memory(library: Any, handle: Any) -> dict[str, Any]:
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    return {"memoryMiB": memory.total // _MIB, "memoryFreeMiB": memory.free // _MIB}


def _remapped(library: Any, handle: Any) -> dict[str, Any]:
    corrected, uncorrected, pending, failed = library.nvmlDeviceGetRemappedRows(handle)
    return {
        "remapCorrectable": corrected,
        "remapUncorrectable": uncorrected,
        "remapPending": bool(pending),
        "remapFailed": bool(failed),
    }


def _ecc_total(kind: str, counter: str) -> Callable[[Any, Any], Any]:
    def read(library: Any, handle: Any) -> Any:
        return library.nvmlDeviceGetTotalEccErrors(
            handle,
            getattr(library, f"NVML_MEMORY_ERROR_TYPE_{kind}"),
            getattr(library, f"NVML_{counter}_ECC"),
        )

    return read


def _throttle(library: Any, handle: Any) -> Any:
    """Return the reasons why the clocks are reduced now, as a bit mask.

    The NVML function for it was renamed, and old drivers know only its former name.
    """
    try:
        return library.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except library.NVMLError_FunctionNotFound:
        return library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)


def _fabric(library: Any, handle: Any) -> dict[str, Any]:
    """Return how far the GPU's registration with the NVLink fabric is, with its status and health mask.

    The field ``fabricState`` is 1 for not started, 2 for in progress and 3 for completed. The dict is empty for state
    0: the GPU has no fabric, like all GPUs before Hopper.
    """
    info = library.c_nvmlGpuFabricInfo_v2_t()
    library.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    if info.state == 0:
        return {}
    return {"fabricState": info.state, "fabricStatus": info.status, "fabricHealthMask": info.healthMask}


def _recovery(library: Any, handle: Any) -> Any:
    """Return the number of the recovery action, such as a reset, that NVML recommends for the GPU; 0 means none."""
    value = library.nvmlDeviceGetFieldValues(handle, [_FI_RECOVERY_ACTION])[0]
    if value.nvmlReturn != 0:
        raise library.NVMLError(value.nvmlReturn)
    return int(value.value.uiVal)


def _virtualization(library: Any, handle: Any) -> dict[str, Any]:
    """Return the GPU's virtualisation mode, and for a virtual GPU whether it has its licence.

    The dict is empty for a GPU on bare metal, mode 0. The licence is left out if the driver does not tell it.
    """
    mode = library.nvmlDeviceGetVirtualizationMode(handle)
    if mode != _VIRTUAL:
        return {"virtualizationMode": mode} if mode else {}
    try:
        features = library.nvmlDeviceGetGridLicensableFeatures_v4(handle)
    except refusals(library):
        return {"virtualizationMode": mode}
    if not features.isGridLicenseSupported:
        return {"virtualizationMode": mode}
    listed = features.gridLicensableFeatures[: features.licensableFeaturesCount]
    return {
        "virtualizationMode": mode,
        "vgpuLicensed": any(feature.featureState != 0 for feature in listed),
    }


def _process_count(library: Any, handle: Any) -> int:
    """Return the number of processes that compute on the device.

    Their ids are not reported, because they are process ids of the host.
    """
    return len(library.nvmlDeviceGetComputeRunningProcesses(handle))


def _watts(call: str) -> Callable[[Any, Any], float]:
    """Return a function that reads a power in milliwatts with the NVML function ``call`` and converts it to watts."""

    def read(library: Any, handle: Any) -> float:
        return round(float(getattr(library, call)(handle)) / 1000.0, 1)

    return read


def _clock(call: str, domain: str) -> Callable[[Any, Any], Any]:
    def read(library: Any, handle: Any) -> Any:
        return getattr(library, call)(handle, getattr(library, f"NVML_CLOCK_{domain}"))

    return read


def _call(name: str) -> Callable[[Any, Any], Any]:
    def read(library: Any, handle: Any) -> Any:
        return getattr(library, name)(handle)

    return read


_IDENTITY: tuple[Reading, ...] = (
    ("product", _call("nvmlDeviceGetName")),
    ("uuid", _call("nvmlDeviceGetUUID")),
    ("mig", _mig),
    ("computeCapability", _capability),
    ("memoryMiB", _memory),
)
_READINGS: tuple[Reading, ...] = (
    ("pciId", lambda library, handle: library.nvmlDeviceGetPciInfo(handle).busId),
    ("eccMode", lambda library, handle: bool(library.nvmlDeviceGetEccMode(handle)[0])),
    ("eccCorrected", _ecc_total("CORRECTED", "VOLATILE")),
    ("eccUncorrected", _ecc_total("UNCORRECTED", "VOLATILE")),
    ("eccUncorrectedTotal", _ecc_total("UNCORRECTED", "AGGREGATE")),
    ("remappedRows", _remapped),
    (
        "retiredPagesPending",
        lambda library, handle: bool(library.nvmlDeviceGetRetiredPagesPendingStatus(handle)),
    ),
    ("recoveryAction", _recovery),
    ("fabricState", _fabric),
    ("throttleReasons", _throttle),
    ("smClockMHz", _clock("nvmlDeviceGetClockInfo", "SM")),
    ("smClockMaxMHz", _clock("nvmlDeviceGetMaxClockInfo", "SM")),
    ("memoryClockMHz", _clock("nvmlDeviceGetClockInfo", "MEM")),
    ("memoryClockMaxMHz", _clock("nvmlDeviceGetMaxClockInfo", "MEM")),
    ("temperatureC", lambda library, handle: library.nvmlDeviceGetTemperature(handle, 0)),
    ("powerW", _watts("nvmlDeviceGetPowerUsage")),
    ("powerLimitW", _watts("nvmlDeviceGetEnforcedPowerLimit")),
    ("powerDefaultW", _watts("nvmlDeviceGetPowerManagementDefaultLimit")),
    ("pcieGen", _call("nvmlDeviceGetCurrPcieLinkGeneration")),
    ("pcieGenMax", _call("nvmlDeviceGetMaxPcieLinkGeneration")),
    ("pcieWidth", _call("nvmlDeviceGetCurrPcieLinkWidth")),
    ("pcieWidthMax", _call("nvmlDeviceGetMaxPcieLinkWidth")),
    ("pcieReplays", _call("nvmlDeviceGetPcieReplayCounter")),
    ("utilisationPercent", lambda library, handle: library.nvmlDeviceGetUtilizationRates(handle).gpu),
    ("computeMode", _call("nvmlDeviceGetComputeMode")),
    ("persistence", lambda library, handle: bool(library.nvmlDeviceGetPersistenceMode(handle))),
    ("processes", _process_count),
    ("virtualizationMode", _virtualization),
)
_NAMES_UNDER_LOAD = (
    "throttleReasons",
    "smClockMHz",
    "powerW",
    "temperatureC",
    "pcieGen",
    "pcieWidth",
    "memoryClockMHz",
)
_UNDER_LOAD = tuple(reading for reading in _READINGS if reading[0] in _NAMES_UNDER_LOAD)
