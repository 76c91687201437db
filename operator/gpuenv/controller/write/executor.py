"""Carries out plans: chains of actions in parallel, within a time limit, and with back-off after failures.

A chain contains all actions of one validation, or the one action about an environment itself. The actions are carried
out in the plan's order: first the node report, then the label, then the deletion of the pod. An action that fails, or
for which there is no time, is left undone. The next plan contains it again, because the cluster still differs from the
desired state. So a failed action delays only its own chain, and nothing is lost in an outage of the API server.

A plan ends when its time is over, even if requests have no answer yet. These stay under way: a write behind a webhook of
ten seconds would otherwise never be done. Until they end, later plans leave their validations alone, and a pod that is
being created counts as one that exists.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, assert_never

from gpuenv.api import names
from gpuenv.controller.kube import sending
from gpuenv.controller.kube.errors import TIMED_OUT, ApiError, NotNowError
from gpuenv.controller.kube.ratelimit import TokenBucket
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.write.access import StaleError
from gpuenv.controller.write.backoff import (
    BACKOFF_MAX_SECONDS,
    BACKOFF_SECONDS,
    STALE_SECONDS,
    Backoffs,
    Place,
)
from gpuenv.controller.write.chains import Chain, chains, title
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.lanes import Places, Queue
from gpuenv.controller.write.rejection import Denials, blames_pod
from gpuenv.controller.write.removal import Removal
from gpuenv.controller.write.writes import Writes
from gpuenv.plan.actions import (
    AddFinalizer,
    ChainAction,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    LookAtPod,
    MarkLeaving,
    OrphanedEnvironment,
    Plan,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.snapshot import ValidationKey

logger = logging.getLogger(__name__)

SECONDS_PER_PLAN: Final = 5.0
"""Time limit for carrying out one plan. What is not done by then is left to the next plan."""
STATUS_PER_SECOND: Final = 0.5
"""How many times per second the status of one environment may be written, after STATUS_BURST writes in a row."""
STATUS_BURST: Final = 2
"""How many times in a row the status of one environment may be written before STATUS_PER_SECOND is the limit."""
OUTAGE_STATUSES: Final = frozenset({0, 401, 429, 502, 503, 504})
"""Status codes that mean that the API server does not work, and not that it refused the action. 0: no response.

401 is about the operator's credentials: no other action would succeed either.
"""
NODE_WRITES: Final = (SetLabel, SetNodeCondition)
"""Actions whose failure does not stop the rest of their chain."""
OWN_BACKOFF: Final = (CreatePod, *NODE_WRITES)
"""Actions that have a back-off of their own, apart from the other actions of their validation."""
REMOVALS: Final = (Cleanup, OrphanedEnvironment)
"""Actions that remove everything of an environment."""
WRITTEN_KINDS: Final[dict[type, str]] = {
    WriteReport: names.REPORT_KIND,
    WriteStatus: names.ENVIRONMENT_KIND,
    SetLabel: "Node",
    SetNodeCondition: "Node",
}
"""Actions whose refusal by the API server is passed on to the next plan, with the kind of object that they change."""


@dataclass(slots=True)
class Executed:
    """Counts the actions of a plan that were carried out, that failed, and that were skipped."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    retry_at: float | None = None
    """Monotonic time at which a failed or skipped action may be tried again, or None if all actions were done."""

    def retry(self, at: float) -> None:
        """Set ``retry_at`` to ``at``, unless it is earlier already."""
        self.retry_at = at if self.retry_at is None else min(at, self.retry_at)


class _Step(Enum):
    """What became of one action of a chain, and so whether the chain continues."""

    DONE = auto()
    PASSED_OVER = auto()
    """The action was not carried out, but the chain continues, because its other actions do not depend on this one."""
    STOPPED = auto()


async def _nothing() -> None:
    pass


@dataclass(slots=True, eq=False)
class _Turn:
    """A plan that is being carried out until the monotonic time ``deadline``.

    ``outage``: the API server does not work, so that no other action begins. ``over``: the plan has ended.
    """

    queue: Queue
    deadline: float
    executed: Executed = field(default_factory=Executed)
    outage: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """An action that has begun and not ended, with the key of its validation and the plan that contains it."""

    key: ValidationKey
    action: ChainAction
    turn: _Turn


