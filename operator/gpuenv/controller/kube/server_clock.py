"""Read the API server's clock from the ``Date`` headers of its answers.

A ``Date`` is in whole seconds, and an answer may be on its way for long. So each answer says only between which limits
the difference between the two clocks lies: the header was written after the request was sent and before the answer was
received. What most of the latest answers agree on is the difference. A slow answer has wide limits and disturbs nothing,
and one of several API servers with another clock is outvoted.

The difference is measured against the monotonic clock, so it stays right while somebody sets the clock of this machine.
"""

import time
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Final

ANSWERS_KEPT: Final = 31
"""How many answers are compared. A clock that was set is believed when more than half of them are new."""
SAMPLE_SECONDS: Final = 1.0
"""Minimum time between two answers that are kept, so that a burst of requests does not push out all others."""


class ServerClock:
    """The API server's clock, as far as its answers tell. ``monotonic`` and ``wall`` are the clocks of this machine."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._limits: deque[tuple[float, float]] = deque(maxlen=ANSWERS_KEPT)
        """For each answer, the least and the greatest difference: the API server's time minus the monotonic time."""
        self._kept_at = float("-inf")
        self._difference: float | None = None

    def answered(self, date: str | None, sent: float) -> None:
        """Take note of an answer that has just arrived. ``date`` is its header, ``sent`` the monotonic time of the request."""
        received = self._monotonic()
        if date is None or received < self._kept_at + SAMPLE_SECONDS:
            return
        try:
            seconds = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        self._kept_at = received
        self._limits.append((seconds - received, seconds + 1 - sent))
        self._difference = _agreed(self._limits)

    @property
    def time(self) -> float | None:
        """The time of the API server's clock in epoch seconds; None before the first answer with a ``Date``."""
        return None if self._difference is None else self._monotonic() + self._difference

    @property
    def skew(self) -> float | None:
        """By how many seconds the clock of this machine is ahead of the API server's; None if that is not known."""
        server = self.time
        return None if server is None else self._wall() - server


def _agreed(limits: deque[tuple[float, float]]) -> float:
    """Return the middle of the range that lies within the limits of the most answers."""
    edges = sorted(
        [(low, 1) for low, _ in limits] + [(high, -1) for _, high in limits], key=lambda one: one[0]
    )
    most = depth = 0
    found = (0.0, 0.0)
    for (at, step), (until, _) in pairwise(edges):
        depth += step
        if depth > most:
            most, found = depth, (at, until)
    return sum(found) / 2
