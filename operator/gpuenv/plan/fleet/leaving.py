"""Find nodes and environments whose labels, conditions, reports and pods have to be removed.

These are nodes that an environment no longer selects, nodes that no longer exist, and environments that no longer
exist.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpuenv.plan.actions import LeaveNode, MarkLeaving, OrphanedEnvironment
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.snapshot import NEVER, ReportRecord, ValidationKey
from gpuenv.plan.view import View

MARKED_AFTER: Final = 0.2
"""The part of the grace period after which a node report says since when its node has been outside the selection.

Most nodes that leave for a moment are back by then, and cost no write.
"""

SECOND_LOOK_SECONDS: Final = 1.0
"""Pause before a node is left whose grace period was over when this process first saw it. Nothing is left at first sight."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The nodes to leave or to mark now, and since when each unselected node has been so (steady seconds).

    ``wake_at`` is when the next grace period ends, or the next node is to be marked.
    """

    actions: Mapping[ValidationKey, LeaveNode | MarkLeaving]
    left_since: Mapping[ValidationKey, float]
    wake_at: float


def leaving(view: View, fleets: Iterable[Totals]) -> Leaving:
    """Return the nodes to leave: those that were outside the selection, or missing, for the whole grace period.

    Part of the time may have passed before the operator was started: the node report says since when. The executor
    confirms by a live GET that a node has left before it removes anything. If it finds the node still selected, it
    removes nothing, and a plan may contain the same action again after another grace period.
    """
    seen, now, grace = view.snapshot, view.moment.steady, view.snapshot.settings.leave_grace_seconds
    actions: dict[ValidationKey, LeaveNode | MarkLeaving] = {}
    left_since: dict[ValidationKey, float] = {}
    wake_at = NEVER
    for leave in (leave for fleet in fleets for leave in _outside(view, fleet)):
        key = (leave.environment, leave.node)
        report = seen.reports.get(key)
        since = seen.left_since.get(key, _stored(view, key, report))
        if key in seen.left_since and now - since >= grace:
            actions[key] = leave
            since = now
        elif report is not None and report.left_since is None:
            if now - since >= MARKED_AFTER * grace:
                at = view.moment.wall_at(since)
                actions[key] = MarkLeaving(leave.environment, leave.node, report.name, at)
            else:
                wake_at = min(wake_at, since + MARKED_AFTER * grace)
        left_since[key] = since
        wake_at = min(wake_at, max(since + grace, now + SECOND_LOOK_SECONDS))
    return Leaving(actions, left_since, wake_at)


def _stored(view: View, key: ValidationKey, report: ReportRecord | None) -> float:
    """Return since when a node has been outside the selection, as far as the API server remembers it (steady seconds).

    A time in the future, which a wrong clock has written, counts as now. Without a report there is only a pod. It was
    created while the node was there, so it counts after some time.
    """
    now = view.moment
    if report is not None:
        return now.steady if report.left_since is None else min(now.steady, now.steady_at(report.left_since))
    created = min((pod.seen.created for pod in view.pods.get(key, ())), default=now.steady)
    return min(now.steady, created + 2 * view.snapshot.settings.leave_grace_seconds)


def _outside(view: View, fleet: Totals) -> Iterator[LeaveNode]:
    """Yield an action for every node outside the selection for which label, condition, report or pods still exist."""
    name, nodes = fleet.context.name, view.snapshot.nodes
    for state in fleet.leaving:
        yield LeaveNode(name, state.node, nodes[state.node].uid, gone=False)
    reports = view.reports.get(name, {})
    # A pod that was not scheduled yet when its node was deleted never ends, and nothing else in the cluster removes it.
    waiting = {node for environment, node in view.pods if environment == name}
    for node in sorted({*reports, *waiting} - nodes.keys()):
        yield LeaveNode(name, node, reports[node].node_uid if node in reports else "", gone=True)


def orphans(view: View) -> Mapping[str, OrphanedEnvironment]:
    """Return an action, by name, for each environment that no longer exists but left labels, reports or pods behind.

    A pod whose deletion has begun does not count, because nothing more can be done about it.
    """
    known = view.snapshot.environments
    traces = {*view.reports}
    for (environment, _), pods in view.pods.items():
        if any(pod.deleting_since is None and not pod.vanished for pod in pods):
            traces.add(environment)
    for node in view.snapshot.nodes.values():
        traces.update(node.compat, node.compat_conditions)
    return {name: OrphanedEnvironment(name) for name in sorted(traces - known.keys()) if name}
