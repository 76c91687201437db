"""A snapshot at one point in time, with reports and pods grouped by environment, validation and node."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpuenv.plan.run.clocks import is_over, is_stuck
from gpuenv.plan.snapshot import NEVER, PodRecord, ReportRecord, Snapshot, ValidationKey


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot at the time ``at``, in epoch seconds, with its reports and pods in groups."""

    snapshot: Snapshot
    at: float
    reports: Mapping[str, Mapping[str, ReportRecord]]
    """The node reports, by environment and then by node."""
    pods: Mapping[ValidationKey, tuple[PodRecord, ...]]
    """The probe pods of each validation, sorted by name."""
    stuck: Mapping[str, PodRecord]
    """By node, the first probe pod (by name, of any environment) that was deleted but does not end."""
    wake_at: float
    """The earliest time at which another deleted pod counts as stuck, if it still exists then."""


def view(snapshot: Snapshot, now: float, reports: Mapping[str, Mapping[str, ReportRecord]]) -> View:
    """Return the snapshot with its pods in groups. ``now`` is in epoch seconds.

    ``reports`` are the node reports of the snapshot, by environment and then by node.
    """
    pods: dict[ValidationKey, list[PodRecord]] = {}
    stuck: dict[str, PodRecord] = {}
    wake_at = NEVER
    for pod in sorted(snapshot.pods.values(), key=lambda pod: pod.name):
        pods.setdefault((pod.environment, pod.node), []).append(pod)
        if is_stuck(pod, snapshot.settings, now):
            stuck.setdefault(pod.node, pod)
        elif pod.deleting_since is not None and not is_over(pod):
            wake_at = min(wake_at, pod.deleting_since + snapshot.settings.stuck_seconds)
    grouped = {key: tuple(found) for key, found in pods.items()}
    return View(snapshot, now, reports, grouped, stuck, wake_at)
