"""Carries out plans: chains of actions in parallel, with a time limit, and with back-off after failures.

A chain contains all actions of one validation, or the one action about an environment itself. The actions are carried
out in the plan's order: first the node report, then the label, then the deletion of the pod. An action that fails, or
for which there is no time, is left undone. The next plan contains it again, because the cluster still differs from the
desired state. So a failed action delays only its own chain, and nothing is lost in an outage of the API server.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from gpuenv.api import names
from gpuenv.controller.kube import sending
from gpuenv.controller.kube.errors import ApiError, NotNowError
from gpuenv.controller.kube.ratelimit import TokenBucket
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.write.chains import Chain, chains, title
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.rejection import Denials, blames_pod
from gpuenv.controller.write.removal import Removal
from gpuenv.controller.write.writes import StaleError, Writes
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
from gpuenv.plan.snapshot import Refusal, ValidationKey

logger = logging.getLogger(__name__)

WORKERS: Final = 16
"""How many chains are carried out at the same time."""
SECONDS_PER_PLAN: Final = 5.0
"""Time limit for carrying out one plan. What is not done by then is left to the next plan."""
STATUS_PER_SECOND: Final = 0.5
"""How many times per second the status of one environment may be written, after STATUS_BURST writes in a row."""
STATUS_BURST: Final = 2
"""How many times in a row the status of one environment may be written before STATUS_PER_SECOND is the limit."""
BACKOFF_SECONDS: Final = 1.0
"""Pause after the first failure of an action. It doubles with each consecutive failure."""
BACKOFF_MAX_SECONDS: Final = 60.0
STALE_SECONDS: Final = 2.0
"""Pause after an action that was planned from an outdated state. It doubles with each consecutive failure."""
WORDS: Final = 300
"""How many characters of an error message are kept, to be quoted in the status of the environment."""
OUTAGE_STATUSES: Final = frozenset({0, 401, 429, 502, 503, 504})
"""Status codes that mean that the API server does not work, and not that it refused the action. 0: no response.

401 is about the operator's credentials: no other action would succeed either.
"""
NODE_WRITES: Final = (SetLabel, SetNodeCondition)
"""Actions whose failure does not stop the rest of their chain."""
OWN_BACKOFF: Final = (CreatePod, *NODE_WRITES)
"""Actions that have a back-off of their own, apart from the other actions of their validation."""
WRITTEN_KINDS: Final[dict[type, str]] = {
    WriteReport: names.REPORT_KIND,
    WriteStatus: names.ENVIRONMENT_KIND,
    SetLabel: "Node",
    SetNodeCondition: "Node",
}
"""Actions whose refusal by the API server is passed on to the next plan, with the kind of object that they change."""

Place = tuple[str, str, str]
"""(environment, node, part): a key for all actions that share one back-off.

