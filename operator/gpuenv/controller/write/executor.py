"""Carries out a plan: order within a validation, validations side by side, a time limit, and back-off after failures.

Actions about one (environment, node) form a chain, done in the plan's order: report before label before deletion of
the pod. An action that failed, or that the time did not suffice for, is left undone. The next plan asks for it again,
because the cluster still differs. So a failing action delays its own chain and nothing else, and an outage of the API
server loses nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gpuenv.controller.kube.client import ApiError
from gpuenv.controller.kube.ratelimit import TokenBucket
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.write.chains import Chain, chains, title
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.rejection import blames_pod
from gpuenv.controller.write.removal import OutOfTimeError, Removal
from gpuenv.controller.write.writes import StaleError, Writes
from gpuenv.plan.model import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    OrphanedEnvironment,
    Plan,
    SetLabel,
    SetNodeCondition,
    ValidationKey,
    WriteReport,
    WriteStatus,
)

logger = logging.getLogger(__name__)

WORKERS: Final = 16
SECONDS_PER_PLAN: Final = 5.0
"""A large change is worked off in slices, so that new events are planned for in between."""
STATUS_PER_SECOND: Final = 0.5
STATUS_BURST: Final = 2
"""How often the status of one environment is written: twice in a row, then every two seconds."""
BACKOFF_SECONDS: Final = 1.0
BACKOFF_MAX_SECONDS: Final = 60.0
STALE_SECONDS: Final = 2.0
WORDS: Final = 300
"""How many characters of a refusal are kept, to be quoted in a status."""
OUTAGE_STATUSES: Final = frozenset({0, 429, 502, 503, 504})
"""Answers that are about the API server and not about the object."""
NODE_WRITES: Final = (SetLabel, SetNodeCondition)
"""Writes that may be refused without stopping the rest of their chain."""
RESULTS: Final = (WriteReport, *NODE_WRITES)
"""Writes whose refusal the next plan is to know of."""

Place = tuple[str, str, str]
"""(environment, node, part): what backs off together. The label, the node condition and new pods each are a part."""


@dataclass(slots=True)
class Executed:
    """What became of a plan's actions."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    retry_at: float | None = None
    """When something that was not done may be tried again (by a monotonic clock); None when all was done."""

    def retry(self, at: float) -> None:
        self.retry_at = at if self.retry_at is None else min(at, self.retry_at)


@dataclass(slots=True)
class _Trouble:
    count: int
    not_before: float
    words: str


class _Step(Enum):
    DONE = auto()
    PASSED_OVER = auto()
    """Not done, but the rest of the chain does not depend on it."""
    STOPPED = auto()


