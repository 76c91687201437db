"""Make the plan for all environments together, because some rules concern several of them.

Each node runs one probe pod at a time, and the total number of probe pods is limited. A plan is made in steps: the
desired state of every validation, the removals on nodes that are no longer selected, the runs to start, the Events, and
the statuses of environments.
Each step only reads the snapshot and the results of earlier steps. At the end, the actions of all steps are merged.
"""

from collections.abc import Iterator, Mapping

from gpuenv.assess.model import Verdict
from gpuenv.knowledge import Knowledge
from gpuenv.plan.actions import (
    AddFinalizer,
    Cleanup,
    DeletePod,
    EnvironmentAction,
    NodeCounts,
    Plan,
    SetLabel,
    ValidationAction,
    WriteStatus,
)
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.changes import Changes
from gpuenv.plan.context import make_tables, same_node
from gpuenv.plan.fleet.budget import within_budget
from gpuenv.plan.fleet.events import announcements, condition_events, mass_change_events
from gpuenv.plan.fleet.leaving import Leaving, leaving, orphans
from gpuenv.plan.fleet.not_allowed import not_allowed
from gpuenv.plan.fleet.starts import Starts, starts
from gpuenv.plan.fleet.status import environment_status
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.memo import Memo, environment_totals
from gpuenv.plan.moment import Moment
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import NEVER, EnvironmentRecord, PodRecord, Refusal, Snapshot, ValidationKey
from gpuenv.plan.view import View

_Step = Iterator[tuple[ValidationKey, ValidationAction]]
"""The actions of one step of the plan, each with the key of its validation."""


def plan(
    snapshot: Snapshot,
    now: float,
    knowledge: Knowledge,
    memo: Memo | None = None,
    allowance: Allowance | None = None,
) -> Plan:
    """Return the plan for ``snapshot``. It is empty while the snapshot is not ``synced``.

    ``now`` is what the operator's clock showed when the snapshot was taken, in epoch seconds.
    ``memo`` holds what the last plan computed and is updated. Without it, everything is computed anew. ``allowance``
    limits how many results this plan assesses; without it, the plan assesses all. Until a later plan assesses the
    others, their verdicts stay, and all other actions are planned as usual.
    """
    if not snapshot.synced:
        return Plan(left_since=snapshot.left_since, unannounced=snapshot.unannounced, usage=snapshot.usage)
    memo, allowance = memo or Memo(), allowance or Allowance()
    try:
        seen, changes = memo.look(snapshot, Moment(now, snapshot.steady))
        judged = _judged(seen, changes, knowledge, memo, allowance)
    except BaseException:
        memo.forget()
        raise
    memo.keep_only(judged)
    budgeted = within_budget(seen, judged)
    fleets = budgeted.fleets
    left = leaving(seen, fleets.values())
    announced = announcements(snapshot, fleets.values(), snapshot.steady)
    begun = starts(seen, list(fleets.values()))
    rechecks = [one.recheck_at for one in fleets.values()]
    rechecks += [snapshot.steady] if allowance.put_off else []
    wake_at = min([seen.wake_at, left.wake_at, announced.wake_at, begun.wake_at, budgeted.wake_at, *rechecks])
    return Plan(
        environments=_environment_actions(seen, fleets),
        validations=_validation_actions(seen, fleets, left, begun),
        events=announced.events,
        wake_at=None if wake_at == NEVER else wake_at,
        left_since=left.left_since,
        unannounced=announced.unannounced,
        usage=budgeted.usage,
        counts={name: _counts(fleet) for name, fleet in fleets.items()},
        held={name: len(fleet.mass_change.held) for name, fleet in fleets.items()},
        faults=tuple(fault for fleet in fleets.values() for fault in fleet.faults),
        put_off=allowance.put_off,
    )


def _judged(
    seen: View, changes: Changes, knowledge: Knowledge, memo: Memo, allowance: Allowance
) -> dict[str, Totals]:
    """Return the totals of all environments that are served, by name. They take turns in assessing results."""
    served = {
        environment.name: environment
        for environment in seen.snapshot.environments.values()
        if environment.spec is not None and environment.finalized and not environment.deleting
    }
    tables = make_tables(knowledge)
    forbidden = not_allowed(seen.snapshot.environments, seen.snapshot.settings.limits, memo)
    judged: dict[str, Totals] = {}
    cut_at = ""
    for name in memo.in_turn(served):
        why = forbidden.get(name, "")
        judged[name] = environment_totals(
            seen, changes, served[name], tables, memo, allowance=allowance, not_allowed=why
        )
        cut_at = cut_at or (name if allowance.put_off else "")
    memo.cut_at = cut_at
    return {name: judged[name] for name in sorted(judged)}


