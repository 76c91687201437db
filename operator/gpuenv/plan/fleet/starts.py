"""Choose the due runs that start now: the most urgent first, one probe pod per node, within the limits."""

import heapq
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from gpuenv.plan.actions import CreatePod
from gpuenv.plan.context import Context
from gpuenv.plan.demand import demand
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.run import manifest
from gpuenv.plan.run.clocks import is_over, is_stuck
from gpuenv.plan.validation.desired_state import DesiredState
from gpuenv.plan.validation.next_run import Priority, next_run_id
from gpuenv.plan.view import View

_OVERDUE_FIRST: Final = frozenset({Priority.RETRY, Priority.AGE})
"""For these priorities, runs of equal priority start in the order in which they became due."""


def starts(view: View, fleets: Sequence[Totals]) -> Iterator[tuple[DesiredState, CreatePod]]:
    """Yield the creation of each probe pod that starts now, with the desired state of its validation."""
    settings = view.snapshot.settings
    live = [pod for pod in view.snapshot.pods.values() if not is_over(pod)]
    busy = {pod.node for pod in live}
    # A pod that never ends blocks its own node, but it must not count against the limits for other nodes.
    moving = [pod for pod in live if not is_stuck(pod, settings, view.at)]
    running = Counter(pod.environment for pod in moving)
    budget = settings.max_probes - len(moving)
    caps = {fleet.context.name: max_concurrent(fleet) for fleet in fleets}
    queue = [_queued(fleet.context, state) for fleet in fleets for state in fleet.due] if budget > 0 else []
    heapq.heapify(queue)
    while queue and budget > 0:
        *_, context, state = heapq.heappop(queue)
        if state.node in busy or running[context.name] >= caps[context.name]:
            continue
        busy.add(state.node)
        running[context.name] += 1
        budget -= 1
        yield state, _start(view, context, state)


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


def max_concurrent(fleet: Totals) -> int:
    """Return the largest number of probe pods that the environment may have at a time."""
    limit = fleet.context.spec.max_concurrent
    if isinstance(limit, int):
        return limit
    return max(1, math.ceil(fleet.selected * int(limit.rstrip("%")) / 100))


_Queued = tuple[int, float, int, str, str, Context, DesiredState]


def _queued(context: Context, state: DesiredState) -> _Queued:
    """Return a due run as a tuple that sorts by urgency, the most urgent first.

    A hash of environment and node orders runs that are equally urgent, in the same way in every plan.
    """
    due = state.due
    assert due is not None, "only due runs are queued"
    at = due.at if due.priority in _OVERDUE_FIRST else 0.0
    spread = zlib.crc32(f"{context.name}/{state.node}".encode("utf-8", "replace"))
    return due.priority, at, spread, context.name, state.node, context, state
