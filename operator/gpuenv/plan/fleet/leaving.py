"""What is left of an environment on nodes that it does not select any more, or that are gone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.model import NEVER, LeaveNode, OrphanedEnvironment, ValidationKey
from gpuenv.plan.view import View


@dataclass(frozen=True, slots=True)
class Leaving:
    """Nodes to leave now, and since when each of the others has been outside the selection."""

    actions: Mapping[ValidationKey, LeaveNode]
    left_since: Mapping[ValidationKey, float]
    wake_at: float


def leaving(view: View, fleets: Iterable[Totals]) -> Leaving:
    """Leave each node that was outside the selection, or gone, for the whole grace period.

    The executor confirms by a live GET that the node has really left. If it has not, nothing is removed, and the next
    plan may ask again after another grace period.
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
    """Return every node outside the selection on which something of the environment is left."""
    name, nodes = fleet.context.name, view.snapshot.nodes
    for state in fleet.leaving:
        yield LeaveNode(name, state.node, nodes[state.node].uid, gone=False)
    reports = view.reports.get(name, {})
    # A pod that still waits for its node when that goes does not end, and nothing in the cluster removes it.
    waiting = {node for environment, node in view.pods if environment == name}
    for node in sorted({*reports, *waiting} - nodes.keys()):
        yield LeaveNode(name, node, reports[node].node_uid if node in reports else "", gone=True)


def orphans(view: View) -> Mapping[str, OrphanedEnvironment]:
    """Return the environments that are gone and of which labels, conditions, reports or pods are left."""
    known = view.snapshot.environments
    traces = {*view.reports, *(environment for environment, _ in view.pods)}
    for node in view.snapshot.nodes.values():
        traces.update(node.compat, node.compat_conditions)
    return {name: OrphanedEnvironment(name) for name in sorted(traces - known.keys()) if name}
