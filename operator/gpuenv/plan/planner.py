"""The plan over all environments at once, because some rules are node-wide: one probe pod a node, one cap for all."""

import heapq
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gpuenv.assess.model import Verdict
from gpuenv.knowledge import Knowledge
from gpuenv.plan.context import Context, Tables, Validation, make_context, make_tables, same_node
from gpuenv.plan.fleet.events import announcements, condition_events
from gpuenv.plan.fleet.status import environment_status
from gpuenv.plan.fleet.totals import Totals, totals
from gpuenv.plan.model import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    EnvironmentRecord,
    LeaveNode,
    OrphanedEnvironment,
    Plan,
    PodRecord,
    ReportRecord,
    SetLabel,
    Settings,
    Snapshot,
    ValidationKey,
    WriteStatus,
)
from gpuenv.plan.run import manifest as pods
from gpuenv.plan.run.clocks import is_over, is_stuck
from gpuenv.plan.validation.desired_state import DesiredState, desired_state
from gpuenv.plan.validation.next_run import Priority, demand, next_run_id
from gpuenv.plan.validation.report_after_runs import NEVER

_FIRST_COME: Final = frozenset({Priority.RETRY, Priority.AGE})
"""Priorities within which the longest overdue goes first."""


@dataclass(slots=True)
class _Remembered:
    """The desired states of one environment in the last plan. Each one holds until a record of its validation changes."""

    context: Context
    validations: dict[str, tuple[Validation, DesiredState]] = field(default_factory=dict)
    totals: Totals | None = None


class Memo:
    """Desired states of the plan before: they save time and never change what a plan says."""

    def __init__(self) -> None:
        self.tables: Tables | None = None
        self.environments: dict[str, _Remembered] = {}


def plan(snapshot: Snapshot, now: float, knowledge: Knowledge, memo: Memo | None = None) -> Plan:
    """What is to be done about ``snapshot`` at ``now`` (epoch seconds). Before everything was listed, nothing is."""
    if not snapshot.synced:
        return Plan((), None, snapshot.left_since, snapshot.unannounced)
    return _Planning(snapshot, now, knowledge, memo or Memo()).plan()