class Executor:
    """Carries out plans.

    Between plans it remembers the actions that are under way, the back-offs of failed actions and the rate of status
    writes.

    ``clock`` must be monotonic: a clock that is set back would prolong every back-off. ``seconds`` is the time limit of
    one plan. ``before_pod`` is called before each creation of a pod.
    """

    def __init__(
        self,
        writes: Writes,
        events: EventPoster,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = SECONDS_PER_PLAN,
        before_pod: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._before_pod = before_pod
        self._writes = writes
        self._cache = writes.cache
        self._removal = Removal(writes)
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._seconds = seconds
        self._backoffs = Backoffs(clock)
        self._denials = Denials(clock)
        self._status_limits: dict[str, TokenBucket] = {}
        self._outages = 0
        self._places = Places()
        self._under_way: dict[asyncio.Task[None], _UnderWay] = {}
        self._one_ended = asyncio.Event()

    async def run(self, plan: Plan) -> Executed:
        """Carry out a plan, as far as the time limit allows. Failed actions are counted and raise no exception."""
        ordered = chains(plan)
        turn = _Turn(Queue(self._free(ordered)), self._clock() + self._seconds)
        turn.executed.skipped += len(ordered) - len(turn.queue)
        for event in plan.events:
            self._events.post(event)
        with sending.time_box(lambda: turn.deadline - self._clock()):
            await self._work(turn)
        if turn.queue and not turn.outage:
            turn.executed.skipped += len(turn.queue)
            turn.executed.retry(self._clock())
        self._finish(turn)
        return turn.executed

    async def stop(self) -> None:
        """End all actions that are under way, whether or not the API server has answered."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # ---- chains ----------------------------------------------------------------------------------------

    def _free(self, waiting: Iterable[Chain]) -> list[Chain]:
        """Return the chains that need not wait for an action of an earlier plan that is still under way.

        Everything of an environment is removed only when nothing else of it is under way, and the other way round.
        """
        busy = {one.key for one in self._under_way.values()}
        environments = {environment for environment, _ in busy}
        removed = {one.key[0] for one in self._under_way.values() if isinstance(one.action, REMOVALS)}
        return [
            chain
            for chain in waiting
            if chain[0] not in busy
            and chain[0][0] not in (environments if isinstance(chain[1][0], REMOVALS) else removed)
        ]

    async def _work(self, turn: _Turn) -> None:
        """Begin the actions of a plan, and wait for their ends, until all have ended or the time is over."""
        while (left := turn.deadline - self._clock()) > 0:
            while self._in_time(turn) and (chain := turn.queue.take(self._places.has_room)) is not None:
                self._begin(chain, turn)
            goes_on = any(one.turn is turn for one in self._under_way.values())
            waits = self._under_way and turn.queue and not turn.outage
            if not goes_on and not waits:
                return
            self._one_ended.clear()
            try:
                async with asyncio.timeout(left):
                    await self._one_ended.wait()
            except TimeoutError:
                return

    def _begin(self, chain: Chain, turn: _Turn) -> None:
        key, (action, *_) = chain
        task = asyncio.create_task(self._go_on(chain, turn))
        self._under_way[task] = _UnderWay(key, action, turn)
        self._places.enter(key[0], type(action))
        task.add_done_callback(self._ended)

    async def _go_on(self, chain: Chain, turn: _Turn) -> None:
        """Carry out the first action of a chain. If the chain continues, put the rest back into the queue of its plan."""
        key, (action, *rest) = chain
        if await self._attempt(key, action, turn) is _Step.STOPPED:
            return
        if rest:
            turn.queue.go_on((key, tuple(rest)))
        else:
            self._backoffs.end((*key, ""))

    def _ended(self, task: asyncio.Task[None]) -> None:
        one = self._under_way.pop(task)
        self._one_ended.set()
        self._places.leave(one.key[0], type(one.action))
        if one.turn.over:
            self._cache.changed()  # a later plan has left this validation alone

    async def _attempt(self, key: ValidationKey, action: ChainAction, turn: _Turn) -> _Step:
        executed = turn.executed
        place = (*key, type(action).__name__ if isinstance(action, OWN_BACKOFF) else "")
        until = self._backoffs.until(place)
        if until is not None:
            executed.skipped += 1
            executed.retry(until)
            return self._step_after_failure(action, turn)
        if isinstance(action, WriteStatus) and not self._may_write_status(action.environment, executed):
            return _Step.STOPPED
        try:
            await self._apply(action)
        except NotNowError:
            executed.skipped += 1
            executed.retry(self._clock())
            return _Step.STOPPED
        except StaleError as stale:
            logger.debug("%s: planned anew", stale)
            self._delay(place, executed, STALE_SECONDS)
            return _Step.STOPPED
        except ApiError as error:
            self._failed(place, action, turn, error)
            return self._step_after_failure(action, turn)
        except Exception:
            logger.exception("%s failed by a fault of our own", title(action))
            executed.failed += 1
            self._metrics.error(type(action).__name__)
            self._delay(place, executed, BACKOFF_SECONDS)
            return self._step_after_failure(action, turn)
        executed.done += 1
        self._denials.over(type(action).__name__)
        if place[2] or isinstance(action, WriteReport):
            self._backoffs.end(place)
        return _Step.DONE

    def _step_after_failure(self, action: ChainAction, turn: _Turn) -> _Step:
        """Return whether a chain continues without ``action``, which failed or was skipped: PASSED_OVER or STOPPED.

        The chain continues without a label or node condition: a refused label must not keep the probe pod on its GPU.
        """
        return _Step.PASSED_OVER if isinstance(action, NODE_WRITES) and not turn.outage else _Step.STOPPED

    async def _apply(self, action: ChainAction) -> None:
        match action:
            case WriteReport():
                before = self._cache.reports.get((action.environment, action.node))
                await self._writes.write_report(action)
                self._metrics.report_written(action, before, self._cache)
            case WriteStatus():
                await self._writes.write_status(action)
                for event in action.events:
                    self._events.post(event)
            case CreatePod() | DeletePod() | LookAtPod():
                await self._apply_to_pod(action)
            case SetLabel():
                await self._writes.set_label(action)
            case SetNodeCondition():
                await self._writes.set_condition(action)
            case AddFinalizer():
                await self._writes.add_finalizer(action)
            case LeaveNode():
                await self._removal.leave(action)
            case MarkLeaving():
                await self._writes.mark_leaving(action)
            case Cleanup():
                await self._removal.cleanup(action)
            case OrphanedEnvironment():
                await self._removal.orphaned(action)
            case _:
                assert_never(action)

    async def _apply_to_pod(self, action: CreatePod | DeletePod | LookAtPod) -> None:
        match action:
            case CreatePod():
                await self._before_pod()
                await self._writes.create_pod(action)
            case DeletePod():
                await self._writes.delete_pod(action)
            case LookAtPod():
                await self._writes.look_at_pod(action)

    def _may_write_status(self, environment: str, executed: Executed) -> bool:
        """Return whether the rate limit allows a write of the environment's status now.

        If it does not, the write counts as skipped, and a later plan contains it again.
        """
        limit = self._status_limits.get(environment)
        if limit is None:
            limit = TokenBucket(STATUS_PER_SECOND, STATUS_BURST, self._clock)
            self._status_limits[environment] = limit
        if limit.try_take():
            return True
        executed.skipped += 1
        executed.retry(self._clock() + limit.seconds_left())
        return False

    # ---- failures ----------------------------------------------------------------------------------------

    def _in_time(self, turn: _Turn) -> bool:
        return self._clock() < turn.deadline and not turn.outage

    def _failed(self, place: Place, action: ChainAction, turn: _Turn, error: ApiError) -> None:
        executed = turn.executed
        executed.failed += 1
        self._metrics.error(type(action).__name__)
        if _is_outage(error) or self._denials.may_pass(type(action).__name__, error):
            if not turn.outage:
                logger.warning("%s: %s; the plan waits until the API server is well", title(action), error)
            turn.outage = True
        elif isinstance(action, CreatePod) and (
            error.denied or (place in self._backoffs and blames_pod(error))
        ):
            logger.warning("%s: %s; again, so it counts as refused", title(action), error)
            self._writes.refused(action, error)
            self._backoffs.end(place)
        else:
            seconds = self._delay(place, executed, BACKOFF_SECONDS)
            kind = WRITTEN_KINDS.get(type(action))
            if kind is not None:
                self._backoffs.note_refusal(place, error)
                self._metrics.refused(kind)
            logger.warning("%s: %s; next try in %.0f s", title(action), error, seconds)

    def _delay(self, place: Place, executed: Executed, seconds: float) -> float:
        """Start the back-off of ``place`` after a failure, and return its length in seconds."""
        seconds = self._backoffs.start(place, seconds)
        executed.retry(self._clock() + seconds)
        return seconds

    def _finish(self, turn: _Turn) -> None:
        """Update the back-offs after a plan, and put what the next plan has to know into the cache."""
        turn.over = True
        for one in self._under_way.values():
            if one.turn is turn and isinstance(one.action, CreatePod):
                self._writes.expect(one.action)
        self._outages = self._outages + 1 if turn.outage else 0
        if turn.outage:
            seconds = min(BACKOFF_SECONDS * 2 ** (self._outages - 1), BACKOFF_MAX_SECONDS / 2)
            turn.executed.retry_at = self._clock() + seconds
        self._backoffs.forget_old()
        for name in self._status_limits.keys() - self._cache.environments.keys():
            del self._status_limits[name]
        self._cache.refusals = self._backoffs.refusals()


def _is_outage(error: ApiError) -> bool:
    """Return whether the API server does not work. One request that takes too long may be that of a slow webhook."""
    return error.status in OUTAGE_STATUSES and error.reason != TIMED_OUT and not error.by_webhook
