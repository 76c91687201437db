"""Count the GPU-seconds that environments use in a day, and stop the runs of those whose budget is spent.

A budget is ``gpuSecondsPerDay`` of the administrator's limits. It is that of one environment, or that of all environments
of a group together; a day begins at midnight UTC. A probe pod uses the GPUs that it requests from the time at which it is
scheduled until it ends, whatever becomes of its run. What a pod uses before midnight counts for the day before.

An ended pod is counted once. The sum and the uids of counted pods are handed from plan to plan, also those of deleted
environments, so that a deletion does not fill the budget again. They are part of the environment's status, from which
they are read after a restart of the operator; what deleted environments have used is then forgotten. If the operator
dies between the end of a pod and the write of the status, which is a matter of seconds, the pod may be missing from the
sum.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gpuenv.api.limits.groups import group_of
from gpuenv.api.limits.limits import Limits
from gpuenv.api.tolerant import integer, mapping, texts
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.moment import Moment
from gpuenv.plan.objects.times import read_time, show_time
from gpuenv.plan.run.clocks import held_seconds, is_over
from gpuenv.plan.snapshot import NEVER, PodRecord, Snapshot, Usage
from gpuenv.plan.view import View

DAY_SECONDS: Final = 86400.0
GPU_SECONDS: Final = "gpuSeconds"
"""Key in ``status.internal`` of an environment: what it has used today."""


@dataclass(frozen=True, slots=True)
class Budgeted:
    """The totals of environments, in which nothing is due if the budget is spent, and what they have used today.

    ``wake_at`` is the end of the day if a budget is spent, in steady seconds.
    """

    fleets: Mapping[str, Totals]
    usage: Mapping[str, Usage] = field(default_factory=dict)
    wake_at: float = NEVER


@dataclass(frozen=True, slots=True)
class _Budget:
    """So many GPU-seconds for everybody who shares them: one environment, or a group. 0: any number."""

    owner: tuple[str, str]
    seconds: int
    limit: str
    """The name of the limit in the chart's values."""


def within_budget(view: View, fleets: Mapping[str, Totals]) -> Budgeted:
    """Return the totals with their usage, and without due runs for environments whose budget is spent."""
    limits = view.snapshot.settings.limits
    if not limits.gpu_seconds_per_day and not any(one.gpu_seconds_per_day for one in limits.groups):
        return Budgeted(fleets)
    since = view.moment.wall - view.moment.wall % DAY_SECONDS
    pods: dict[str, list[PodRecord]] = {}
    for pod in view.snapshot.pods.values():
        pods.setdefault(pod.environment, []).append(pod)
    usage: dict[str, Usage] = {}
    used: Counter[tuple[str, str]] = Counter()
    for name in {**view.snapshot.environments, **view.snapshot.usage, **pods}:
        own, budget = pods.get(name, ()), _budget(name, limits)
        found = _usage(view, _known(view.snapshot, name), own, since)
        running = sum(_gpu_seconds(pod, since, view.moment) for pod in own if not is_over(pod))
        used[budget.owner] += found.seconds + running
        if name in view.snapshot.environments or found.seconds or found.counted:
            usage[name] = found
    budgeted: dict[str, Totals] = {}
    wake_at = NEVER
    for name, fleet in fleets.items():
        budget = _budget(name, limits)
        budgeted[name] = replace(fleet, usage=usage[name]) if budget.seconds else fleet
        if budget.seconds and used[budget.owner] >= budget.seconds:
            wake_at = view.moment.steady_at(since + DAY_SECONDS)
            spent = _spent(budget, since + DAY_SECONDS)
            budgeted[name] = replace(budgeted[name], due=(), spent=spent)
    return Budgeted(budgeted, usage, wake_at)


def _budget(environment: str, limits: Limits) -> _Budget:
    """Return the budget that an environment uses: that of its group, or its own if its group has none."""
    name = group_of(environment, limits.groups)
    group = next((one for one in limits.groups if one.name == name), None)
    if group is not None and group.gpu_seconds_per_day is not None:
        limit = f"gpuSecondsPerDay of {name} in limits.groups"
        return _Budget(("group", name), group.gpu_seconds_per_day, limit)
    return _Budget(("environment", environment), limits.gpu_seconds_per_day, "limits.gpuSecondsPerDay")


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return the usage as it is stored in the environment's status; {} if nothing was used."""
    if not usage.seconds and not usage.counted:
        return {}
    counted = dict.fromkeys(sorted(usage.counted), "")
    return {"since": show_time(usage.since), "seconds": usage.seconds, "counted": counted}


def _spent(budget: _Budget, until: float) -> str:
    return f"the {budget.seconds} GPU-seconds that {budget.limit} allows are used up; probes start again at {show_time(until)}"


def _known(snapshot: Snapshot, name: str) -> Usage:
    """Return the usage of the environment up to the last plan. The first plan reads it from the stored status."""
    if name in snapshot.usage:
        return snapshot.usage[name]
    environment = snapshot.environments.get(name)
    stored = mapping(environment.status if environment is not None else {}, "internal", GPU_SECONDS)
    return Usage(
        since=read_time(stored.get("since")) or 0.0,
        seconds=max(0, integer(stored.get("seconds")) or 0),
        counted=frozenset(texts(stored.get("counted"))),
    )


def _usage(view: View, known: Usage, pods: Iterable[PodRecord], since: float) -> Usage:
    """Return the usage with the pods that have ended since the last plan."""
    ended = [pod for pod in pods if is_over(pod)]
    new = sum(_gpu_seconds(pod, since, view.moment) for pod in ended if pod.uid not in known.counted)
    # A later day was begun by a clock that was ahead. What was counted in it was used today.
    before = known.seconds if known.since >= since else 0
    return Usage(since, before + new, frozenset(pod.uid for pod in ended))


def _gpu_seconds(pod: PodRecord, since: float, now: Moment) -> int:
    """Return the GPU-seconds that the pod has used from ``since``, in epoch seconds, until ``now``, rounded up."""
    until = now.steady if pod.seen.over is None else pod.seen.over
    return math.ceil(pod.devices * max(0.0, min(held_seconds(pod, now.steady), until - now.steady_at(since))))