def _counts(fleet: Totals) -> NodeCounts:
    settled = fleet.selected - fleet.running - fleet.waiting
    return NodeCounts(running=fleet.running, waiting=fleet.waiting, settled=settled)


# ---- environments ----------------------------------------------------------------------------------------


def _environment_actions(seen: View, fleets: Mapping[str, Totals]) -> dict[str, EnvironmentAction]:
    """Return the actions about environments as a whole, by environment, at most one for each."""
    actions: dict[str, EnvironmentAction] = {}
    for name, environment in sorted(seen.snapshot.environments.items()):
        if environment.deleting:
            action: EnvironmentAction | None = (
                Cleanup(name, environment.uid) if environment.finalized else None
            )
        elif not environment.finalized:
            action = AddFinalizer(name, environment.uid)
        else:
            action = _status(seen, environment, fleets.get(name))
        if action is not None:
            actions[name] = action
    return {**actions, **orphans(seen)}


def _status(seen: View, environment: EnvironmentRecord, fleet: Totals | None) -> WriteStatus | None:
    """Return the write of an environment's status, or None if the status is already as it should be."""
    refusal = _refusal(seen.snapshot, fleet) if fleet is not None else None
    own = seen.snapshot.refusals.get((environment.name, ""))
    status = environment_status(
        environment, fleet, seen.moment.wall, refusal, own=own, skew=seen.snapshot.clock_skew
    )
    if status == environment.status:
        return None
    return WriteStatus(
        environment.name,
        environment.uid,
        status,
        (*condition_events(environment, status), *mass_change_events(environment, status)),
    )


def _refusal(snapshot: Snapshot, fleet: Totals) -> Refusal | None:
    """Return the API server's refusal to store a report, label or node condition, or None if it refused none.

    If it refused several, the one about the first node by name is returned, so that it does not change from plan to
    plan.
    """
    refused = {
        node: refusal
        for (environment, node), refusal in snapshot.refusals.items()
        if environment == fleet.context.name and node in fleet.unwritten
    }
    return refused[min(refused)] if refused else None


# ---- validations -----------------------------------------------------------------------------------------


def _validation_actions(
    seen: View, fleets: Mapping[str, Totals], left: Leaving, begun: Starts
) -> dict[ValidationKey, tuple[ValidationAction, ...]]:
    """Return the actions of all steps, by validation. Within a validation, they keep the order of the steps."""
    actions: dict[ValidationKey, tuple[ValidationAction, ...]] = {
        (fleet.context.name, state.node): state.actions for fleet in fleets.values() for state in fleet.acting
    }
    for step in (
        left.actions.items(),
        (entry for fleet in fleets.values() for entry in _logs_beyond_cap(fleet, seen.snapshot.settings)),
        _stopped(seen),
        _creations(begun),
    ):
        for key, action in step:
            actions[key] = (*actions.get(key, ()), action)
    return actions


def _creations(begun: Starts) -> _Step:
    """Yield the creation of each probe pod that starts now.

    If a failed pod of the same validation was kept for its log, its deletion comes first.
    """
    for state, create in begun.pods:
        if state.kept is not None:
            yield from _deletions((state.kept,), "the next run begins")
        yield (create.environment, create.node), create


def _logs_beyond_cap(fleet: Totals, settings: Settings) -> _Step:
    """Yield the deletion of an environment's oldest failed pods, where more are kept for their logs than allowed."""
    kept = sorted((one.kept for one in fleet.kept if one.kept), key=lambda pod: (-pod.created_at, pod.name))
    yield from _deletions(kept[settings.failed_pods_kept :], "there are newer failed pods to look at")


def _stopped(seen: View) -> _Step:
    """Yield the actions for environments with an invalid specification: their probe pods are deleted.

    Their verdicts stay as they are, with one exception: if a node has changed since its last result, its label becomes
    Unknown, because no run can confirm the old verdict.
    """
    for name, environment in seen.snapshot.environments.items():
        if environment.spec is not None or environment.deleting or not environment.finalized:
            continue
        for (owner, _), pods in seen.pods.items():
            if owner == name:
                yield from _deletions(pods, "the specification cannot be understood")
        for node_name, report in seen.reports.get(name, {}).items():
            node = seen.snapshot.nodes.get(node_name)
            if node is None or report.result is None or name not in node.compat:
                continue
            changed = not same_node(report.result.fingerprint, node.fingerprint)
            if changed and node.compat[name] != Verdict.UNKNOWN.value:
                yield (name, node_name), SetLabel(name, node_name, node.uid, Verdict.UNKNOWN.value)


def _deletions(pods: tuple[PodRecord, ...] | list[PodRecord], why: str) -> _Step:
    for pod in pods:
        if not pod.vanished and pod.deleting_since is None:
            yield (pod.environment, pod.node), DeletePod(pod.name, pod.uid, why)
