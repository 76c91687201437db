"""The health of the operator's process: whether its loops are alive, and whether it does its work.

The HTTP server may respond although another loop of the process is stuck. So each loop gives a sign of life regularly.
What a new process would not change, such as an API server that does not answer, makes the operator not ready.
"""

import time
from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 180.0
"""A loop that gives no sign of life for this long is stuck. A request takes less, even with all its retries."""


class ProcessHealth:
    """The health of the process: signs of life of its loops, and what keeps the operator from its work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}
        self._expected: dict[str, Callable[[], str]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self, name: str, limit: float = LIMIT_SECONDS) -> None:
        """Record a sign of life of the loop ``name``.

        The loop counts as stuck if it gives no further sign of life within ``limit`` seconds.
        """
        self._beats[name] = (self._clock(), limit)

    def expect(self, name: str, problem: Callable[[], str]) -> None:
        """Make ``/readyz`` fail with the line that ``problem`` returns, whenever that is not "".

        A new process could not do better, so ``/healthz`` does not fail.
        """
        self._expected[name] = problem

    def stopped(self, name: str) -> None:
        """Expect no more signs of life from the loop ``name``, because it has ended as intended."""
        self._beats.pop(name, None)

    def wait(self, name: str, why: str) -> None:
        """Make ``/readyz`` fail with the line ``why`` until :meth:`done` is called for ``name``."""
        self._waiting[name] = why

    def done(self, name: str) -> None:
        """Record that the operator is no longer waiting for ``name``, for which :meth:`wait` was called."""
        self._waiting.pop(name, None)

    def problems(self) -> list[str]:
        """Return the reasons to restart the process, one line each; empty if the process is healthy."""
        now = self._clock()
        return [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, limit) in self._beats.items()
            if now - at > limit
        ]

    def waiting(self) -> list[str]:
        """Return what keeps the operator from its work, one line each; empty if it is ready."""
        waiting = [f"{name}: {why}" for name, why in self._waiting.items()]
        expected = ((name, problem()) for name, problem in self._expected.items())
        return waiting + [f"{name}: {why}" for name, why in expected if why]
