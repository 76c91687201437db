"""The operator's main loop: after a change or at a due time, it makes a plan and has it carried out.

There is one planner for all environments, because some rules concern a whole node, such as one probe pod per node. The
loop never ends by itself: if planning raises an exception, the loop logs it, counts it and pauses.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gpuenv.controller.cache import Cache
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.write.executor import Executed
from gpuenv.plan.actions import Plan
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.clock_skew import noted_skew, skew_message
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Snapshot

logger = logging.getLogger(__name__)

DEBOUNCE_SECONDS: Final = 0.2
"""How long the loop waits after a wake-up, so that one plan includes a whole burst of changes."""
INTERVAL_SECONDS: Final = 1.0
"""Minimum time between the starts of two plans."""
IDLE_SECONDS: Final = 30.0
"""The longest time without a plan. Even if nothing has changed, each plan shows that the loop is alive."""
THREAD_SECONDS: Final = 0.1
"""If a plan took longer than this, the next plan is computed in a thread, so as not to block the event loop."""
BACKOFF_MAX_SECONDS: Final = 60.0
"""Longest pause after planning has failed. The first pause is two seconds, and each further failure doubles it."""

SLICE_SECONDS: Final = 1.0
"""For how long one plan assesses results. The next plan, which follows at once, goes on with the others."""

Planner = Callable[[Snapshot, float, Allowance], Plan]
"""Makes the plan for a snapshot at a time, in seconds since the epoch, with an allowance for assessing results."""


class Runs(Protocol):
    """What the loop needs of an executor: one method. A protocol, so that tests can pass another executor."""

    async def run(self, plan: Plan) -> Executed: ...


class Reconciler:
    """The main loop: makes plans and has them carried out. ``wake`` may be called at any time from the event loop.

    ``allowed`` waits until this process holds the Lease and so may write. ``beat`` is called regularly, as a sign of
    life. ``clock`` returns the time in seconds since the epoch. ``interval`` is the minimum time in seconds between
    the starts of two plans.
    """

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
        self._slow = True  # the first plan assesses everything, which takes long in a large cluster
        self._faults = 0
        self._known_faults: frozenset[str] = frozenset()

    @property
    def problem(self) -> str:
        """Why no plan is made, in words for people; "" unless planning has failed."""
        return f"planning has failed {self._faults} times in a row; see the log" if self._faults else ""

    def wake(self) -> None:
        """Request a plan soon, because something has changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Make and carry out plans until cancelled."""
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
        """Make one plan, and carry out as much of it as its time limit allows."""
        self._dirty.clear()
        self._note_skew()
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

    def _note_skew(self) -> None:
        """Tell the next plan, and once the log, that the operator's clock and the API server's differ, or do no more."""
        before = self._cache.clock_skew
        self._cache.clock_skew = skew = noted_skew(before, self._metrics.skew())
        if skew and skew != before:
            logger.warning("%s", skew_message(skew))
        elif before and not skew:
            logger.info("the operator's clock and the API server's agree again")

    def _next(self, wake_at: float | None, retry_at: float | None) -> float | None:
        """Return the monotonic time at which the next plan is due, or None if it need not be made at a given time.

        At ``wake_at``, the planner needs another plan. At ``retry_at``, the executor can repeat an action. Both are
        monotonic times, and None if there is no such time.
        """
        return min((at for at in (wake_at, retry_at) if at is not None), default=None)

    async def _permission(self) -> None:
        """Wait until this process holds the Lease and so may write, and give signs of life meanwhile."""
        while True:
            self._beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._allowed()
                    return

    async def _plan(self, seen: Snapshot) -> Plan:
        now, started = self._clock(), time.perf_counter()
        if self._slow:
            plan = await asyncio.to_thread(self._planner, seen, now, self._allowance(SLICE_SECONDS))
        else:
            plan = self._planner(seen, now, self._allowance(THREAD_SECONDS))
        seconds = time.perf_counter() - started
        self._slow = plan.put_off > 0 or seconds > THREAD_SECONDS
        if plan.put_off:
            logger.info("%d results are assessed in the next plans", plan.put_off)
        self._metrics.planned(plan, seconds)
        return plan

    def _allowance(self, seconds: float) -> Allowance:
        """Return the allowance of a plan that may assess results for so long, and gives a sign of life at each."""
        end = time.monotonic() + seconds

        def may_continue() -> bool:
            self._beat()
            return time.monotonic() < end

        return Allowance(may_continue)

    async def _wait(self) -> None:
        """Wait until :meth:`wake` is called or a plan is due, at most IDLE_SECONDS."""
        seconds = IDLE_SECONDS
        if self._wake_at is not None:
            seconds = min(seconds, max(0.0, self._wake_at - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                await self._dirty.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DEBOUNCE_SECONDS)
