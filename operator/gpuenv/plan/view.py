"""A snapshot at one point in time, with reports and pods grouped by environment, validation and node."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpuenv.plan.moment import Moment
from gpuenv.plan.run.clocks import is_stuck, stuck_from
from gpuenv.plan.snapshot import NEVER, PodRecord, ReportRecord, Snapshot, ValidationKey


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot with its reports and pods in groups, and the moment at which the plan is made."""

    snapshot: Snapshot
    moment: Moment
    reports: Mapping[str, Mapping[str, ReportRecord]]
    """The node reports, by environment and then by node."""
    pods: Mapping[ValidationKey, tuple[PodRecord, ...]]
    """The probe pods of each validation, sorted by name."""
    stuck: Mapping[str, PodRecord]
    """By node, the first probe pod (by name, of any environment) that was deleted but does not end."""
    wake_at: float
    """When the next deleted pod counts as stuck, if it still exists then, in steady seconds."""


def view(snapshot: Snapshot, now: Moment, reports: Mapping[str, Mapping[str, ReportRecord]]) -> View:
    """Return the snapshot with its pods in groups.

    ``reports`` are the node reports of the snapshot, by environment and then by node.
    """
    pods: dict[ValidationKey, list[PodRecord]] = {}
    stuck: dict[str, PodRecord] = {}
    wake_at = NEVER
    for pod in sorted(snapshot.pods.values(), key=lambda pod: pod.name):
        pods.setdefault((pod.environment, pod.node), []).append(pod)
        if is_stuck(pod, snapshot.settings, now.steady):
            stuck.setdefault(pod.node, pod)
        else:
            wake_at = min(wake_at, stuck_from(pod, snapshot.settings))
    grouped = {key: tuple(found) for key, found in pods.items()}
    return View(snapshot, now, reports, grouped, stuck, wake_at)
