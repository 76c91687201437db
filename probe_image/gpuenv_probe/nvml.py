"""NVML through NVIDIA's own bindings (``pynvml``, inside the zip application): driver, GPUs, their health.

A fact NVML does not offer is left out, and ``unavailable`` names it under NVML's error number. Functions are
bound at first use, so old drivers answer 13 (function not found) for what they lack.
https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Callable, Tuple

from gpuenv_probe import failures
from gpuenv_probe.failures import Failure
from gpuenv_probe.worker import Context, Partial

_LIBRARY_NOT_FOUND = 12
_MIB = 1024 * 1024
_FI_RECOVERY_ACTION = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION

Reading = Tuple[str, Callable[[Any, Any], Any]]


def load() -> Any:
    """The bindings. They lie beside the probe's package, off the path of the image's own programs."""
    vendor = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "vendor")
    sys.path.insert(0, vendor)
    try:
        import pynvml
    finally:
        sys.path.remove(vendor)
    return pynvml


def system(context: Context) -> Partial:
    """Driver version and CUDA version as NVML says them; its initialisation error where there is one."""
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
        ("version", library.nvmlSystemGetDriverVersion),
        ("nvmlCudaVersion", library.nvmlSystemGetCudaDriverVersion_v2),
    ):
        try:
            found[name] = _text(call())
        except library.NVMLError as error:
            found.setdefault("nvml", of_error(library, error))
    return {"driver": found}


def blame(failure: Failure, outcome: str) -> Partial:
    """NVML took its worker down, or did not come back."""
    words = f"NVML: {outcome}: {failure.get('message', '')}"
    return {"driver": {"nvml": {**failure, "message": failures.shorten(words)}}}


def of_error(library: Any, error: Any) -> Failure:
    """An NVMLError with its number, its constant's name and NVML's own words."""
    names = (
        name
        for name in dir(library)
        if name.startswith("NVML_ERROR_") and getattr(library, name) == error.value
    )
    return failures.failure("nvml", int(error.value), next(names, ""), str(error))


def describe_all(library: Any) -> list[dict[str, Any]]:
    """One row a GPU NVML sees, by NVML's index."""
    try:
        count = library.nvmlDeviceGetCount()
    except library.NVMLError:
        return []
    rows = []
    for index in range(count):
        try:
            handle = library.nvmlDeviceGetHandleByIndex(index)
        except library.NVMLError as error:
            # A GPU that fell off the bus is counted but cannot be opened (15); its neighbours can.
            rows.append({"index": index, "health": {"error": of_error(library, error)}})
            continue
        rows.append({"index": index, **describe(library, handle)})
    return rows


def describe_matching(library: Any, seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """CUDA's rows with what NVML knows of the same device: matched by UUID, for they count differently."""
    rows = []
    for gpu in seen:
        handle = handle_of(library, gpu)
        rows.append({**(describe(library, handle) if handle is not None else {}), **gpu})
        if handle is not None:
            rows[-1]["uuid"] = _read(library, library.nvmlDeviceGetUUID, handle) or gpu.get("uuid")
    return rows


def handle_of(library: Any, gpu: dict[str, Any]) -> Any | None:
    """NVML's handle of a device that CUDA calls by ``uuid``; a MIG instance has the same digits behind
    ``MIG-``.
    """
    digits = str(gpu.get("uuid", ""))[4:]
    for name in (f"GPU-{digits}", f"MIG-{digits}"):
        try:
            return library.nvmlDeviceGetHandleByUUID(name.encode("ascii"))
        except library.NVMLError:
            continue
    return None


def describe(library: Any, handle: Any) -> dict[str, Any]:
    """Identity, memory, MIG and health of one device."""
    row: dict[str, Any] = {
        "product": _text(_read(library, library.nvmlDeviceGetName, handle)),
        "uuid": _text(_read(library, library.nvmlDeviceGetUUID, handle)),
        "mig": _mig(library, handle),
    }
    capability = _read(library, library.nvmlDeviceGetCudaComputeCapability, handle)
    if capability:
        row["computeCapability"] = f"{capability[0]}.{capability[1]}"
    memory = _read(library, library.nvmlDeviceGetMemoryInfo, handle)
    if memory is not None:
        row["memoryMiB"], row["memoryFreeMiB"] = memory.total // _MIB, memory.free // _MIB
    # Counters and clocks belong to the whole GPU: a MIG instance has none of its own.
    whole = (
        _read(library, library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle) if row["mig"] else None
    )
    row["health"] = health(library, whole or handle)
    return {name: value for name, value in row.items() if value is not None}


def health(library: Any, handle: Any) -> dict[str, Any]:
    """Every health fact NVML offers, and which it does not, by NVML's error number."""
    found: dict[str, Any] = {}
    unavailable: dict[str, list[str]] = {}
    for name, reading in _READINGS:
        try:
            value = reading(library, handle)
        except library.NVMLError as error:
            unavailable.setdefault(str(error.value), []).append(name)
            continue
        found.update(value if isinstance(value, dict) else {name: _text(value)})
    if unavailable:
        found["unavailable"] = unavailable
    return found


def under_load(library: Any, handle: Any) -> dict[str, Any]:
    """What matters while benchmarks run: clocks, power, heat, what slows the GPU down, its link at work."""
    found: dict[str, Any] = {}
    for name, reading in _READINGS:
        if name in _UNDER_LOAD:
            try:
                found[name] = reading(library, handle)
            except library.NVMLError:
                continue
    return found


def _read(library: Any, call: Callable[[Any], Any], handle: Any) -> Any:
    try:
        return call(handle)
    except library.NVMLError:
        return None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _mig(library: Any, handle: Any) -> str | None:
    """The profile of a MIG instance (the end of its name), ``enabled`` for a whole GPU in MIG mode, else
    None.
    """
    if _read(library, library.nvmlDeviceIsMigDeviceHandle, handle):
        name = str(_text(_read(library, library.nvmlDeviceGetName, handle)) or "")
        return name.partition("MIG ")[2] or "instance"
    mode = _read(library, library.nvmlDeviceGetMigMode, handle)
    return "enabled" if mode and mode[0] == 1 else None


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
    try:
        return library.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except library.NVMLError_FunctionNotFound:
        return library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)


def _fabric(library: Any, handle: Any) -> dict[str, Any]:
    """Fabric state: 1 not started, 2 in progress, 3 completed. Hopper and later."""
    info = library.c_nvmlGpuFabricInfo_v2_t()
    library.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    if info.state == 0:
        return {}
    return {"fabricState": info.state, "fabricStatus": info.status, "fabricHealthMask": info.healthMask}


def _recovery(library: Any, handle: Any) -> Any:
    value = library.nvmlDeviceGetFieldValues(handle, [_FI_RECOVERY_ACTION])[0]
    if value.nvmlReturn != 0:
        raise library.NVMLError(value.nvmlReturn)
    return int(value.value.uiVal)


def _process_count(library: Any, handle: Any) -> int:
    """How many processes compute there. Their ids are the host's: inside a container they mean nothing."""
    return len(library.nvmlDeviceGetComputeRunningProcesses(handle))


def _watts(call: str) -> Callable[[Any, Any], float]:
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
)
_UNDER_LOAD = frozenset(
    ("throttleReasons", "smClockMHz", "powerW", "temperatureC", "pcieGen", "pcieWidth", "memoryClockMHz")
)
