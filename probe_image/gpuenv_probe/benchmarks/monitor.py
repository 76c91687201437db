"""Samples clocks, power and temperature of a GPU through NVML while benchmarks run, ten times a second.

These values usually explain a benchmark figure that is lower than expected.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from typing import Any, Iterator

from gpuenv_probe.benchmarks import meter
from gpuenv_probe.facts import driver_facts, nvml

_INTERVAL = 0.1
_IDLE = 1  # nvmlClocksEventReasonGpuIdle: normal between two calls, explains no slow benchmark


class Monitor:
    """Collects samples of one GPU's clocks, power and temperature, or no samples if NVML does not work.

    ``index`` is the GPU's CUDA index.
    """

    def __init__(self, index: int) -> None:
        self._samples: list[dict[str, Any]] = []
        self._library, self._handle = _open(index)

    @contextlib.contextmanager
    def watching(self, compute: bool) -> Iterator[None]:
        """Return a context manager that takes samples until its with block ends.

        The samples contain the SM clock only if ``compute`` is true. It is false for benchmarks that only copy, because
        the SM clock may be low while a GPU copies.
        """
        if self._handle is None:
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stop, compute), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(2.0)
            if thread.is_alive():
                self._handle = None  # NVML hangs; do not start another thread that would hang too

    def _follow(self, stop: threading.Event, compute: bool) -> None:
        while not stop.wait(_INTERVAL):
            sample = nvml.under_load(self._library, self._handle)
            if not compute:
                sample.pop("smClockMHz", None)
            self._samples.append(sample)

    def summary(self) -> dict[str, Any]:
        """Return the median SM clock, the highest power and temperature, the best PCIe link and all throttle reasons.

        The result is part of the object ``health`` of a GPU in the probe report, with keys such as ``busyPowerW``. A
        fact that no sample contains is left out.
        """
        found: dict[str, Any] = {}
        clocks = sorted(self._values("smClockMHz"))
        if clocks:
            found["busySmClockMHz"] = round(meter.percentile(clocks, 0.5))
        for name in ("powerW", "temperatureC", "pcieGen", "pcieWidth"):
            values = self._values(name)
            if values:
                found[f"busy{name[0].upper()}{name[1:]}"] = max(values)
        reasons = 0
        for value in self._values("throttleReasons"):
            reasons |= value & ~_IDLE
        if self._samples:
            found["busyThrottleReasons"] = reasons
        return found

    def _values(self, name: str) -> list[Any]:
        return [sample[name] for sample in self._samples if name in sample]


def _open(index: int) -> tuple[Any, Any]:
    """Return the NVML bindings, and NVML's handle of the GPU with the CUDA index ``index``.

    Both are None if a library is missing, and the handle is None if NVML does not start or does not know the GPU. CUDA
    and NVML number GPUs differently, so the GPU is found by its UUID. CUDA gives the UUID because torch has called
    cuInit before.
    """
    try:
        uuid = driver_facts.uuid_of(ctypes.CDLL("libcuda.so.1"), index)
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None, None
    library = nvml.load()
    try:
        library.nvmlInit()
        return library, nvml.handle_of(library, {"uuid": uuid}) if uuid else None
    except nvml.refusals(library):
        return library, None
