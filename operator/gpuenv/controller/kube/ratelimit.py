"""A token bucket: it limits how often something may be done, such as writing to the API server."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

WRITES_PER_SECOND: Final = 20.0
"""Default limit of requests to the API server that change something."""


class TokenBucket:
    """Provides ``rate`` tokens per second. One token must be taken for each action that is to be limited.

    Unused tokens are saved, at most ``burst`` of them (default: two seconds' worth). A rate of 0 means no limit.
    """

    def __init__(
        self, rate: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, burst if burst is not None else 2 * rate)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    async def take(self, within: float = math.inf) -> bool:
        """Wait until a token is available, and take it. Callers are served in the order of their calls.

        If that would take longer than ``within`` seconds, return False at once, and leave the token to others.
        """
        if self.seconds_left() > within:
            return False
        delay = self.reserve()
        if delay > 0:
            await asyncio.sleep(delay)
        return True

    def reserve(self) -> float:
        """Take the next token, which may become available only later. Return in how many seconds it does."""
        if self._rate <= 0:
            return 0.0
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def try_take(self) -> bool:
        """Take a token if one is available now. Return whether one was taken."""
        if self._rate <= 0:
            return True
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def seconds_left(self) -> float:
        """Return in how many seconds a token will be available; 0 if one is available now."""
        self._refill()
        return max(0.0, 1 - self._tokens) / self._rate if self._rate > 0 else 0.0

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
