"""Floors: figures against minima and peers, and what follows for a GPU that has no figure."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.support.assessed import A100, HEALTHY, judge, told
from tests.support.gpu_fixtures import DIRECTORY

from gpuenv.api.spec.floor import Floor
from gpuenv.assess.facts import Benchmark, NodeFacts, NotMeasured, Sharing, Source
from gpuenv.assess.model import Status, Verdict
from gpuenv.assess.policies.floors import peer_key
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document

BF16 = Floor("MatMul", "BF16", min_tflops=Decimal(180))
MATMUL = Benchmark("MatMul", 0, "BF16", "TFLOPS", 200.0)


@pytest.mark.parametrize(
    ("floor", "verdict", "reason"),
    [
        (BF16, "Compatible", ""),
        (replace(BF16, min_tflops=Decimal(220)), "Degraded", "BelowFloor"),
        (replace(BF16, products=("NVIDIA H100*",), min_tflops=Decimal(900)), "Compatible", ""),
        (Floor("MatMul", "FP16", min_tflops=Decimal(180)), "Unknown", "FloorNotMeasured"),
        (Floor("DeviceMemory", min_gbps=Decimal(1000)), "Unknown", "FloorNotMeasured"),
        (Floor("MatMul", "BF16", min_gbps=Decimal(1000)), "Unknown", "FloorNotMeasured"),
        (Floor("MatMul", "BF16", min_percent_of_peers=85), "Compatible", ""),
    ],
)
def test_floors(floor: Floor, verdict: str, reason: str) -> None:
    found = judge(replace(HEALTHY, benchmarks=(MATMUL,)), None, floor)
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_a_figure_equal_to_its_floor_reaches_it() -> None:
    """The float 57.3 is a little less than the number 57.3 that somebody wrote."""
    facts = replace(HEALTHY, benchmarks=(replace(MATMUL, median=57.3),))
    assert judge(facts, None, replace(BF16, min_tflops=Decimal("57.3"))).verdict is Verdict.COMPATIBLE
    below = judge(facts, None, replace(BF16, min_tflops=Decimal("57.31")))
    assert below.message == "MatMul BF16 on GPU 0: 57.3 TFLOPS, the floor is 57.31"


def test_floors_against_peers() -> None:
    facts = replace(HEALTHY, benchmarks=(MATMUL,))
    peers = {peer_key("MatMul", "BF16", "NVIDIA A100-SXM4-80GB"): 250.0}
    floor = Floor("MatMul", "BF16", min_percent_of_peers=85)
    assert judge(facts, None, floor, peers=peers).reason == "BelowFloor"
    lower = replace(floor, min_percent_of_peers=75)
    assert judge(facts, None, lower, peers=peers).verdict is Verdict.COMPATIBLE


def test_a_figure_without_a_unit_reaches_no_floor_in_tflops() -> None:
    rows = [{"benchmark": "MatMul", "gpu": 0, "dtype": "BF16", "median": 200}]
    figures = facts_from_document({"benchmarks": rows}, NodeFacts()).benchmarks
    found = judge(replace(HEALTHY, benchmarks=figures), None, BF16)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "FloorNotMeasured")


def row(dtype: str, median: float | None) -> Benchmark:
    cause = None if median is not None else NotMeasured.UNSUPPORTED
    return Benchmark("MatMul", 0, dtype, "TFLOPS", median, not_measured=cause, detail="" if median else "no")


def test_a_floor_without_a_data_type_applies_to_each_that_was_measured() -> None:
    facts = replace(HEALTHY, benchmarks=(row("FP32", 17.85), row("FP16", 276.0), row("FP8", None)))
    floor = Floor("MatMul", min_tflops=Decimal(100))
    found = judge(facts, None, floor)
    assert (found.verdict, found.message) == (
        Verdict.DEGRADED,
        "MatMul FP32 on GPU 0: 17.85 TFLOPS, the floor is 100",
    )
    checks = [(check.status, check.message) for check in found.checks if check.name == "floor-matmul"]
    assert checks[1:] == [(Status.PASS, "MatMul FP16 on GPU 0: 276 TFLOPS reaches 100")]
    assert judge(facts, None, replace(floor, min_tflops=Decimal(15))).verdict is Verdict.COMPATIBLE


def test_a_floor_without_a_data_type_compares_each_with_its_own_peers() -> None:
    facts = replace(HEALTHY, benchmarks=(row("FP32", 17.0), row("FP16", 276.0)))
    peers = {
        peer_key("MatMul", dtype, "NVIDIA A100-SXM4-80GB"): median
        for dtype, median in (("FP32", 18.0), ("FP16", 500.0))
    }
    found = judge(facts, None, Floor("MatMul", min_percent_of_peers=85), peers=peers)
    assert found.message.startswith("MatMul FP16 on GPU 0: 276 TFLOPS is 55 %")


def unmeasured(cause: NotMeasured | None, detail: str, floor: Floor = BF16, **changes: Any) -> Any:
    """Return the assessment of a floor on a GPU whose figure was not measured."""
    figure = Benchmark(floor.benchmark, 0, floor.dtype or "", "TFLOPS", not_measured=cause, detail=detail)
    return judge(replace(HEALTHY, benchmarks=(figure,), **changes), None, floor)


def test_a_gpu_without_the_data_type_cannot_reach_the_floor() -> None:
    words = "compute capability 7.5 has no bf16 in hardware"
    found = unmeasured(NotMeasured.UNSUPPORTED, words)
    assert (found.verdict, found.reason) == (Verdict.DEGRADED, "BelowFloor")
    assert found.message == f"MatMul BF16 on GPU 0 cannot reach the floor of 180 TFLOPS: {words}"
    (remedy,) = found.checks[0].remedies
    assert (remedy.action, "the floor's products" in remedy.message) == ("ChangeEnvironment", True)


def test_gpus_without_the_data_type_are_not_compared_with_peers() -> None:
    floor = Floor("MatMul", "FP8", min_percent_of_peers=85)
    found = unmeasured(NotMeasured.UNSUPPORTED, "compute capability 8.0 has no fp8 in hardware", floor)
    assert found.verdict is Verdict.COMPATIBLE
    assert [(check.status, check.reason) for check in found.checks if check.name == "floor-matmul-fp8"] == [
        (Status.NOTE, "FloorNotMeasured")
    ]


def test_a_floor_is_not_for_gpus_that_its_products_leave_out() -> None:
    floor = replace(BF16, products=("NVIDIA H100*",))
    found = unmeasured(NotMeasured.UNSUPPORTED, "compute capability 7.5 has no bf16 in hardware", floor)
    assert found.verdict is Verdict.COMPATIBLE
    assert not [check for check in found.checks if check.name.startswith("floor")]


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        (NotMeasured.SHARED, {}),
        (None, {"node": replace(HEALTHY.node, sharing=Sharing.TIME_SLICING)}),
        (None, {"gpus": (replace(A100, mig="1g.10gb"),)}),
    ],
    ids=["said by the probe", "said by a label", "MIG slice"],
)
def test_on_devices_that_are_never_measured_a_floor_is_a_note(
    cause: NotMeasured | None, changes: dict[str, Any]
) -> None:
    found = unmeasured(cause, "", **changes)
    assert found.verdict is Verdict.COMPATIBLE
    (check,) = [check for check in found.checks if check.name == "floor-matmul-bf16"]
    assert (check.status, check.reason) == (Status.NOTE, "FloorNotMeasured")
    assert check.message == "MatMul BF16 on GPU 0 is not judged: shared GPUs and MIG slices are not measured"


def test_a_busy_gpu_is_tried_again_soon() -> None:
    found = unmeasured(NotMeasured.MEMORY_IN_USE, "only 900 MiB of GPU memory are free, 4096 are needed")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "GpuBusy")


@pytest.mark.parametrize(
    "cause", [NotMeasured.PROFILE_TIME, NotMeasured.STAGE_TIME, NotMeasured.FAILED, None]
)
def test_what_was_not_measured_this_time_is_unknown(cause: NotMeasured | None) -> None:
    found = unmeasured(cause, "the words of the probe")
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "FloorNotMeasured")
    assert found.message == "MatMul BF16 on GPU 0 was not measured: the words of the probe"


def test_a_floor_without_time_says_which_profile_has_more() -> None:
    found = unmeasured(NotMeasured.PROFILE_TIME, "the time of profile Quick (10 s) is used up")
    (check,) = [check for check in found.checks if check.name == "floor-matmul-bf16"]
    (remedy,) = check.remedies
    assert remedy.message.startswith("Set benchmarks.profile to Standard.")


def test_figures_that_the_report_had_no_room_for_are_not_measured() -> None:
    found = judge(replace(HEALTHY, omitted=("commands.tail", "benchmarks")), None, BF16)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "FloorNotMeasured")
    assert "had no room for the figures" in found.message


def test_without_a_probe_a_floor_changes_no_verdict() -> None:
    given = replace(HEALTHY, source=Source.FLAGS, steps=())
    assert judge(given).verdict is judge(given, None, BF16).verdict is Verdict.COMPATIBLE
    (check,) = [check for check in judge(given, None, BF16).checks if check.reason == "ExpectationUnknown"]
    assert (check.name, check.status, check.message, check.remedies) == (
        "expect-probe",
        Status.NOTE,
        "only a probe on the node can judge floors (MatMul): left out here",
        (),
    )


def test_floors_on_a_real_gpu() -> None:
    """An H100 had figures for everything with the profile Standard, and with Quick for six of ten."""
    recorded = json.loads((DIRECTORY / "nvidia-h100-80gb-hbm3-580.159.04-2026-11-28.json").read_text())

    def verdicts(profile: str) -> list[str]:
        reports = recorded["profiles"][profile]["reports"]
        facts = facts_from_document(join_reports(reports["facts"], reports["kernels"]), NodeFacts())
        floors = (
            Floor("MatMul", "FP8", min_tflops=Decimal(900)),
            Floor("DeviceMemory", min_gbps=Decimal(2000)),
            Floor("DeviceMemory", min_gbps=Decimal(9000)),
        )
        return [judge(facts, None, floor).verdict for floor in floors]

    assert verdicts("Standard") == ["Compatible", "Compatible", "Degraded"]
    assert verdicts("Quick") == ["Compatible", "Unknown", "Unknown"]


def test_no_setting_of_benchmarks_is_advised_where_kernels_did_not_pass() -> None:
    started = judge(replace(HEALTHY, steps=()), None, BF16)
    (check,) = [one for one in started.checks if one.reason == "FloorNotMeasured"]
    assert [one.action for one in check.remedies] == ["Investigate"]
    assert "benchmarks.profile" not in check.remedies[0].message
