"""Find nodes and environments whose labels, conditions, reports and pods have to be removed.

These are nodes that an environment no longer selects, nodes that no longer exist, and environments that no longer
exist.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gpuenv.plan.actions import LeaveNode, OrphanedEnvironment
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.snapshot import NEVER, ValidationKey
from gpuenv.plan.view import View


@dataclass(frozen=True, slots=True)
class Leaving:
    """The nodes to leave now, and since when each unselected node has been outside the selection (epoch seconds).

    ``wake_at`` is when the next grace period ends.
    """

    actions: Mapping[ValidationKey, LeaveNode]
    left_since: Mapping[ValidationKey, float]
    wake_at: float


def leaving(view: View, fleets: Iterable[Totals]) -> Leaving:
    """Return the nodes to leave: those that were outside the selection, or missing, for the whole grace period.

    The executor confirms this by a live GET before it removes anything. If it finds the node still selected, it removes
    nothing, and a plan may contain the same action again after another grace period.
    """
    seen, grace = view.snapshot, view.snapshot.settings.leave_grace_seconds
    actions: dict[ValidationKey, LeaveNode] = {}
    left_since: dict[ValidationKey, float] = {}
    for leave in (leave for fleet in fleets for leave in _outside(view, fleet)):
        key = (leave.environment, leave.node)
        since = min(seen.left_since.get(key, view.at), view.at)
        if key in seen.left_since and view.at - since >= grace:
            actions[key] = leave
            since = view.at
        left_since[key] = since
    wake_at = min((since + grace for since in left_since.values()), default=NEVER)
    return Leaving(actions, left_since, wake_at)


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
