"""One snapshot at one time, grouped as the parts of the planner need it."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpuenv.plan.model import NEVER, PodRecord, ReportRecord, Snapshot, ValidationKey
from gpuenv.plan.run.clocks import is_over, is_stuck


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot at the time ``at``. ``wake_at`` is when the next probe pod counts as stuck, if it is still there."""

    snapshot: Snapshot
    at: float
    reports: Mapping[str, Mapping[str, ReportRecord]]
    """By environment, then by node."""
    pods: Mapping[ValidationKey, tuple[PodRecord, ...]]
    """By validation, sorted by name."""
    stuck: Mapping[str, PodRecord]
    """By node, a probe pod of any environment that was deleted and does not end: the first by name."""
    wake_at: float


def view(snapshot: Snapshot, now: float) -> View:
    """Return the snapshot in groups."""
    reports: dict[str, dict[str, ReportRecord]] = {}
    for (environment, node), report in snapshot.reports.items():
        reports.setdefault(environment, {})[node] = report
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