class Executor:
    """Carries out plans. Between plans it remembers only what failed and how often statuses were written.

    ``clock`` must be monotonic: a clock that is set back would stop all writes until it has caught up.
    """

    def __init__(
        self,
        writes: Writes,
        events: EventPoster,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = SECONDS_PER_PLAN,
    ) -> None:
        self._writes = writes
        self._cache = writes.cache
        self._removal = Removal(writes)
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._seconds = seconds
        self._trouble: dict[Place, _Trouble] = {}
        self._status_limits: dict[str, TokenBucket] = {}
        self._outages = 0
        self._outage = False
        self._deadline = 0.0

    async def run(self, plan: Plan) -> Executed:
        """Carry out a plan. Nothing is raised but cancellation."""
        executed = Executed()
        self._deadline = self._clock() + self._seconds
        self._outage = False
        for event in plan.events:
            self._events.post(event)
        todo = chains(plan)
        await self._work_off(todo, executed)
        if todo and not self._outage:
            executed.skipped += len(todo)
            executed.retry(self._clock())
        self._after(executed)
        return executed

    # ---- chains ----------------------------------------------------------------------------------------

    async def _work_off(self, todo: deque[Chain], executed: Executed) -> None:
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

    async def _attempt(self, key: ValidationKey, action: Action, executed: Executed) -> _Step:
        place = (
            *key,
            type(action).__name__ if isinstance(action, CreatePod | SetLabel | SetNodeCondition) else "",
        )
        trouble = self._trouble.get(place)
        if trouble is not None and self._clock() < trouble.not_before:
            executed.skipped += 1
            executed.retry(trouble.not_before)
            return self._without(action)
        if isinstance(action, WriteStatus) and not self._may_write_status(action.environment, executed):
            return _Step.STOPPED
        try:
            await self._apply(action)
        except OutOfTimeError:
            executed.skipped += 1
            executed.retry(self._clock())
            return _Step.STOPPED
        except StaleError as stale:
            logger.debug("%s: planned anew", stale)
            self._delay(place, executed, STALE_SECONDS, "")
            return _Step.STOPPED
        except ApiError as error:
            self._failed(place, action, executed, error)
            return self._without(action)
        except Exception:
            logger.exception("%s failed by a fault of our own", title(action))
            executed.failed += 1
            self._metrics.error(type(action).__name__)
            self._delay(place, executed, BACKOFF_SECONDS, "")
            return self._without(action)
        executed.done += 1
        if place[2]:
            self._trouble.pop(place, None)
        return _Step.DONE

    def _without(self, action: Action) -> _Step:
        """Return how a chain goes on after a failed action: a refused label must not keep a GPU occupied."""
        return _Step.PASSED_OVER if isinstance(action, NODE_WRITES) and not self._outage else _Step.STOPPED

    async def _apply(self, action: Action) -> None:
        if isinstance(action, WriteReport):
            before = self._cache.reports.get((action.environment, action.node))
            await self._writes.write_report(action)
            self._metrics.answered(action, before, self._cache)
        elif isinstance(action, WriteStatus):
            await self._writes.write_status(action)
            for event in action.events:
                self._events.post(event)
        else:
            await self._call(action)

    def _call(self, action: Action) -> Awaitable[None]:
        match action:
            case CreatePod():
                return self._writes.create_pod(action)
            case DeletePod():
                return self._writes.delete_pod(action)
            case SetLabel():
                return self._writes.set_label(action)
            case SetNodeCondition():
                return self._writes.set_condition(action)
            case AddFinalizer():
                return self._writes.add_finalizer(action)
            case LeaveNode():
                return self._removal.leave(action)
            case Cleanup():
                return self._removal.cleanup(action, self._in_time)
            case OrphanedEnvironment():
                return self._removal.orphaned(action, self._in_time)
        raise TypeError(f"no such action: {action!r}")

    def _may_write_status(self, environment: str, executed: Executed) -> bool:
        """Limit how often one status is written. A status that is left out is in a later plan again."""
        limit = self._status_limits.get(environment)
        if limit is None:
            limit = TokenBucket(STATUS_PER_SECOND, STATUS_BURST, self._clock)
            self._status_limits[environment] = limit
        if limit.offer():
            return True
        executed.skipped += 1
        executed.retry(self._clock() + limit.seconds_left())
        return False

    # ---- failures ----------------------------------------------------------------------------------------

    def _in_time(self) -> bool:
        return self._clock() < self._deadline and not self._outage

    def _failed(self, place: Place, action: Action, executed: Executed, error: ApiError) -> None:
        executed.failed += 1
        self._metrics.error(type(action).__name__)
        if error.status in OUTAGE_STATUSES:
            if not self._outage:
                logger.warning("%s: %s; the plan waits until the API server is well", title(action), error)
            self._outage = True
        elif isinstance(action, CreatePod) and place in self._trouble and blames_pod(error):
            logger.warning("%s: %s; again, so it counts as refused", title(action), error)
            self._writes.refused(action, error)
            del self._trouble[place]
        else:
            refused = isinstance(action, RESULTS)
            seconds = self._delay(place, executed, BACKOFF_SECONDS, str(error)[:WORDS] if refused else "")
            logger.warning("%s: %s; next try in %.0f s", title(action), error, seconds)

    def _delay(self, place: Place, executed: Executed, seconds: float, words: str) -> float:
        """Try nothing of this place for ``seconds``, doubled each time in a row. Return for how long that is."""
        count = self._trouble[place].count if place in self._trouble else 0
        seconds = min(seconds * 2.0**count, BACKOFF_MAX_SECONDS)
        self._trouble[place] = _Trouble(count + 1, self._clock() + seconds, words)
        executed.retry(self._trouble[place].not_before)
        return seconds

    def _after(self, executed: Executed) -> None:
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
            place[:2]: trouble.words
            for place, trouble in sorted(self._trouble.items(), reverse=True)
            if trouble.words
        }
