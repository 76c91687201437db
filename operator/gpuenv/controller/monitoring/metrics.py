"""The operator's metrics for Prometheus.

Gauges are computed at each scrape, from the cache and the last plan, so a deleted environment leaves no gauge behind.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from gpuenv import __version__
from gpuenv.api import names, reasons
from gpuenv.assess.model import Verdict
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import KindName
from gpuenv.plan.actions import NodeCounts, Plan, WriteReport
from gpuenv.plan.objects.node_report import MEASURED
from gpuenv.plan.run.clocks import held_seconds
from gpuenv.plan.snapshot import ReportRecord

PLAN_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

OTHER: Final = "Other"
"""The value of the label ``reason`` for a reason that is not documented. It bounds the number of time series."""


class Metrics:
    """The metrics of one operator. Each operator has its own registry, because tests create several in one process."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._clock = clock
        self.skew: Callable[[], float | None] = lambda: None
        """Returns by how many seconds the operator's clock is ahead of the API server's; None if that is not known."""
        self.registry = CollectorRegistry()
        self.plan_seconds = Histogram(
            "gpuenv_plan_duration_seconds",
            "Time to compute one plan.",
            buckets=PLAN_BUCKETS,
            registry=self.registry,
        )
        self._runs = Counter(
            "gpuenv_probe_runs",
            "Probe runs that ended, by the verdict and reason of their result; Unknown if they gave no result.",
            ["environment", "verdict", "reason"],
            registry=self.registry,
        )
        self._gpu_seconds = Counter(
            "gpuenv_probe_gpu_seconds",
            "GPU time that probe pods held: devices times seconds from scheduling to the end.",
            ["environment"],
            registry=self.registry,
        )
        self._requests = Counter(
            "gpuenv_api_requests",
            "Requests to the API server; code 0: no answer.",
            ["method", "code"],
            registry=self.registry,
        )
        self._errors = Counter(
            "gpuenv_errors", "Failures, by where they happened.", ["where"], registry=self.registry
        )
        self._refused = Counter(
            "gpuenv_refused_writes",
            "Writes of statuses, labels and node conditions that the API server refused.",
            ["kind"],
            registry=self.registry,
        )
        self._missed = Counter(
            "gpuenv_watch_missed_changes",
            "Changes the watch did not deliver and the sweep found.",
            ["kind"],
            registry=self.registry,
        )
        self._restarts = Counter(
            "gpuenv_watch_restarts",
            "Watches that were started again: their stream was refused, silent, or ended for another reason.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.events_dropped = Counter(
            "gpuenv_events_dropped",
            "Kubernetes Events not posted: too many, or refused.",
            registry=self.registry,
        )
        self.last_plan: float | None = None
        self.last_sweep: float | None = None
        self.watches: Mapping[KindName, Callable[[], bool]] = {}
        """Says for each kind of objects whether the stream of its watch is open."""
        self.lease_held: Callable[[], bool] = lambda: False
        """Says whether this process holds the Lease."""
        self._counts: dict[str, NodeCounts] = {}
        self._held: dict[str, int] = {}
        self.registry.register(_Gauges(self))

    def planned(self, plan: Plan, seconds: float) -> None:
        """Record that a plan has just been made and that its computation took ``seconds``."""
        self.plan_seconds.observe(seconds)
        self.last_plan = self._clock()
        self._counts = dict(plan.counts)
        self._held = dict(plan.held)

    def swept(self) -> None:
        """Record that a sweep has just been completed: all objects were listed and compared with the cache."""
        self.last_sweep = self._clock()

    def request(self, method: str, status: int) -> None:
        """Count a request to the API server by its HTTP status. Status 0 means that the server did not respond."""
        self._requests.labels(method, str(status)).inc()

    def error(self, where: str) -> None:
        """Count a failure in the part of the operator with the name ``where``, such as ``plan`` or ``sweep``."""
        self._errors.labels(where).inc()

    def refused(self, kind: str) -> None:
        """Count a write of a status, label or node condition of one kind of object that the API server refused."""
        self._refused.labels(kind).inc()

    def watch_restarted(self, kind: KindName, reason: str) -> None:
        """Count a watch that failed for one of a few reasons and is started again."""
        self._restarts.labels(kind, reason).inc()

    def missed(self, kind: str, count: int) -> None:
        """Count changes to objects of one kind that the watch did not deliver and a sweep found."""
        self._missed.labels(kind).inc(count)

    def report_written(self, action: WriteReport, before: ReportRecord | None, cache: Cache) -> None:
        """Count the runs that a node report shows for the first time, and the GPU time that their pods have used.

        ``action`` has just written the node report. ``before`` is its record before the write, whose runs are already
        counted, or None if the node report is new.
        """
        counted = _runs(before)
        for run_id, (verdict, reason) in _runs(action.record).items():
            if run_id in counted:
                continue
            self._runs.labels(action.environment, verdict, reason).inc()
            pod = cache.pods.get(names.pod_name(action.environment, action.node, run_id))
            environment = cache.environments.get(action.environment)
            if pod is not None and environment is not None and environment.spec is not None:
                seconds = held_seconds(pod, cache.clock())
                self._gpu_seconds.labels(action.environment).inc(
                    seconds * environment.spec.probe.device_count
                )

    def gauges(self) -> Iterable[Metric]:
        """Yield all gauges with their present values."""
        build = GaugeMetricFamily("gpuenv_build_info", "Always 1, with the version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield self._watches()
        held = "1 while this operator holds the Lease; without it, it writes nothing."
        yield GaugeMetricFamily("gpuenv_lease_held", held, value=self.lease_held())
        skew = self.skew()
        if skew is not None:
            text = "By how many seconds the operator's clock is ahead of the API server's."
            yield GaugeMetricFamily("gpuenv_clock_skew_seconds", text, value=skew)
        yield self._node_reports()
        yield self._environment_nodes()
        yield self._labels_held_back()
        for name, at in (("plan", self.last_plan), ("sweep", self.last_sweep)):
            if at is not None:
                text = f"When the last {name} was completed, in seconds since the epoch."
                yield GaugeMetricFamily(f"gpuenv_last_{name}_timestamp_seconds", text, value=at)

    def _watches(self) -> Metric:
        text = "1 while the stream of changes of one kind of objects is open."
        family = GaugeMetricFamily("gpuenv_watch_up", text, labels=["kind"])
        for kind, is_open in self.watches.items():
            family.add_metric([kind], is_open())
        return family

    def _node_reports(self) -> Metric:
        labels = ["environment", "verdict", "basis"]
        family = GaugeMetricFamily(
            "gpuenv_node_reports", "Node reports by the verdict they show.", labels=labels
        )
        tally = Tally(
            (one.environment, one.verdict, MEASURED if one.current else "")
            for one in self._cache.reports.values()
        )
        for values, count in sorted(tally.items()):
            family.add_metric(values, count)
        return family

    def _environment_nodes(self) -> Metric:
        family = GaugeMetricFamily(
            "gpuenv_environment_nodes",
            "Nodes that an environment selects, by what happens there, as of the last plan.",
            labels=["environment", "state"],
        )
        for environment, counts in self._counts.items():
            for state, count in counts._asdict().items():
                family.add_metric([environment, state], count)
        return family

    def _labels_held_back(self) -> Metric:
        family = GaugeMetricFamily(
            "gpuenv_labels_held_back",
            "Nodes whose label a mass change holds back, as of the last plan; 0 without one.",
            labels=["environment"],
        )
        for environment, nodes in self._held.items():
            family.add_metric([environment], nodes)
        return family

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class _Gauges:
    """A Prometheus collector that computes the gauges anew at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.gauges()


def _runs(record: ReportRecord | None) -> dict[str, tuple[Verdict, str]]:
    """Return a dict: the id of each run in a node report -> its verdict and reason, as labels have them."""
    if record is None:
        return {}
    runs: dict[str, tuple[Verdict, str]] = {}
    if record.attempt is not None:
        runs[record.attempt.run_id] = (Verdict.UNKNOWN, _documented(record.attempt.reason))
    if record.result is not None:
        runs[record.result.run_id] = (record.result.verdict, _documented(record.result.reason))
    runs.pop("", None)
    return runs


def _documented(reason: str) -> str:
    """Return a reason, or OTHER if no page documents it. A result that is Compatible may have no reason, which is ""."""
    return reason if not reason or reasons.known(reason) else OTHER
