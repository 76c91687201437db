"""The loop that plans: woken by a change or a due time, it asks the planner about a snapshot and executes the plan.

There is one planner over all environments, because some rules are node-wide, such as one probe pod a node. The loop
never ends by itself: an exception while planning is logged and counted, and the next try comes after a back-off.
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
"""How long the loop waits after a wake-up, because changes come in bursts."""
INTERVAL_SECONDS: Final = 1.0
"""The least time between the beginnings of two plans."""
IDLE_SECONDS: Final = 30.0
"""The most time between two plans. Each is also a sign of life."""
THREAD_SECONDS: Final = 0.1
"""If a plan took longer than this, the next one is computed in a thread, so that the event loop goes on."""
BACKOFF_MAX_SECONDS: Final = 60.0

Planner = Callable[[Snapshot, float], Plan]


class Runs(Protocol):
    """An executor, as far as the loop needs it."""

    async def run(self, plan: Plan) -> Executed: ...


class Reconciler:
    """Makes plans and has them executed. ``wake`` may be called at any time in the event loop."""

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
        """``allowed`` returns once something may be written, which is while the lease is held."""
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
        self._known_faults: frozenset[str] = frozenset()

    def wake(self) -> None:
        """Plan soon, because something changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Plan until cancelled."""
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
        """Make one plan and execute as much of it as its time allows."""
        self._dirty.clear()
        seen = self._cache.snapshot(self._settings)
        if not seen.synced:
            self._wake_at = None
            return
        plan = await self._plan(seen)
        for fault in plan.faults:
            if fault not in self._known_faults:
                logger.error("a fault of our own: %s", fault)
                self._metrics.error("plan")
        self._known_faults = frozenset(plan.faults)
        self._beat()
        executed = await self._executor.run(plan)
        self._cache.carried_out(seen, plan)
        self._wake_at = self._next(plan.wake_at, executed.retry_at)
        if planned := len(plan.actions):
            logger.debug(
                "plan of %d actions: %d done, %d failed, %d put off",
                planned,
                executed.done,
                executed.failed,
                executed.skipped,
            )

    def _next(self, wake_at: float | None, retry_at: float | None) -> float | None:
        """Return when to plan again, by the monotonic clock, to which ``retry_at`` belongs; ``wake_at`` does not."""
        due = [] if retry_at is None else [retry_at]
        if wake_at is not None:
            due.append(time.monotonic() + wake_at - self._clock())
        return min(due, default=None)

    async def _permission(self) -> None:
        """Wait until something may be written, and give signs of life meanwhile."""
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
        """Wait until the loop is woken, a plan is due, or the loop was idle for long."""
        seconds = IDLE_SECONDS
        if self._wake_at is not None:
            seconds = min(seconds, max(0.0, self._wake_at - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                await self._dirty.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DEBOUNCE_SECONDS)
