"""What NVML says of a GPU while benchmarks run, ten times a second: a slow figure has a reason more often
than not.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from gpuenv_probe import figures, nvml, raw

_INTERVAL = 0.1
_IDLE = 1  # nvmlClocksEventReasonGpuIdle: between two calls, and no reason for anything


class Monitor:
    """Samples while it is entered; without NVML it stays silent."""

    def __init__(self, index: int) -> None:
        self._samples: list[dict[str, Any]] = []
        self._library, self._handle = _open(index)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Monitor:
        if self._handle is not None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None

    def _follow(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._samples.append(nvml.under_load(self._library, self._handle))

    def summary(self) -> dict[str, Any]:
        """Median SM clock, most power and heat, every reason for slowing down, the link at its best."""
        found: dict[str, Any] = {}
        clocks = sorted(self._values("smClockMHz"))
        if clocks:
            found["busySmClockMHz"] = round(figures.percentile(clocks, 0.5))
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
        uuid = raw.uuid_of(ctypes.CDLL("libcuda.so.1"), index)
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None, None
    library = nvml.load()
    try:
        library.nvmlInit()
        return library, nvml.handle_of(library, {"uuid": uuid}) if uuid else None
    except nvml.refusals(library):
        return library, None
