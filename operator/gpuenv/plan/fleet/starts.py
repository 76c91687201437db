"""Choose the due runs that start now: one probe pod per node, within the limits, and each environment in its turn.

Groups and their environments take turns (:mod:`gpuenv.plan.fleet.places`). The environment whose turn it is chooses its
most urgent run on a node without a probe pod. If others that hold less than their share of the places want that node,
too, it goes to the group, and in it to the environment, that has not run there for the longest time.
"""

import heapq
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gpuenv.plan.actions import CreatePod
from gpuenv.plan.context import Context
from gpuenv.plan.demand import demand
from gpuenv.plan.fleet.places import Places
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.times import is_ahead
from gpuenv.plan.run import manifest
from gpuenv.plan.validation.desired_state import DesiredState
from gpuenv.plan.validation.next_run import Priority, next_run_id
from gpuenv.plan.view import View

_OVERDUE_FIRST: Final = frozenset({Priority.RETRY, Priority.AGE})
"""For these priorities, runs of equal priority start in the order in which they became due."""

_Queued = tuple[int, float, int, str]
"""A due run: three values that order it by urgency, and its node."""


@dataclass(frozen=True, slots=True)
class Starts:
    """The probe pods to create now, each with the desired state of its validation.

    ``wake_at`` is when, if nothing else changes, a run may start that has to wait now, in steady seconds.
    """

    pods: tuple[tuple[DesiredState, CreatePod], ...]
    wake_at: float


def starts(view: View, fleets: Sequence[Totals]) -> Starts:
    """Return the probe pods that start now."""
    places = Places(view, fleets)
    wanting = {fleet.context.name: fleet for fleet in fleets if fleet.due}
    queues = {name: _queue(fleet) for name, fleet in wanting.items() if places.may_start(name)}
    claims = {name: {state.node: state for state in wanting[name].due} for name in queues}
    pods: list[tuple[DesiredState, CreatePod]] = []
    while (turn := places.next_turn(queues)) is not None:
        node = _next_node(queues[turn], places)
        if node is None:
            del queues[turn]
            continue
        name = _rightful(view, claims, places, turn, node)
        state = claims[name][node]
        places.take(name, node)
        pods.append((state, _start(view, wanting[name].context, state)))
    left = [name for name, fleet in wanting.items() if _has_free_node(fleet, places)]
    return Starts(tuple(pods), places.next_change(left))


def _next_node(queue: list[_Queued], places: Places) -> str | None:
    """Return the node of the most urgent run in the queue that has no probe pod. Earlier runs leave the queue."""
    while queue:
        node = heapq.heappop(queue)[-1]
        if node not in places.busy:
            return node
    return None


def _rightful(
    view: View, claims: Mapping[str, Mapping[str, DesiredState]], places: Places, turn: str, node: str
) -> str:
    """Return which environment gets the node that the environment ``turn`` has chosen.

    Without this rule, an environment that asks for new runs all the time could keep others away from the node.
    """
    wanting = [
        name
        for name, states in claims.items()
        if node in states and (name == turn or (places.is_below_share(name) and places.may_start(name)))
    ]
    if wanting == [turn]:
        return turn
    last_runs = {name: _last_run(view, name, node) for name in view.snapshot.environments}
    return places.first_on_node(wanting, last_runs, turn)


def _last_run(view: View, environment: str, node: str) -> float:
    """Return when the environment last ran on the node, in epoch seconds; 0 if it never has.

    Its probe pods that still exist count, too: the report tells nothing about runs with former inputs.
    """
    report = view.reports.get(environment, {}).get(node)
    times = [view.moment.wall_at(pod.seen.created) for pod in view.pods.get((environment, node), ())]
    if report is not None and not is_ahead(report.last_run_at, view.moment.wall):
        times.append(report.last_run_at)
    return max(times, default=0.0)


def _has_free_node(fleet: Totals, places: Places) -> bool:
    """Return whether a run of the environment is due on a node without a probe pod."""
    return any(state.node not in places.busy for state in fleet.due)


def _start(view: View, context: Context, state: DesiredState) -> CreatePod:
    node, report = view.snapshot.nodes[state.node], state.report
    environment = view.snapshot.environments[context.name]
    run = next_run_id(context, node, report)
    asked = demand(context.revalidate, report.revalidate if report is not None else "")
    return CreatePod(
        environment=context.name,
        node=node.name,
        run_id=run,
        inputs_hash=context.inputs_hash,
        fingerprint=node.fingerprint,
        manifest=manifest.build(environment, node, view.snapshot.settings, run_id=run, demand=asked),
        demand=asked,
    )


def _queue(fleet: Totals) -> list[_Queued]:
    """Return a heap of the environment's due runs, the most urgent first, each with its node as the last entry.

    A hash of environment and node orders runs that are equally urgent, in the same way in every plan.
    """
    queue: list[_Queued] = []
    for state in fleet.due:
        due = state.due
        assert due is not None, "only due runs are queued"
        at = due.at if due.priority in _OVERDUE_FIRST else 0.0
        queue.append((due.priority, at, _spread(fleet.context.name, state.node), state.node))
    heapq.heapify(queue)
    return queue


def _spread(environment: str, node: str) -> int:
    return zlib.crc32(f"{environment}/{node}".encode("utf-8", "replace"))
