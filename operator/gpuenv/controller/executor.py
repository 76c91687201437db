"""Takes a plan to the API server: order within a pair, parallel between pairs, a time box, back-off where it
fails.

Actions about one (environment, node) form a chain, done in the plan's order: report before label before
deletion of the pod. What was not done when the time is up, or failed, is simply not done: the next plan asks
for it again, because the cluster still differs. So one failing action delays its own chain and nothing else,
and an outage loses nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gpuenv.api import names
from gpuenv.controller.cache import Pair
from gpuenv.controller.events import EventPoster
from gpuenv.controller.kube import ApiError
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.removal import OutOfTimeError, Removal
from gpuenv.controller.writes import StaleError, Writes
from gpuenv.plan.model import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    OrphanedEnvironment,
    Plan,
    PodRecord,
    PostEvent,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)

logger = logging.getLogger(__name__)

WORKERS: Final = 16
SECONDS_PER_PLAN: Final = 5.0
"""A large change is worked off in slices, so that new events are planned for in between."""
STATUS_SECONDS: Final = 2.0
"""At most one write of an environment's status in this time ..."""
STATUS_SECONDS_WHEN_CUT: Final = 10.0
"""... or in this one, while more is to be done than fits into one plan's time."""
BACKOFF_SECONDS: Final = 1.0
BACKOFF_MAX_SECONDS: Final = 60.0
STALE_SECONDS: Final = 2.0
OUTAGE_STATUSES: Final = frozenset({0, 429, 503, 504})
"""Answers that say something about the API server and nothing about the object."""


Chain = tuple[Pair, list[Action]]