class _Planning:
    """One plan in the making."""

    def __init__(self, snapshot: Snapshot, now: float, knowledge: Knowledge, memo: Memo) -> None:
        self._seen = snapshot
        self._now = now
        self._memo = memo
        if memo.tables is None or memo.tables.knowledge is not knowledge:
            memo.tables = make_tables(knowledge)
        self._tables = memo.tables
        self._reports: dict[str, dict[str, ReportRecord]] = {}
        for (environment, node), report in snapshot.reports.items():
            self._reports.setdefault(environment, {})[node] = report
        self._pods: dict[ValidationKey, tuple[PodRecord, ...]] = {}
        self._stuck: dict[str, PodRecord] = {}
        self._left_since: dict[ValidationKey, float] = {}
        self._wake_at = NEVER
        self._faults: list[str] = []
        self._sort_pods()

    def plan(self) -> Plan:
        """All environments, then what concerns several of them."""
        ordered = [self._seen.environments[name] for name in sorted(self._seen.environments)]
        actions: list[Action] = []
        all_totals: list[tuple[EnvironmentRecord, Totals]] = []
        for environment in ordered:
            if environment.deleting:
                actions += [Cleanup(environment.name, environment.uid)] if environment.finalized else []
            elif not environment.finalized:
                actions.append(AddFinalizer(environment.name, environment.uid))
            elif environment.spec is None:
                actions += [*self._stopped(environment), *self._status(environment, None)]
            else:
                all_totals.append((environment, self._totals(environment)))
        for _, found in all_totals:
            actions += [action for one in found.acting for action in one.actions]
            actions += self._leavers(found)
            actions += _logs_beyond_cap(found, self._seen.settings)
        actions += self._orphans()
        actions += self._runs([found for _, found in all_totals])
        announced = announcements(self._seen, [found for _, found in all_totals], self._now)
        actions += announced.events
        for environment, found in all_totals:
            actions += self._status(environment, found)
        self._forget(all_totals)
        rechecks = (found.recheck_at for _, found in all_totals)
        wake_at = min([self._wake_at, announced.wake_at, *rechecks])
        counts = {
            "selected": sum(found.selected for _, found in all_totals),
            "running": sum(found.running for _, found in all_totals),
            "waiting": sum(found.waiting for _, found in all_totals),
        }
        return Plan(
            tuple(actions),
            None if wake_at == NEVER else wake_at,
            self._left_since,
            announced.unannounced,
            counts,
            tuple(self._faults),
        )

    def _sort_pods(self) -> None:
        settings = self._seen.settings
        grouped: dict[ValidationKey, list[PodRecord]] = {}
        for pod in self._seen.pods.values():
            grouped.setdefault((pod.environment, pod.node), []).append(pod)
            if is_stuck(pod, settings, self._now):
                known = self._stuck.get(pod.node)
                if known is None or pod.name < known.name:
                    self._stuck[pod.node] = pod
            elif pod.deleting_since is not None and not is_over(pod):
                self._wake_at = min(self._wake_at, pod.deleting_since + settings.stuck_seconds)
        self._pods = {key: tuple(sorted(found, key=lambda pod: pod.name)) for key, found in grouped.items()}

    # ---- one environment -------------------------------------------------------------------------------

    def _totals(self, environment: EnvironmentRecord) -> Totals:
        reports = self._reports.get(environment.name, {})
        context = make_context(environment, self._seen.settings, self._tables, reports.values())
        remembered = self._memo.environments.get(environment.name)
        if remembered is None or remembered.context != context:
            remembered = self._memo.environments[environment.name] = _Remembered(context)
        found, changed = self._desired_states(remembered, reports)
        if changed or remembered.totals is None:
            remembered.totals = totals(remembered.context, found)
        return remembered.totals

    def _desired_states(
        self, remembered: _Remembered, reports: Mapping[str, ReportRecord]
    ) -> tuple[list[DesiredState], bool]:
        """Judges every node, reusing what still stands; whether anything is new."""
        context, old, now = remembered.context, remembered.validations, self._now
        environment, rejections, stuck, own = context.name, self._seen.rejections, self._stuck, self._pods
        found: list[DesiredState] = []
        changed = len(old) != len(self._seen.nodes)
        validations: dict[str, tuple[Validation, DesiredState]] = {}
        for name, node in self._seen.nodes.items():
            key = (environment, name)
            report, mine = reports.get(name), own.get(key, ())
            rejection, hanging = (
                rejections.get(key) if rejections else None,
                stuck.get(name) if stuck else None,
            )
            known = old.get(name)
            if known is not None:
                validation, state = known
                if (
                    validation.node is node
                    and validation.report is report
                    and validation.pods == mine
                    and validation.rejection is rejection
                    and validation.stuck is hanging
                    and now < state.recheck_at
                ):
                    validations[name] = known
                    found.append(state)
                    continue
            changed = True
            assessed = known[1].assessed if known is not None and known[0].node.facts == node.facts else None
            validation = Validation(context, node, report, mine, rejection, hanging, assessed)
            state = self._desired_state(validation)
            validations[name] = (validation, state)
            found.append(state)
        remembered.validations = validations
        return found, changed

    def _desired_state(self, validation: Validation) -> DesiredState:
        """Keep an exception about one validation from stopping the plan of all others."""
        try:
            return desired_state(validation, self._now)
        except Exception as error:
            place = f"environment {validation.context.name} on node {validation.node.name}"
            self._faults.append(f"{place} cannot be judged: {type(error).__name__}: {error}")
            return DesiredState(validation.node.name, selected=True, report=validation.report)

    def _stopped(self, environment: EnvironmentRecord) -> Iterator[Action]:
        """Nothing runs for a specification that cannot be understood; verdicts stay as they are."""
        for (owner, _), found in self._pods.items():
            if owner == environment.name:
                yield from _deletions(found, "the specification cannot be understood")
        yield from self._unvouched(environment.name)

    def _unvouched(self, environment: str) -> Iterator[SetLabel]:
        """No label vouches for a node that has changed since, even where nobody can judge it anew."""
        for name, report in self._reports.get(environment, {}).items():
            node = self._seen.nodes.get(name)
            if node is None or report.result is None or environment not in node.compat:
                continue
            changed = not same_node(report.result.fingerprint, node.fingerprint)
            if changed and node.compat[environment] != Verdict.UNKNOWN.value:
                yield SetLabel(environment, name, node.uid, Verdict.UNKNOWN.value)

    def _status(self, environment: EnvironmentRecord, found: Totals | None) -> list[Action]:
        status = environment_status(environment, found, self._now, self._refusal(found))
        if status == environment.status:
            return []
        events = tuple(condition_events(environment, status))
        return [WriteStatus(environment.name, environment.uid, status, events)]

    def _refusal(self, found: Totals | None) -> str:
        """Return the API server's words about one of the results that it refused, always about the same node."""
        if found is None:
            return ""
        refused = {
            node: words
            for (environment, node), words in self._seen.refusals.items()
            if environment == found.context.name and node in found.unwritten
        }
        return refused[min(refused)] if refused else ""

    # ---- leaving -----------------------------------------------------------------------------------------

    def _leavers(self, found: Totals) -> Iterator[LeaveNode]:
        """Nodes that left the selection or are gone, once the grace period is over.

        What a plan says about leaving is confirmed by a live GET; where that finds the node, the clock starts anew.
        """
        environment = found.context.name
        for one in found.leaving:
            if self._is_out(environment, one.node):
                node = self._seen.nodes[one.node]
                yield LeaveNode(environment, one.node, node.uid, gone=False)
        reports = self._reports.get(environment, {})
        # A pod that still waits for its node when that goes is neither ended nor collected by anybody else.
        waiting = {node for owner, node in self._pods if owner == environment}
        for name in sorted({*reports, *waiting} - self._seen.nodes.keys()):
            if self._is_out(environment, name):
                uid = reports[name].node_uid if name in reports else ""
                yield LeaveNode(environment, name, uid, gone=True)

    def _is_out(self, environment: str, node: str) -> bool:
        key, grace = (environment, node), self._seen.settings.leave_grace_seconds
        since = min(self._seen.left_since.get(key, self._now), self._now)
        over = key in self._seen.left_since and self._now - since >= grace
        self._left_since[key] = self._now if over else since
        self._wake_at = min(self._wake_at, self._left_since[key] + grace)
        return over

    def _orphans(self) -> Iterator[OrphanedEnvironment]:
        """Environments of which only traces are left."""
        known = self._seen.environments
        traces = {name for name in self._reports if name not in known}
        traces |= {name for name, _ in self._pods if name not in known}
        for node in self._seen.nodes.values():
            for marks in (node.compat, node.compat_conditions):
                traces |= {name for name in marks if name not in known}
        return (OrphanedEnvironment(name) for name in sorted(traces) if name)

    # ---- runs --------------------------------------------------------------------------------------------

    def _runs(self, all_totals: Iterable[Totals]) -> Iterator[Action]:
        """Starts due runs, most urgent first, within every cap, one a node."""
        live = [pod for pod in self._seen.pods.values() if not is_over(pod)]
        busy = {pod.node for pod in live}
        # A pod that never ends keeps its node, but not a place that other nodes wait for.
        moving = [pod for pod in live if not is_stuck(pod, self._seen.settings, self._now)]
        running = Counter(pod.environment for pod in moving)
        budget = self._seen.settings.max_probes - len(moving)
        caps = {found.context.name: max_concurrent(found) for found in all_totals}
        queue = (
            [_queued(found.context, one) for found in all_totals for one in found.due] if budget > 0 else []
        )
        heapq.heapify(queue)
        while queue and budget > 0:
            *_, context, one = heapq.heappop(queue)
            if one.node in busy or running[context.name] >= caps[context.name]:
                continue
            busy.add(one.node)
            running[context.name] += 1
            budget -= 1
            yield from self._run(context, one)

    def _run(self, context: Context, state: DesiredState) -> Iterator[Action]:
        if state.kept is not None:
            yield from _deletions([state.kept], "the next run begins")
        node, report = self._seen.nodes[state.node], state.report
        run = next_run_id(context, node, report)
        environment = self._seen.environments[context.name]
        token = demand(context.revalidate, report.revalidate if report is not None else "")
        yield CreatePod(
            environment=context.name,
            node=node.name,
            run_id=run,
            inputs_hash=context.inputs_hash,
            fingerprint=node.fingerprint,
            manifest=pods.build(environment, node, self._seen.settings, run_id=run, token=token),
        )

    def _forget(self, all_totals: Iterable[tuple[EnvironmentRecord, Totals]]) -> None:
        """What was remembered of environments that are not judged any more."""
        judged = {environment.name for environment, _ in all_totals}
        for name in [name for name in self._memo.environments if name not in judged]:
            del self._memo.environments[name]


