"""What NVML says of a GPU while benchmarks run, ten times a second: a slow figure has a reason more often
than not.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from typing import Any, Iterator

from gpuenv_probe.benchmarks import meter
from gpuenv_probe.facts import driver_facts, nvml

_INTERVAL = 0.1
_IDLE = 1  # nvmlClocksEventReasonGpuIdle: between two calls, and no reason for anything


class Monitor:
    """Samples while it watches; without NVML it stays silent."""

    def __init__(self, index: int) -> None:
        self._samples: list[dict[str, Any]] = []
        self._library, self._handle = _open(index)

    @contextlib.contextmanager
    def watching(self, compute: bool) -> Iterator[None]:
        """Within it, samples are taken; the SM clock counts only while the GPU has to ``compute``."""
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
                self._handle = None  # NVML hangs: one thread that waits for it is enough

    def _follow(self, stop: threading.Event, compute: bool) -> None:
        while not stop.wait(_INTERVAL):
            sample = nvml.under_load(self._library, self._handle)
            if not compute:
                sample.pop("smClockMHz", None)
            self._samples.append(sample)

    def summary(self) -> dict[str, Any]:
        """Median SM clock, most power and heat, every reason for slowing down, the link at its best."""
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
    """NVML's handle of the device CUDA calls ``index``, by its UUID; torch has started CUDA already."""
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
