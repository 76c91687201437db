"""How one figure is measured: CUDA events around each call, for so long, and never beyond its budget."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, ContextManager

from gpuenv_probe.kernels.device import Device, Skip

_FLUSH_BYTES = 256 * 1024**2
"""Twice the largest L2 cache there is (126 MiB on Blackwell)."""
_WARM_CALLS = 3
_MIN_SAMPLES = 20
"""Percentiles of fewer say little; taken where the budget allows, however long a call is."""
_FEWEST_SAMPLES = 3
"""Fewer have no median worth the name: then there is no figure."""
_CHUNK, _CHUNK_SECONDS = 256, 0.1
"""Calls between two looks at the clock, at most, and about how long they take."""
_PATIENCE = 3.0
"""Times the wanted seconds that may pass: launches and flushes take time that no event counts."""


class Sample:
    """Times of single calls in seconds, and what one call does in the figure's unit times seconds."""

    def __init__(self, work: float, times: list[float]) -> None:
        self.work = work
        self.times = times

    def summary(self) -> dict[str, Any]:
        """Median, 20th and 80th percentile of the rate with four significant digits, and the sample count."""
        rates = sorted(self.work / max(seconds, 1e-9) for seconds in self.times)
        return {
            "median": _digits(percentile(rates, 0.5)),
            "p20": _digits(percentile(rates, 0.2)),
            "p80": _digits(percentile(rates, 0.8)),
            "samples": len(rates),
        }


def percentile(ordered: list[float], share: float) -> float:
    """Linear interpolation between the two nearest of the sorted values."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


class Meter:
    """One figure's time. ``seconds``: what the timed calls are to add up to. ``until``: the moment of
    ``time.monotonic`` that no call may be expected to outlast. ``watch`` makes what is entered around the
    timed calls, and around nothing else.
    """

    def __init__(
        self,
        device: Device,
        seconds: float,
        until: float,
        watch: Callable[[], ContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._device = device
        self._seconds = seconds
        self._until = until
        self._watch = watch

    def measure(self, call: Callable[[], Any], work: float, flush: bool = False) -> Sample:
        """Runs ``call`` again and again, each between two events; ``flush`` empties the L2 cache before each.

        Raises Skip when there is no time for a median.
        """
        torch = self._device.torch
        buffer = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=self._device.name) if flush else None
        pace = self._warm_up(call, buffer)
        with self._watch():
            times = self._timed(call, buffer, pace)
        if len(times) < _FEWEST_SAMPLES:
            raise Skip(f"one call takes {pace:.2g} s, the profile's time does not suffice")
        return Sample(work, times)

    def _left(self) -> float:
        return self._until - time.monotonic()

    def _warm_up(self, call: Callable[[], Any], buffer: Any) -> float:
        """Seconds of the last of a few calls: the first ones load kernels and choose algorithms."""
        pace = 0.0
        for _ in range(_WARM_CALLS):
            if self._left() <= pace:
                raise Skip("the profile's time does not suffice")
            pace = self._run(call, buffer, 1)[1]
        return pace

    def _timed(self, call: Callable[[], Any], buffer: Any, pace: float) -> list[float]:
        times: list[float] = []
        begun, measured = time.monotonic(), 0.0
        while True:
            enough = measured >= self._seconds or time.monotonic() - begun >= _PATIENCE * self._seconds
            if enough and len(times) >= _MIN_SAMPLES:
                return times
            count = min(_CHUNK, int(_CHUNK_SECONDS / pace) + 1, int(self._left() / pace))
            if count < 1:
                return times
            more, pace = self._run(call, buffer, count)
            times += more
            measured += sum(more)

    def _run(self, call: Callable[[], Any], buffer: Any, count: int) -> tuple[list[float], float]:
        """Seconds of each of ``count`` calls as the events tell them, and the average with all there is around
        a call.
        """
        torch = self._device.torch
        begun = time.monotonic()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
        for begin, end in events:
            if buffer is not None:
                buffer.zero_()
            begin.record()
            call()
            end.record()
        torch.cuda.synchronize()
        times = [begin.elapsed_time(end) / 1000.0 for begin, end in events]
        return times, max((time.monotonic() - begun) / count, 1e-6)
