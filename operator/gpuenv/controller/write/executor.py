"""Takes a plan to the API server: order within a validation, parallel between validations, a time box, back-off where it
fails.

Actions about one (environment, node) form a chain, done in the plan's order: report before label before
deletion of the pod. What was not done when the time is up, or failed, is simply not done: the next plan asks
for it again, because the cluster still differs. So one failing action delays its own chain and nothing else,
and an outage loses nothing.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.controller.kube.client import ApiError
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.write import chains
from gpuenv.controller.write.chains import NODE_WRITES, RESULTS, Chain, title
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.rejection import blames_pod
from gpuenv.controller.write.removal import OutOfTimeError, Removal
from gpuenv.controller.write.writes import StaleError, Writes
from gpuenv.plan.fleet.unwritten import held_back
from gpuenv.plan.model import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    OrphanedEnvironment,
    Plan,
    PostEvent,
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
STATUS_SECONDS: Final = 2.0
"""At most one write of an environment's status in this time ..."""
STATUS_SECONDS_HELD_BACK: Final = 10.0
"""... or in this one, while results of it are not written yet."""
TOLD_SECONDS: Final = 600.0
"""So long an Event about an environment is not repeated while its results are being written."""
BACKOFF_SECONDS: Final = 1.0
BACKOFF_MAX_SECONDS: Final = 60.0
STALE_SECONDS: Final = 2.0
WORDS: Final = 300
"""Characters of a failure that a status quotes."""
OUTAGE_STATUSES: Final = frozenset({0, 429, 502, 503, 504})
"""Answers that say something about the API server and nothing about the object."""

Place = tuple[str, str, str]
"""(environment, node, part): what backs off together. Marks and new pods of a validation do so apart from the rest."""


