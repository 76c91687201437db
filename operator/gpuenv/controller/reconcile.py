"""The one loop: woken by a change or a due time, it takes a snapshot, asks the planner, and hands the plan to
the executor.

One planner over all environments, because some rules are node-wide (one probe pod a node). It never ends: a
fault of a plan is logged, counted, and tried again with back-off.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gpuenv.controller.cache import Cache
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.write.executor import Executed
from gpuenv.plan.model import Plan, Settings, Snapshot

logger = logging.getLogger(__name__)

DEBOUNCE_SECONDS: Final = 0.2
"""After a wake-up: events come in bursts."""
INTERVAL_SECONDS: Final = 1.0
"""Between the beginnings of two plans."""
IDLE_SECONDS: Final = 30.0
"""A plan at least this often, and a sign of life."""
THREAD_SECONDS: Final = 0.1
"""A plan that took longer than this is computed beside the event loop next time."""
BACKOFF_MAX_SECONDS: Final = 60.0

Planner = Callable[[Snapshot, float], Plan]


class Runs(Protocol):
    """What the loop needs of an executor."""

    async def run(self, plan: Plan) -> Executed: ...


class Reconciler:
    """``wake`` may be called at any time, from the event loop."""

    def __init__(
        self,
        cache: Cache,
        planner: Planner,
        executor: Runs,
        settings: Settings,
        metrics: Metrics,
        *,
        allowed: Callable[[], Awaitable[None]],
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """``allowed`` returns when something may be written (the lease is held)."""
        self._cache = cache
        self._planner = planner
        self._executor = executor
        self._settings = settings
        self._metrics = metrics
        self._allowed = allowed
        self._beat = beat
        self._clock = clock
        self._interval = interval
        self._dirty = asyncio.Event()
        self._wake_at: float | None = None
        self._slow = True  # the first plan judges everything, which a large cluster feels
        self._faults = 0

    def wake(self) -> None:
        """Something changed: plan soon."""
        self._dirty.set()

    async def run(self) -> None:
        """Ends only by cancellation."""
        while True:
            self._beat()
            await self._wait()
            started = time.monotonic()
            try:
                await self._permission()
                await self.once()
                self._faults = 0
            except Exception:
                self._faults += 1
                seconds = min(2.0**self._faults, BACKOFF_MAX_SECONDS)
                logger.exception("planning failed; next try in %.0f s", seconds)
                self._metrics.error("plan")
                self._dirty.set()
                await asyncio.sleep(seconds)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - started)))

    async def once(self) -> None:
        """One plan, carried out as far as its time goes."""
        self._dirty.clear()
        seen = self._cache.snapshot(self._settings)
        if not seen.synced:
            self._wake_at = None
            return
        plan = await self._plan(seen)
        for fault in plan.faults:
            logger.error("a fault of our own: %s", fault)
            self._metrics.error("plan")
        self._beat()
        executed = await self._executor.run(plan)
        self._cache.carried_out(seen, plan)
        self._wake_at = self._next(plan.wake_at, executed.retry_at)
        if plan.actions:
            logger.debug(
                "plan of %d actions: %d done, %d failed, %d put off",
                len(plan.actions),
                executed.done,
                executed.failed,
                executed.skipped,
            )

    def _next(self, wake_at: float | None, retry_at: float | None) -> float | None:
        """When to plan again, by the monotonic clock. The plan tells a time of day, the executor one of that clock."""
        due = [] if retry_at is None else [retry_at]
        if wake_at is not None:
            due.append(time.monotonic() + wake_at - self._clock())
        return min(due, default=None)

    async def _permission(self) -> None:
        """Waits until something may be written, and shows that it lives while it waits."""
        while True:
            self._beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._allowed()
                    return

    async def _plan(self, seen: Snapshot) -> Plan:
        now, started = self._clock(), time.perf_counter()
        if self._slow:
            plan = await asyncio.to_thread(self._planner, seen, now)
        else:
            plan = self._planner(seen, now)
        seconds = time.perf_counter() - started
        self._slow = seconds > THREAD_SECONDS
        self._metrics.planned(plan, seconds)
        return plan

    async def _wait(self) -> None:
        """Until woken, or due, or idle for long."""
        seconds = IDLE_SECONDS
        if self._wake_at is not None:
            seconds = min(seconds, max(0.0, self._wake_at - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                await self._dirty.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DEBOUNCE_SECONDS)
