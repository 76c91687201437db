"""A token bucket: how fast we may write, whatever the plan wants."""

import asyncio
import time
from collections.abc import Callable


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved up; 0 means no limit. First come, first served."""

    def __init__(
        self, rate: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, burst if burst is not None else 2 * rate)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    async def take(self) -> None:
        """Returns once a token is there. A waiter reserves its token at once, so nobody overtakes it."""
        delay = self.reserve()
        if delay > 0:
            await asyncio.sleep(delay)

    def reserve(self) -> float:
        """Takes one token, in advance if need be; returns the seconds until it is due."""
        if self._rate <= 0:
            return 0.0
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def offer(self) -> bool:
        """Takes one token if there is one now."""
        if self._rate <= 0:
            return True
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
