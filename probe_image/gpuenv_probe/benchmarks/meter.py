"""Measures one benchmark figure, such as TFLOPS, by timing many calls with CUDA events within a time budget."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, ContextManager

from gpuenv_probe.kernels.device import Device

_FLUSH_BYTES = 256 * 1024**2
"""Bytes of the buffer that is overwritten to flush the L2 cache.

It is twice as large as the largest L2 cache of any GPU, the 126 MiB of Blackwell.
"""
_WARM_CALLS = 3
_MIN_SAMPLES = 20
"""The number of timed calls to make at least, if the time budget allows.

Percentiles of fewer calls mean little, so even calls that take long are repeated this often.
"""
_FEWEST_SAMPLES = 3
"""The smallest number of timed calls for which a benchmark figure is reported."""
_CHUNK, _CHUNK_SECONDS = 256, 0.1
"""A batch has at most this many calls, and few enough that it takes about this many seconds.

The calls of a batch are launched without a pause. The host reads its clock, to see whether time is left, only between
two batches.
"""
_PATIENCE = 3.0
"""Timing stops after this many times the wanted duration, even if the timed calls add up to less than it.

They may add up to less because launches and cache flushes take time that the CUDA events around the calls do not
count. Timing continues beyond this limit only until ``_MIN_SAMPLES`` calls are timed.
"""


class OutOfTime(Exception):
    """The time budget is too short for a figure. The message says how it was exceeded."""


class Sample:
    """The measurement of one benchmark figure: the seconds of each timed call, and the work of one call.

    The work is a number in the unit of the figure times seconds: TFLOP for TFLOPS, GB for GB/s.
    """

    def __init__(self, work: float, times: list[float]) -> None:
        self.work = work
        self.times = times

    def summary(self) -> dict[str, Any]:
        """Return ``median``, ``p20`` and ``p80`` of the calls' rates, and the number of calls as ``samples``.

        The rate of a call is its work divided by its seconds. The three values, of which ``p20`` and ``p80`` are the
        20th and 80th percentile, are rounded to four significant digits.
        """
        rates = sorted(self.work / max(seconds, 1e-9) for seconds in self.times)
        return {
            "median": _digits(percentile(rates, 0.5)),
            "p20": _digits(percentile(rates, 0.2)),
            "p80": _digits(percentile(rates, 0.8)),
            "samples": len(rates),
        }


def percentile(ordered: list[float], share: float) -> float:
    """Return the percentile of sorted values, interpolated linearly between the two nearest values.

    ``share`` is from 0 to 1, such as 0.2 for the 20th percentile.
    """
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


class Meter:
    """Calls a function again and again and times the calls, for one benchmark figure such as the speed of a matrix product.

    ``seconds`` is the wanted total duration of the timed calls. ``until`` is the end of the time budget: the time, on
    the clock of ``time.monotonic``, by which the last call should have ended. ``watch`` returns a context manager that
    is entered before the first timed call and left after the last. The benchmarks pass one that records the clock rates
    and the power of the GPU.
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
        """Time ``call`` many times and return the measurement.

        ``work`` is the work of one call, such as its number of TFLOP. If ``flush`` is true, the L2 cache is overwritten
        before each call. Raises OutOfTime if the budget is too short for ``_FEWEST_SAMPLES`` calls.
        """
        torch = self._device.torch
        buffer = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=self._device.name) if flush else None
        pace = self._warm_up(call, buffer)
        with self._watch():
            times = self._timed(call, buffer, pace)
        if len(times) < _FEWEST_SAMPLES:
            raise OutOfTime(f"one call takes {pace:.2g} s")
        return Sample(work, times)

    def _left(self) -> float:
        return self._until - time.monotonic()

    def _warm_up(self, call: Callable[[], Any], buffer: Any) -> float:
        """Make a few warm-up calls, so that kernels are loaded and algorithms chosen; return the last one's seconds.

        These calls do not count as timed calls. ``buffer`` is the tensor to overwrite before each call to flush the L2
        cache, or None. Raises OutOfTime if the time budget is too short.
        """
        pace = 0.0
        for _ in range(_WARM_CALLS):
            if self._left() <= pace:
                raise OutOfTime("it ended before the first timed call")
            pace = self._run(call, buffer, 1)[1]
        return pace

    def _timed(self, call: Callable[[], Any], buffer: Any, pace: float) -> list[float]:
        """Time calls for the wanted duration or until the time budget is used up; return the seconds of each call.

        ``buffer`` is the tensor to overwrite before each call to flush the L2 cache, or None. ``pace`` is the expected
        time of one call in seconds, including its launch and the flush.
        """
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
        """Make ``count`` calls; return the seconds of each call on the GPU, and the average seconds on the host.

        The CUDA events around a call give its seconds on the GPU. The host's average also contains launches and cache
        flushes. ``buffer`` is the tensor to overwrite before each call to flush the L2 cache, or None.
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
