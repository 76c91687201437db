"""The health of the operator's process: whether its loops are alive, and whether it does its work.

The HTTP server may respond although another loop of the process is stuck. So each loop gives a sign of life regularly,
and the watch counts as dead if it does not deliver changes that sweeps find.
"""

import time
from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 180.0
"""A loop that gives no sign of life for this long is stuck. A request takes less, even with all its retries."""


class ProcessHealth:
    """The health of the process: signs of life of its loops, health checks, and what the operator still waits for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}
        self._checks: dict[str, Callable[[], bool]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self, name: str, limit: float = LIMIT_SECONDS) -> None:
        """Record a sign of life of the loop ``name``.

        The loop counts as stuck if it gives no further sign of life within ``limit`` seconds.
        """
        self._beats[name] = (self._clock(), limit)

    def check(self, name: str, healthy: Callable[[], bool]) -> None:
        """Make ``/healthz`` fail and show ``name`` whenever ``healthy`` returns False."""
        self._checks[name] = healthy

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
        stuck = [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, limit) in self._beats.items()
            if now - at > limit
        ]
        return stuck + [f"{name}: failed" for name, healthy in self._checks.items() if not healthy()]

    def waiting(self) -> list[str]:
        """Return what the operator is still waiting for, one line each; empty if it is ready."""
        return [f"{name}: {why}" for name, why in self._waiting.items()]
