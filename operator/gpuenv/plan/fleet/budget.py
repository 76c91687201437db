"""Count the GPU-seconds that each environment uses in a day, and stop its runs when its budget is spent.

The budget is ``gpuSecondsPerDay`` of the administrator's limits; a day begins at midnight UTC. A probe pod uses the GPUs
that it requests from the time at which it is scheduled until it ends, whatever becomes of its run. What a pod uses
before midnight counts for the day before.

An ended pod is counted once. The sum and the uids of counted pods are handed from plan to plan, and are part of the
environment's status, from which they are read after a restart of the operator. If the operator dies between the end of a
pod and the write of the status, which is a matter of seconds, the pod may be missing from the sum.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gpuenv.api.tolerant import integer, mapping, texts
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.times import read_time, show_time
from gpuenv.plan.run.clocks import is_over
from gpuenv.plan.run.ended_pod import TERMINAL
from gpuenv.plan.snapshot import NEVER, EnvironmentRecord, PodRecord, Snapshot, Usage
from gpuenv.plan.view import View

DAY_SECONDS: Final = 86400.0
GPU_SECONDS: Final = "gpuSeconds"
"""Key in ``status.internal`` of an environment: what it has used today."""


@dataclass(frozen=True, slots=True)
class Budgeted:
    """The totals of environments, in which nothing is due if the budget is spent, and what they have used today.

    ``wake_at`` is the end of the day if a budget is spent, in epoch seconds.
    """

    fleets: Mapping[str, Totals]
    usage: Mapping[str, Usage] = field(default_factory=dict)
    wake_at: float = NEVER


def within_budget(view: View, fleets: Mapping[str, Totals]) -> Budgeted:
    """Return the totals with their usage, and without due runs for environments that have spent their budget."""
    budget = view.snapshot.settings.limits.gpu_seconds_per_day
    if not budget:
        return Budgeted(fleets)
    since = view.at - view.at % DAY_SECONDS
    pods: dict[str, list[PodRecord]] = {}
    for pod in view.snapshot.pods.values():
        pods.setdefault(pod.environment, []).append(pod)
    usage = {
        name: _usage(view, _known(view.snapshot, environment), pods.get(name, ()), since)
        for name, environment in view.snapshot.environments.items()
    }
    found: dict[str, Totals] = {}
    wake_at = NEVER
    for name, fleet in fleets.items():
        running = (pod for pod in pods.get(name, ()) if not is_over(pod))
        used = usage[name].seconds + sum(_gpu_seconds(pod, since, view.at) for pod in running)
        found[name] = replace(fleet, usage=usage[name])
        if used >= budget:
            wake_at = since + DAY_SECONDS
            found[name] = replace(found[name], due=(), spent=_spent(budget, wake_at))
    return Budgeted(found, usage, wake_at)


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return the usage as it is stored in the environment's status; {} if nothing was used."""
    if not usage.seconds and not usage.counted:
        return {}
    counted = dict.fromkeys(sorted(usage.counted), "")
    return {"since": show_time(usage.since), "seconds": usage.seconds, "counted": counted}


def _spent(budget: int, until: float) -> str:
    return f"the {budget} GPU-seconds that limits.gpuSecondsPerDay allows are used up; probes start again at {show_time(until)}"


def _known(snapshot: Snapshot, environment: EnvironmentRecord) -> Usage:
    """Return the usage of the environment up to the last plan. The first plan reads it from the stored status."""
    if environment.name in snapshot.usage:
        return snapshot.usage[environment.name]
    stored = mapping(environment.status, "internal", GPU_SECONDS)
    return Usage(
        since=read_time(stored.get("since")) or 0.0,
        seconds=max(0, integer(stored.get("seconds")) or 0),
        counted=frozenset(texts(stored.get("counted"))),
    )


def _usage(view: View, known: Usage, pods: Iterable[PodRecord], since: float) -> Usage:
    """Return the usage with the pods that have ended since the last plan."""
    ended = [pod for pod in pods if is_over(pod)]
    new = sum(_gpu_seconds(pod, since, view.at) for pod in ended if pod.uid not in known.counted)
    before = known.seconds if known.since == since else 0
    return Usage(since, before + new, frozenset(pod.uid for pod in ended))


def _gpu_seconds(pod: PodRecord, since: float, now: float) -> int:
    """Return the GPU-seconds that the pod has used between ``since`` and ``now``, in epoch seconds, rounded up."""
    if pod.scheduled_at is None:
        return 0
    ended = [stage.finished_at for stage in (pod.facts, pod.kernels) if stage.finished_at is not None]
    until = min(now, max(ended)) if ended and pod.phase in TERMINAL else now
    return math.ceil(pod.devices * max(0.0, until - max(pod.scheduled_at, since)))