@dataclass(slots=True)
class Executed:
    """What became of a plan. ``pending``: validations for which it had a report to write, done or not."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    pending: set[ValidationKey] = field(default_factory=set)
    unwritten: set[ValidationKey] = field(default_factory=set)
    """Validations of which the report, the label or the node condition is not as planned."""
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
    """Not done, and what follows in the chain does not depend on it."""
    STOPPED = auto()


class Executor:
    """Remembers between plans only what failed, what was told, and when each status was written last.

    ``clock`` is monotonic: a clock that is set back would stop all writes until it has caught up.
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
        self._status_at: dict[str, float] = {}
        self._outages = 0
        self._told: dict[tuple[str, str, str], float] = {}
        """(environment, uid, reason) of Events that tell of results still being written, and when."""
        self._reported: set[str] = set()
        """Environments of which this plan has written a report."""

    async def run(self, plan: Plan) -> Executed:
        """Raises nothing but cancellation."""
        executed = Executed()
        self._deadline = self._clock() + self._seconds
        self._outage = False
        work = chains.sort(plan.actions, self._cache.pods)
        executed.pending = {
            (one.environment, one.node) for one in plan.actions if isinstance(one, WriteReport)
        }
        executed.unwritten = {(one.environment, one.node) for one in plan.actions if isinstance(one, RESULTS)}
        self._reported = set()
        await self._work_off(work.chains, executed)
        self._tell(work.news, executed)
        if not self._outage:
            if work.chains:
                executed.skipped += len(work.chains)
                executed.retry(self._clock())
            # Last of all: who waits for Ready finds labels and reports in place.
            missing = Counter(environment for environment, _ in executed.unwritten)
            await asyncio.gather(
                *(self._run_status(chain, executed, missing[chain[0][0]]) for chain in work.statuses)
            )
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
        owed = sum(isinstance(action, RESULTS) for action in actions)
        for action in actions:
            step = await self._attempt(key, action, executed)
            owed -= step is _Step.DONE and isinstance(action, RESULTS)
            if step is _Step.STOPPED:
                break
        else:
            self._trouble.pop((*key, ""), None)
        if not owed:
            executed.unwritten.discard(key)

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
        """How a chain goes on without one of its actions: a refused label must not keep a GPU occupied."""
        return _Step.PASSED_OVER if isinstance(action, NODE_WRITES) and not self._outage else _Step.STOPPED

    async def _apply(self, action: Action) -> None:
        if isinstance(action, WriteReport):
            before = self._cache.reports.get((action.environment, action.node))
            await self._writes.write_report(action)
            self._reported.add(action.environment)
            self._metrics.answered(action, before, self._cache)
        elif isinstance(action, PostEvent):
            self._events.post(self._identified(action))
        else:
            await self._call(action)

    def _identified(self, event: PostEvent) -> PostEvent:
        """With the uid of a report that this very plan has created."""
        known = self._cache.version("reports", event.name) if event.kind == names.REPORT_KIND else None
        return event if event.uid or known is None else replace(event, uid=known.uid)

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
            case WriteStatus():
                return self._writes.write_status(action)
            case LeaveNode():
                return self._removal.leave(action)
            case Cleanup():
                return self._removal.cleanup(action, self._in_time)
            case OrphanedEnvironment():
                return self._removal.orphaned(action, self._in_time)
        raise TypeError(f"no such action: {action!r}")

    # ---- statuses, and Events about environments -----------------------------------------------------------

    async def _run_status(self, chain: Chain, executed: Executed, missing: int) -> None:
        """``missing``: how many of the environment's results are not written."""
        (environment, node), actions = chain
        seconds = STATUS_SECONDS
        if missing:
            seconds = STATUS_SECONDS_HELD_BACK
            actions = self._held_back(environment, actions, missing, executed.unwritten)
            if not actions:
                return
        due = self._status_at.get(environment, -seconds) + seconds
        if self._clock() < due:
            executed.retry(due)
            return
        self._status_at[environment] = self._clock()
        await self._run_chain(((environment, node), actions), executed)

    def _held_back(
        self, environment: str, actions: Sequence[Action], missing: int, unwritten: Collection[ValidationKey]
    ) -> list[Action]:
        """The status without a claim to be ready, and no Event that makes it; nothing when it says so already."""
        known = self._cache.environments.get(environment)
        before = known.status if known is not None else {}
        why = self._words(environment, unwritten)
        kept: list[Action] = []
        for action in actions:
            if isinstance(action, WriteStatus):
                status = held_back(action.status, before, missing, why, self._writes.clock())
                if status == before:
                    return []
                kept.append(replace(action, status=status))
            elif not (isinstance(action, PostEvent) and action.reason == reasons.AllAnswered):
                kept.append(action)
        return kept

    def _words(self, environment: str, unwritten: Collection[ValidationKey]) -> str:
        """What the API server said about one of the results that it did not take."""
        found = (
            (place, trouble.words)
            for place, trouble in self._trouble.items()
            if place[0] == environment and trouble.words and place[:2] in unwritten
        )
        return min(found, default=("", ""))[1]

    def _tell(self, news: Iterable[PostEvent], executed: Executed) -> None:
        """Tells of verdicts once the first report is written, and once while there are more to write."""
        silent = {environment for environment, _ in executed.pending} - self._reported
        for event in news:
            key = (event.name, event.uid, event.reason)
            if key not in self._told and event.name not in silent:
                self._events.post(event)
                self._told[key] = self._clock()
        owing, old = {environment for environment, _ in executed.unwritten}, self._clock() - TOLD_SECONDS
        self._told = {key: at for key, at in self._told.items() if key[0] in owing and at > old}

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
            seconds = self._delay(place, executed, BACKOFF_SECONDS, str(error)[:WORDS])
            logger.warning("%s: %s; next try in %.0f s", title(action), error, seconds)

    def _delay(self, place: Place, executed: Executed, seconds: float, words: str) -> float:
        """Keeps this place back for ``seconds``, doubled each time in a row; returns for how long."""
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