For an action in OWN_BACKOFF, ``part`` is the name of its class. For all other actions of a validation it is "".
"""


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


@dataclass(slots=True)
class _Trouble:
    """The back-off of the actions of one Place, after ``count`` consecutive failures.

    None of them is tried before the monotonic time ``not_before``. ``words`` is the error message that the status of
    the environment quotes, or "". ``code`` is its HTTP status.
    """

    count: int
    not_before: float
    words: str = ""
    code: int = 0


class _Step(Enum):
    """What became of one action of a chain, and so whether the chain continues."""

    DONE = auto()
    PASSED_OVER = auto()
    """The action was not carried out, but the chain continues, because its other actions do not depend on this one."""
    STOPPED = auto()


async def _nothing() -> None:
    pass


class Executor:
    """Carries out plans. Between plans it remembers only back-offs of failed actions and the rate of status writes.

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
        self._trouble: dict[Place, _Trouble] = {}
        self._denials = Denials(clock)
        self._status_limits: dict[str, TokenBucket] = {}
        self._outages = 0
        self._outage = False
        self._deadline = 0.0

    async def run(self, plan: Plan) -> Executed:
        """Carry out a plan, as far as the time limit allows. Failed actions are counted and raise no exception."""
        executed = Executed()
        self._deadline = self._clock() + self._seconds
        self._outage = False
        for event in plan.events:
            self._events.post(event)
        todo = chains(plan)
        with sending.time_box(lambda: self._deadline - self._clock()):
            await self._run_chains(todo, executed)
        if todo and not self._outage:
            executed.skipped += len(todo)
            executed.retry(self._clock())
        self._finish(executed)
        return executed

    # ---- chains ----------------------------------------------------------------------------------------

    async def _run_chains(self, todo: deque[Chain], executed: Executed) -> None:
        async def work() -> None:
            while todo and self._in_time():
                await self._run_chain(todo.popleft(), executed)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(WORKERS, len(todo))):
                group.create_task(work())

    async def _run_chain(self, chain: Chain, executed: Executed) -> None:
        key, actions = chain
        for action in actions:
            if await self._attempt(key, action, executed) is _Step.STOPPED:
                break
        else:
            self._trouble.pop((*key, ""), None)

    async def _attempt(self, key: ValidationKey, action: ChainAction, executed: Executed) -> _Step:
        place = (*key, type(action).__name__ if isinstance(action, OWN_BACKOFF) else "")
        trouble = self._trouble.get(place)
        if trouble is not None and self._clock() < trouble.not_before:
            executed.skipped += 1
            executed.retry(trouble.not_before)
            return self._step_after_failure(action)
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
            self._failed(place, action, executed, error)
            return self._step_after_failure(action)
        except Exception:
            logger.exception("%s failed by a fault of our own", title(action))
            executed.failed += 1
            self._metrics.error(type(action).__name__)
            self._delay(place, executed, BACKOFF_SECONDS)
            return self._step_after_failure(action)
        executed.done += 1
        self._denials.over(type(action).__name__)
        if place[2] or isinstance(action, WriteReport):
            self._trouble.pop(place, None)
        return _Step.DONE

    def _step_after_failure(self, action: ChainAction) -> _Step:
        """Return whether a chain continues without ``action``, which failed or was skipped: PASSED_OVER or STOPPED.

        The chain continues without a label or node condition: a refused label must not keep the probe pod on its GPU.
        """
        return _Step.PASSED_OVER if isinstance(action, NODE_WRITES) and not self._outage else _Step.STOPPED

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

    def _in_time(self) -> bool:
        return self._clock() < self._deadline and not self._outage

    def _failed(self, place: Place, action: ChainAction, executed: Executed, error: ApiError) -> None:
        executed.failed += 1
        self._metrics.error(type(action).__name__)
        if error.status in OUTAGE_STATUSES or self._denials.may_pass(type(action).__name__, error):
            if not self._outage:
                logger.warning("%s: %s; the plan waits until the API server is well", title(action), error)
            self._outage = True
        elif isinstance(action, CreatePod) and (
            error.denied or (place in self._trouble and blames_pod(error))
        ):
            logger.warning("%s: %s; again, so it counts as refused", title(action), error)
            self._writes.refused(action, error)
            self._trouble.pop(place, None)
        else:
            seconds = self._delay(place, executed, BACKOFF_SECONDS)
            kind = WRITTEN_KINDS.get(type(action))
            if kind is not None:
                self._trouble[place].words, self._trouble[place].code = str(error)[:WORDS], error.status
                self._metrics.refused(kind)
            logger.warning("%s: %s; next try in %.0f s", title(action), error, seconds)

    def _delay(self, place: Place, executed: Executed, seconds: float) -> float:
        """Start the back-off of ``place`` after a failure, and return its length in seconds.

        The back-off lasts ``seconds`` after the first failure, and doubles with each consecutive failure up to
        BACKOFF_MAX_SECONDS.
        """
        count = self._trouble[place].count if place in self._trouble else 0
        seconds = min(seconds * 2.0**count, BACKOFF_MAX_SECONDS)
        self._trouble[place] = _Trouble(count + 1, self._clock() + seconds)
        executed.retry(self._trouble[place].not_before)
        return seconds

    def _finish(self, executed: Executed) -> None:
        """Update the back-offs after a plan, and put the messages of refused actions into the cache."""
        self._outages = self._outages + 1 if self._outage else 0
        if self._outage:
            seconds = min(BACKOFF_SECONDS * 2 ** (self._outages - 1), BACKOFF_MAX_SECONDS / 2)
            executed.retry_at = self._clock() + seconds
        old = self._clock() - 2 * BACKOFF_MAX_SECONDS
        for place in [place for place, trouble in self._trouble.items() if trouble.not_before < old]:
            del self._trouble[place]
        for name in self._status_limits.keys() - self._cache.environments.keys():
            del self._status_limits[name]
        self._cache.refusals = {
            place[:2]: Refusal(trouble.words, of_status=not place[2], code=trouble.code)
            for place, trouble in sorted(self._trouble.items(), reverse=True)
            if trouble.words
        }
