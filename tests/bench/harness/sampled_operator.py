"""Runs ``gpuenv`` and samples its stack, between SIGUSR1 and its end. The samples are written to a file.

Usage: ``python -m tests.bench.harness.sampled_operator FILE operator ...``. Samples are taken every few milliseconds of
CPU time, so idle time is not counted. The file holds a pickled dict of stacks and counts.
"""

import pickle
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.bench.harness.parts import Stack

from gpuenv.cli import main

INTERVAL_SECONDS = 0.002


class Sampler:
    """Counts the stacks of the thread that works."""

    def __init__(self) -> None:
        self.samples: Counter[Stack] = Counter()
        self._main = threading.main_thread().ident

    def start(self, *_: Any) -> None:
        """Begin to take samples."""
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def take(self, _: int, frame: FrameType | None) -> None:
        """Take one sample. If the main thread waits, the working thread is another one."""
        if frame is not None and frame.f_code.co_name == "select":
            others = {ident: one for ident, one in sys._current_frames().items() if ident != self._main}
            frame = next((one for one in others.values() if not _waits(one)), frame)
        self.samples[_stack(frame)] += 1


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_name in {"wait", "_worker", "select", "poll", "accept", "get"}


def _stack(frame: FrameType | None) -> Stack:
    found = []
    while frame is not None:
        found.append((str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname))
        frame = frame.f_back
    return tuple(found)


def run(file: Path, arguments: list[str]) -> None:
    """Run ``gpuenv`` with these arguments, and write the samples to ``file`` at its end."""
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.take)
    signal.signal(signal.SIGUSR1, sampler.start)
    sys.argv = ["gpuenv", *arguments]
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_bytes(pickle.dumps(dict(sampler.samples)))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
