"""A token bucket that limits how many requests a second may write, however much a plan wants to write."""

import asyncio
import time
from collections.abc import Callable


class TokenBucket:
    """Gives out ``rate`` tokens a second, and at most ``burst`` saved ones at once. A rate of 0 means no limit."""

    def __init__(
        self, rate: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, burst if burst is not None else 2 * rate)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    async def take(self) -> None:
        """Wait for a token. Tokens are given out in the order of the calls."""
        delay = self.reserve()
        if delay > 0:
            await asyncio.sleep(delay)

    def reserve(self) -> float:
        """Take a token, if necessary a future one. Return the seconds until it is due."""
        if self._rate <= 0:
            return 0.0
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def offer(self) -> bool:
        """Take a token if there is one now. Return whether there was."""
        if self._rate <= 0:
            return True
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def seconds_left(self) -> float:
        """Return in how many seconds there is a token; 0 if there is one now."""
        self._refill()
        return max(0.0, 1 - self._tokens) / self._rate if self._rate > 0 else 0.0

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
