"""Several environments on several nodes: selection, caps, order, leaving, removal, peers."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import NOW, environment, node, waiting
from tests.support.world import KNOWLEDGE, World, fleet

from gpuenv.api import names, reasons
from gpuenv.plan.actions import Cleanup, CreatePod, LeaveNode, OrphanedEnvironment, Plan, SetLabel
from gpuenv.plan.context import make_context, make_tables
from gpuenv.plan.objects import records
from gpuenv.plan.snapshot import Settings
from gpuenv.plan.validation.selection import is_selected


def created(planned: Plan) -> list[tuple[str, str]]:
    return [(one.environment, one.node) for one in planned.actions if isinstance(one, CreatePod)]


SELECTION: list[tuple[str, dict[str, Any], dict[str, Any], bool, bool]] = [
    ("device", {}, {}, False, True),
    ("device at zero", {}, {"gpus": (0, 0), "labels": {"nvidia.com/gpu.present": "false"}}, False, True),
    ("labels only", {}, {"gpus": None}, False, True),
    ("neither", {}, {"gpus": None, "labels": {"nvidia.com/gpu.present": "false"}}, False, False),
    ("known", {}, {"gpus": None, "labels": {"nvidia.com/gpu.present": "false"}}, True, True),
    ("label", {"matchLabels": {"pool": "a"}}, {"labels": {"pool": "a"}}, False, True),
    ("other label", {"matchLabels": {"pool": "a"}}, {"labels": {"pool": "b"}}, True, False),
    ("in", {"matchExpressions": [{"key": "p", "operator": "In", "values": ["a", "b"]}]}, {"labels": {"p": "b"}}, False, True),
    ("not in", {"matchExpressions": [{"key": "p", "operator": "NotIn", "values": ["a"]}]}, {}, False, True),
    ("is in", {"matchExpressions": [{"key": "p", "operator": "NotIn", "values": ["a"]}]}, {"labels": {"p": "a"}}, False, False),
    ("exists", {"matchExpressions": [{"key": "p", "operator": "Exists"}]}, {}, False, False),
    ("absent", {"matchExpressions": [{"key": "p", "operator": "DoesNotExist"}]}, {}, False, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("selector", "on", "known", "expected"), [row[1:] for row in SELECTION], ids=[row[0] for row in SELECTION]
)
def test_selection(selector: dict[str, Any], on: dict[str, Any], known: bool, expected: bool) -> None:
    spec = records.environment_record(environment(nodes={"selector": selector})).spec
    assert spec is not None
    assert is_selected(spec, records.node_record(node(**on)), known=known) is expected


def test_before_everything_was_listed_nothing_is_planned() -> None:
    made = fleet(3)
    made.cache.synced = False
    planned = made.plan()
    assert (planned.actions, planned.wake_at) == ((), None)


@pytest.mark.parametrize(
    ("limit", "nodes", "expected"),
    [(3, 20, 3), ("10%", 20, 2), ("10%", 21, 3), ("10%", 4, 1), ("100%", 7, 7), (50, 4, 4)],
)
def test_so_many_at_a_time(limit: int | str, nodes: int, expected: int) -> None:
    made = fleet(nodes, schedule={"maxConcurrent": limit})
    assert len(created(made.step())) == expected
    made.settle()
    assert len(made.live_pods()) == expected


def test_the_operators_own_cap_is_over_all_environments() -> None:
    made = fleet(6, settings={"max_probes": 4})
    made.environment("other", image="a/b:1")
    made.settle()
    assert len(made.live_pods()) == 4


def test_one_probe_pod_a_node_over_all_environments() -> None:
    made = fleet(3)
    made.environment("other", image="a/b:1")
    made.settle()
    assert sorted(pod.node for pod in made.live_pods()) == ["n00", "n01", "n02"]
    made.finish_all()
    assert sorted(pod.node for pod in made.live_pods()) == ["n00", "n01", "n02"]
    made.finish_all()
    assert {made.verdict(name, "n01") for name in ("pt", "other")} == {("Compatible", "")}


def test_the_most_urgent_run_goes_first() -> None:
    made = fleet(6)
    made.settle()
    for index in range(5):
        wrong = builders.wrong_matmul(made.run_id(node=f"n{index:02}")) if index == 1 else None
        made.finish(node=f"n{index:02}", kernels=wrong)
    made.pod("Pending", node="n05", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "x"))
    made.settings = Settings(config_map="x", max_probes=0)
    made.settle()
    made.now += 2 * 604800
    made.node("n02", boot="boot-2")
    made.node("n06")
    made.annotate("reports", "pt.n00", names.ANNOTATION_REVALIDATE, "now")
    made.settle()
    order = []
    for _ in range(7):
        made.settings = Settings(config_map="x", max_probes=1)
        order += [name for _, name in created(made.step())]
        made.settings = Settings(config_map="x", max_probes=0)
        made.finish_all()
    assert order[:5] == ["n00", "n01", "n02", "n06", "n05"]
    assert sorted(order[5:]) == ["n03", "n04"]


def test_a_node_that_leaves_keeps_its_label_for_a_grace_period() -> None:
    made = fleet(2, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    for name in ("n00", "n01"):
        made.node(name, labels={"pool": "a"})
    made.settle()
    made.finish_all()
    made.node("n00", labels={"pool": "b"})
    made.settle()
    assert made.label(node="n00") == "Compatible"
    assert made.status()["summary"]["selected"] == 1
    wake_at = made.plan().wake_at
    assert wake_at == made.now + 300
    planned = made.step(300)
    assert [one for one in planned.actions if isinstance(one, LeaveNode)] == [
        LeaveNode("pt", "n00", "uid-n00", gone=False)
    ]
    made.settle()
    assert (made.label(node="n00"), made.verdict(node="n00")) == (None, None)


def test_a_node_that_comes_back_in_time_loses_nothing() -> None:
    made = fleet(1, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    made.node("n00", labels={"pool": "a"})
    made.settle()
    made.finish_all()
    made.node("n00", labels={"pool": "b"})
    made.step(200)
    made.node("n00", labels={"pool": "a"})
    made.step(200)
    made.node("n00", labels={"pool": "b"})
    planned = made.step(200)
    assert not any(isinstance(one, LeaveNode) for one in planned.actions)


def test_probes_on_a_deselected_node_go_at_once() -> None:
    made = fleet(1, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    made.node("n00", labels={"pool": "a"})
    made.settle()
    made.node("n00", labels={"pool": "b"})
    made.settle()
    assert not made.raw["pods"]


def test_an_outage_of_the_node_cache_removes_nothing() -> None:
    """All nodes vanish from the cache, and each live GET finds its node."""
    made = fleet(5)
    made.settle()
    made.finish_all()
    hidden, made.cache.nodes = made.cache.nodes, {}
    for _ in range(4):
        planned = made.step(301)
        assert not any(isinstance(one, SetLabel | Cleanup) for one in planned.actions)
        assert all(one.gone for one in planned.actions if isinstance(one, LeaveNode))
    asked = [one for one in planned.actions if isinstance(one, LeaveNode)]
    assert len(asked) == 5, "once in a grace period, not in every plan"
    assert not [one for one in made.step(1).actions if isinstance(one, LeaveNode)]
    made.cache.nodes = hidden
    made.settle()
    assert {made.label(node=f"n{index:02}") for index in range(5)} == {"Compatible"}
    assert {made.verdict(node=f"n{index:02}") for index in range(5)} == {("Compatible", "")}


def test_a_node_that_is_really_gone_takes_its_report_with_it() -> None:
    made = fleet(2)
    made.settle()
    made.finish_all()
    made.gone("nodes", "n00")
    made.settle()
    made.step(301)
    made.settle()
    assert made.verdict(node="n00") is None
    assert made.status()["summary"]["text"] == "1/1"


def test_a_deleted_environment_takes_everything_with_it() -> None:
    made = fleet(2)
    made.environment("other", image="a/b:1", publish={"nodeCondition": True})
    made.settle()
    made.finish_all()
    raw = made.raw["environments"]["pt"]
    raw["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    made.put("environments", raw)
    planned = made.step()
    assert Cleanup("pt", "uid-pt") in planned.actions
    made.settle()
    assert made.verdict(node="n00") is None
    assert made.label(node="n00") is None
    assert not made.pods_of("pt", "n00")
    made.finish_all()
    assert made.label("other", "n00") == "Compatible"


def test_traces_of_an_unknown_environment_are_cleaned_up() -> None:
    made = fleet(1)
    made.settle()
    made.finish_all()
    made.gone("environments", "pt")
    assert made.plan().actions == (OrphanedEnvironment("pt"),)
    made.settle()
    assert (made.label(node="n00"), made.verdict(node="n00")) == (None, None)


def test_a_label_alone_tells_of_an_unknown_environment() -> None:
    made = World()
    made.node("n00", labels={names.node_label("old"): "Compatible"})
    made.settle()
    assert made.label("old", "n00") is None


FLOOR = {"profile": "Quick", "floors": [{"kernel": "matmul", "dtype": "bf16", "minPercentOfPeers": 85}]}


def slow(run: str, tflops: float) -> dict[str, Any]:
    report = builders.kernels_report(run)
    report["benchmarks"][0]["median"] = tflops
    return report


def test_a_node_far_below_its_peers_is_degraded_after_a_second_run() -> None:
    made = fleet(5, benchmarks=FLOOR)
    made.settle()
    for index in range(4):
        made.finish(node=f"n{index:02}")
    made.finish(node="n04", kernels=slow(made.run_id(node="n04"), 100.0))
    made.settle()
    assert made.verdict(node="n04") == ("Unknown", reasons.BelowFloor)
    assert [pod.node for pod in made.live_pods()] == ["n04"]
    made.finish(node="n04", kernels=slow(made.run_id(node="n04"), 101.0))
    made.settle()
    assert made.verdict(node="n04") == ("Degraded", reasons.BelowFloor)
    assert made.condition("Compatible") == ("True", reasons.SomeDegraded)
    assert {made.verdict(node=f"n{index:02}") for index in range(4)} == {("Compatible", "")}


def test_too_few_peers_are_no_crowd() -> None:
    made = fleet(2, benchmarks=FLOOR)
    made.settle()
    made.finish(node="n00")
    made.finish(node="n01", kernels=slow(made.run_id(node="n01"), 100.0))
    made.settle()
    assert made.verdict(node="n01") == ("Compatible", "")


def test_peers_are_the_median_of_the_same_inputs_in_steps() -> None:
    made = fleet(3, benchmarks=FLOOR)
    made.settle()
    for index, tflops in enumerate((200.0, 240.0, 241.0)):
        made.finish(node=f"n{index:02}", kernels=slow(made.run_id(node=f"n{index:02}"), tflops))
    made.settle()
    record = made.cache.environments["pt"]
    context = make_context(record, made.settings, make_tables(KNOWLEDGE), made.cache.reports.values())
    ((key, figure),) = context.peers.items()
    assert key == "matmul/bf16/NVIDIA A100-SXM4-80GB"
    assert abs(figure - 240.0) <= 0.01 * 240.0


def test_a_status_write_judges_nothing_anew() -> None:
    """Only the environment's status changed: desired states are reused, and the same plan results."""
    made = fleet(2)
    made.settle()
    assert made.memo is not None
    before = {name: entry[1] for name, entry in made.memo.environments["pt"].validations.items()}
    made.put("environments", made.raw["environments"]["pt"])
    made.plan()
    after = {name: entry[1] for name, entry in made.memo.environments["pt"].validations.items()}
    assert all(after[name] is before[name] for name in before)