def max_concurrent(found: Totals) -> int:
    """Probe pods that the environment may have at a time."""
    limit = found.context.spec.max_concurrent
    if isinstance(limit, int):
        return limit
    return max(1, math.ceil(found.selected * int(limit.rstrip("%")) / 100))


_Queued = tuple[int, float, int, str, str, Context, DesiredState]


def _queued(context: Context, state: DesiredState) -> _Queued:
    """Most urgent first; a hash spreads nodes that are equally urgent, the same way in every plan."""
    due = state.due
    assert due is not None, "only due states are queued"
    at = due.at if due.priority in _FIRST_COME else 0.0
    spread = zlib.crc32(f"{context.name}/{state.node}".encode("utf-8", "replace"))
    return due.priority, at, spread, context.name, state.node, context, state


def _logs_beyond_cap(found: Totals, settings: Settings) -> Iterator[DeletePod]:
    """Failed pods stay for their logs; the oldest go when there are too many."""
    kept = sorted((one.kept for one in found.kept if one.kept), key=lambda pod: (-pod.created_at, pod.name))
    yield from _deletions(kept[settings.failed_pods_kept :], "there are newer failed pods to look at")


def _deletions(found: Iterable[PodRecord], why: str) -> Iterator[DeletePod]:
    for pod in found:
        if not pod.vanished and pod.deleting_since is None:
            yield DeletePod(pod.name, pod.uid, why)
