"""The gauges and counters of ``/metrics``, as docs/operator.md lists them."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import fleet

from gpuenv import __version__
from gpuenv.api import reasons
from gpuenv.assess.model import Verdict
from gpuenv.controller.cache import Cache
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.plan.actions import NodeCounts, Plan, WriteReport
from gpuenv.plan.snapshot import Attempt, ReportRecord, Result

PAGE = Path(__file__).parents[2] / "docs/operator.md"


def record(node: str = "a", **fields: Any) -> ReportRecord:
    shown = {"verdict": Verdict.COMPATIBLE, "reason": "", "message": ""}
    identity = {"name": f"e.{node}", "uid": "", "environment": "e", "node": node, "node_uid": ""}
    return ReportRecord(**{"environment_generation": 1, **identity, **shown, **fields})


def result(verdict: Verdict, reason: str) -> Result:
    return Result(verdict, reason, "", "run1", "inputs", "fingerprint", 0.0, "key")


def attempt(reason: str) -> Attempt:
    return Attempt("run1", reason, "", (), 0.0, "inputs", "fingerprint", 1)


def test_a_report_counts_as_measured_while_its_measurement_is_current() -> None:
    cache = Cache()
    for node, current in (("a", True), ("b", True), ("c", False)):
        cache.reports["e", node] = record(node, current=current)
    text = Metrics(cache).text().decode()
    assert 'gpuenv_node_reports{basis="Measured",environment="e",verdict="Compatible"} 2.0' in text
    assert 'gpuenv_node_reports{basis="",environment="e",verdict="Compatible"} 1.0' in text


def test_each_selected_node_is_in_one_state() -> None:
    world = fleet(20, strategy={"maxConcurrent": 3})
    assert world.plan().counts == {"pt": NodeCounts(running=0, waiting=20, settled=0)}
    world.settle()
    assert world.plan().counts == {"pt": NodeCounts(running=3, waiting=17, settled=0)}
    world.finish_all()
    world.settle()
    assert world.plan().counts == {"pt": NodeCounts(running=3, waiting=14, settled=3)}


def test_the_nodes_of_an_environment_that_is_gone_are_not_shown() -> None:
    metrics = Metrics(Cache())
    metrics.planned(Plan(counts={"e": NodeCounts(running=1, waiting=2, settled=3)}), 0.1)
    text = metrics.text().decode()
    for state, count in (("running", 1), ("waiting", 2), ("settled", 3)):
        assert f'gpuenv_environment_nodes{{environment="e",state="{state}"}} {count}.0' in text
    metrics.planned(Plan(), 0.1)
    assert "gpuenv_environment_nodes{" not in metrics.text().decode()


def test_labels_that_are_held_back_are_counted() -> None:
    metrics = Metrics(Cache())
    metrics.planned(Plan(held={"e": 41, "f": 0}), 0.1)
    text = metrics.text().decode()
    assert 'gpuenv_labels_held_back{environment="e"} 41.0' in text
    assert 'gpuenv_labels_held_back{environment="f"} 0.0' in text


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"result": result(Verdict.COMPATIBLE, "")}, 'reason="",verdict="Compatible"'),
        (
            {"result": result(Verdict.INCOMPATIBLE, reasons.DriverTooOld)},
            'reason="DriverTooOld",verdict="Incompatible"',
        ),
        ({"result": result(Verdict.DEGRADED, "OfAnotherVersion")}, 'reason="Other",verdict="Degraded"'),
        ({"attempt": attempt(reasons.GpusBusy)}, 'reason="GpusBusy",verdict="Unknown"'),
        # A run without an answer is remembered as an attempt, too, and counts once.
        (
            {"result": result(Verdict.UNKNOWN, reasons.GpusBusy), "attempt": attempt(reasons.GpusBusy)},
            'reason="GpusBusy",verdict="Unknown"',
        ),
    ],
)
def test_a_run_is_counted_by_verdict_and_reason(fields: dict[str, Any], labels: str) -> None:
    metrics = Metrics(Cache())
    written = record(**fields)
    metrics.report_written(WriteReport("e", "", "a", "", "e.a", True, {}, written), None, Cache())
    found = re.findall(r"^gpuenv_probe_runs_total\{(.*)\} (.*)$", metrics.text().decode(), re.M)
    assert found == [(f'environment="e",{labels}', "1.0")]


def test_times_are_points_in_time_and_absent_before_the_first() -> None:
    metrics = Metrics(Cache(), clock=lambda: builders.NOW)
    assert "_timestamp_seconds " not in metrics.text().decode()
    metrics.planned(Plan(), 0.1)
    metrics.swept()
    for name in ("plan", "sweep"):
        (found,) = re.findall(rf"^gpuenv_last_{name}_timestamp_seconds (.*)$", metrics.text().decode(), re.M)
        assert float(found) == builders.NOW


def test_the_version_is_shown() -> None:
    assert f'gpuenv_build_info{{version="{__version__}"}} 1.0' in Metrics(Cache()).text().decode()


def test_the_documentation_lists_every_metric_and_no_other() -> None:
    metrics = Metrics(Cache())
    metrics.planned(Plan(), 0.1)
    metrics.swept()
    metrics.skew = lambda: 0.0
    served = set(re.findall(r"^# TYPE (gpuenv_\w+) ", metrics.text().decode(), re.M))
    table = re.findall(r"^\| `gpuenv_.*$", PAGE.read_text(encoding="utf-8"), re.M)
    listed = {name for row in table for name in re.findall(r"`(gpuenv_\w+)`", row.split("|")[1])}
    assert {name for name in served if not name.endswith("_created")} == listed


def test_the_clock_skew_is_shown_once_it_is_known() -> None:
    metrics = Metrics(Cache())
    assert "gpuenv_clock_skew_seconds" not in metrics.text().decode()
    metrics.skew = lambda: -301.5
    assert "gpuenv_clock_skew_seconds -301.5\n" in metrics.text().decode()