@dataclass(slots=True)
class Outcome:
    """What became of a plan. ``unsettled``: pairs for which it had a report to write, done or not."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    unsettled: set[Pair] = field(default_factory=set)
    retry_at: float | None = None
    """When something that was not done may be tried again (epoch seconds); None when all was done."""

    def retry(self, at: float) -> None:
        self.retry_at = at if self.retry_at is None else min(at, self.retry_at)


@dataclass(slots=True)
class _Trouble:
    count: int
    not_before: float


class Executor:
    """Remembers between plans only what failed, and when each status was written last."""

    def __init__(
        self,
        writes: Writes,
        events: EventPoster,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        seconds: float = SECONDS_PER_PLAN,
    ) -> None:
        self._writes = writes
        self._cache = writes.cache
        self._removal = Removal(writes)
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._seconds = seconds
        self._trouble: dict[Pair, _Trouble] = {}
        self._status_at: dict[str, float] = {}
        self._outages = 0
        self._told: set[tuple[str, str]] = set()
        """(uid, reason) of Events about environments since the last plan that was done to its end."""
        self._telling: set[tuple[str, str]] = set()

    async def run(self, plan: Plan) -> Outcome:
        """Raises nothing but cancellation."""
        outcome = Outcome()
        self._deadline = self._clock() + self._seconds
        self._outage = False
        self._telling = set()
        outcome.unsettled = {
            (one.environment, one.node) for one in plan.actions if isinstance(one, WriteReport)
        }
        news, chains, statuses = self._sorted(plan.actions)
        for event in news:
            self._tell(event)
        await self._work_off(chains, outcome)
        cut = len(chains)
        if not self._outage:
            if cut:
                outcome.skipped += cut
                outcome.retry(self._clock())
            # Last of all: who waits for Ready finds labels and reports in place.
            await asyncio.gather(*(self._run_status(chain, outcome, cut=bool(cut)) for chain in statuses))
        self._told = self._told | self._telling if cut or self._outage else set()
        self._after(outcome)
        return outcome

    # ---- chains ----------------------------------------------------------------------------------------

    def _sorted(self, actions: Sequence[Action]) -> tuple[list[PostEvent], deque[Chain], list[Chain]]:
        """What to tell at once, all chains, and apart from them each status with the Events that go with it."""
        reports = {one.name: (one.environment, one.node) for one in actions if isinstance(one, WriteReport)}
        news: list[PostEvent] = []
        chains: dict[Pair, list[Action]] = {}
        statuses: dict[Pair, list[Action]] = {}
        for action in actions:
            key = _key(action, self._cache.pods, reports)
            if key in statuses or isinstance(action, WriteStatus):
                statuses.setdefault(key, []).append(action)
            elif isinstance(action, PostEvent) and action.kind == names.ENVIRONMENT_KIND:
                news.append(action)
            else:
                chains.setdefault(key, []).append(action)
        return news, deque(chains.items()), list(statuses.items())

    async def _work_off(self, chains: deque[Chain], outcome: Outcome) -> None:
        async def work() -> None:
            while chains and self._in_time():
                await self._run_chain(chains.popleft(), outcome)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(WORKERS, len(chains))):
                group.create_task(work())

    async def _run_status(self, chain: Chain, outcome: Outcome, *, cut: bool) -> None:
        """While a large change is worked off, its status is ahead of labels and reports: less often then."""
        (environment, _), _ = chain
        seconds = STATUS_SECONDS_WHEN_CUT if cut else STATUS_SECONDS
        due = self._status_at.get(environment, -seconds) + seconds
        if self._clock() < due:
            outcome.retry(due)
            return
        self._status_at[environment] = self._clock()
        await self._run_chain(chain, outcome)

    async def _run_chain(self, chain: Chain, outcome: Outcome) -> None:
        key, actions = chain
        trouble = self._trouble.get(key)
        if trouble is not None and self._clock() < trouble.not_before:
            outcome.skipped += 1
            outcome.retry(trouble.not_before)
            return
        for action in actions:
            try:
                await self._apply(action)
                outcome.done += 1
            except OutOfTimeError:
                outcome.skipped += 1
                outcome.retry(self._clock())
                return
            except StaleError as stale:
                logger.debug("%s: planned anew", stale)
                self._delay(key, outcome, STALE_SECONDS)
                return
            except ApiError as error:
                self._failed(key, action, outcome, str(error), outage=error.status in OUTAGE_STATUSES)
                return
            except Exception:
                logger.exception("%s failed by a fault of our own", _title(action))
                self._failed(key, action, outcome, "", outage=False)
                return
        self._trouble.pop(key, None)

    async def _apply(self, action: Action) -> None:
        if isinstance(action, WriteReport):
            before = self._cache.reports.get((action.environment, action.node))
            await self._writes.write_report(action)
            self._metrics.answered(action, before, self._cache)
        elif isinstance(action, PostEvent):
            self._events.post(self._identified(action))
        else:
            await self._call(action)

    def _tell(self, event: PostEvent) -> None:
        """A large change is told of once, by the first of the plans that work it off."""
        if (event.uid, event.reason) not in self._told:
            self._events.post(event)
        self._telling.add((event.uid, event.reason))

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

    # ---- failures ----------------------------------------------------------------------------------------

    def _in_time(self) -> bool:
        return self._clock() < self._deadline and not self._outage

    def _failed(self, key: Pair, action: Action, outcome: Outcome, words: str, *, outage: bool) -> None:
        outcome.failed += 1
        self._metrics.error(type(action).__name__)
        if outage:
            if not self._outage:
                logger.warning("%s: %s; the plan waits until the API server is well", _title(action), words)
            self._outage = True
            return
        seconds = self._delay(key, outcome, BACKOFF_SECONDS)
        if words:
            logger.warning("%s: %s; next try in %.0f s", _title(action), words, seconds)

    def _delay(self, key: Pair, outcome: Outcome, seconds: float) -> float:
        """Keeps this chain back for ``seconds``, doubled each time in a row; returns for how long."""
        count = self._trouble[key].count if key in self._trouble else 0
        seconds = min(seconds * 2.0**count, BACKOFF_MAX_SECONDS)
        self._trouble[key] = _Trouble(count + 1, self._clock() + seconds)
        outcome.retry(self._trouble[key].not_before)
        return seconds

    def _after(self, outcome: Outcome) -> None:
        self._outages = self._outages + 1 if self._outage else 0
        if self._outage:
            seconds = min(BACKOFF_SECONDS * 2 ** (self._outages - 1), BACKOFF_MAX_SECONDS / 2)
            outcome.retry_at = self._clock() + seconds
        old = self._clock() - 2 * BACKOFF_MAX_SECONDS
        for key in [key for key, trouble in self._trouble.items() if trouble.not_before < old]:
            del self._trouble[key]


def _key(action: Action, pods: dict[str, PodRecord], reports: dict[str, Pair]) -> Pair:
    match action:
        case (
            CreatePod(environment=environment, node=node)
            | WriteReport(environment=environment, node=node)
            | SetLabel(environment=environment, node=node)
            | SetNodeCondition(environment=environment, node=node)
            | LeaveNode(environment=environment, node=node)
        ):
            return environment, node
        case DeletePod(name=name):
            pod = pods.get(name)
            return (pod.environment, pod.node) if pod is not None else ("", name)
        case PostEvent(kind=names.ENVIRONMENT_KIND, name=name):
            return name, ""
        case PostEvent(name=name):
            return reports.get(name, ("", name))
        case (
            AddFinalizer(environment=environment)
            | Cleanup(environment=environment)
            | OrphanedEnvironment(environment=environment)
            | WriteStatus(environment=environment)
        ):
            return environment, ""


def _title(action: Action) -> str:
    what = [getattr(action, name, None) for name in ("environment", "node", "name")]
    return " ".join([type(action).__name__, *(str(one) for one in what if one)])
