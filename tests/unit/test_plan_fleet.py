"""Several environments on several nodes: selection, caps, order, leaving, removal, peers."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import NOW, environment, node, waiting
from tests.support.started_worlds import fleet
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import names, reasons
from gpuenv.controller.cache import Table
from gpuenv.controller.kube.kinds import REPORTS
from gpuenv.plan.actions import Cleanup, CreatePod, LeaveNode, OrphanedEnvironment, Plan, SetLabel
from gpuenv.plan.context import make_context, make_tables
from gpuenv.plan.memo import Memo
from gpuenv.plan.objects import records
from gpuenv.plan.settings import Settings
from gpuenv.plan.validation.desired_state import DesiredState
from gpuenv.plan.validation.selection import is_selected


def created(planned: Plan) -> list[tuple[str, str]]:
    return [(one.environment, one.node) for one in planned.actions if isinstance(one, CreatePod)]


def stored_memory(world: World, node: str) -> dict[str, Any]:
    """Return what the report of a node stores for the operator alone."""
    memory: dict[str, Any] = world.objects("reports")[f"pt.{node}"]["status"]["internal"]
    return memory


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
    world = fleet(3)
    world.cache.synced = False
    planned = world.plan()
    assert (planned.actions, planned.wake_at) == ((), None)


@pytest.mark.parametrize(
    ("limit", "nodes", "expected"),
    [(3, 20, 3), ("10%", 20, 2), ("10%", 21, 3), ("10%", 4, 1), ("100%", 7, 7), (50, 4, 4)],
)
def test_so_many_at_a_time(limit: int | str, nodes: int, expected: int) -> None:
    world = fleet(nodes, strategy={"maxConcurrent": limit})
    assert len(created(world.step())) == expected
    world.settle()
    assert len(world.live_pods()) == expected


def test_the_operators_own_cap_is_over_all_environments() -> None:
    world = fleet(6, settings={"max_probes": 4})
    world.environment("other", image="a/b:1")
    world.settle()
    assert len(world.live_pods()) == 4


def test_one_probe_pod_a_node_over_all_environments() -> None:
    world = fleet(3)
    world.environment("other", image="a/b:1")
    world.settle()
    assert sorted(pod.node for pod in world.live_pods()) == ["n00", "n01", "n02"]
    world.finish_all()
    assert sorted(pod.node for pod in world.live_pods()) == ["n00", "n01", "n02"]
    world.finish_all()
    assert {world.verdict(name, "n01") for name in ("pt", "other")} == {("Compatible", "")}


def test_the_most_urgent_run_goes_first() -> None:
    world = fleet(6)
    world.settle()
    for index in range(5):
        wrong = builders.wrong_matmul(world.run_id(node=f"n{index:02}")) if index == 1 else None
        world.finish(node=f"n{index:02}", kernels=wrong)
    world.pod("Pending", node="n05", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "x"))
    world.settings = Settings(config_map="x", max_probes=0)
    world.settle()
    world.now += 2 * 604800
    world.node("n02", boot="boot-2")
    world.node("n06")
    world.annotate("reports", "pt.n00", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    order = []
    for _ in range(7):
        world.settings = Settings(config_map="x", max_probes=1)
        order += [name for _, name in created(world.step())]
        world.settings = Settings(config_map="x", max_probes=0)
        world.finish_all()
    assert order[:5] == ["n00", "n01", "n02", "n06", "n05"]
    assert sorted(order[5:]) == ["n03", "n04"]


def test_a_node_that_leaves_keeps_its_label_for_a_grace_period() -> None:
    world = fleet(2, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    for name in ("n00", "n01"):
        world.node(name, labels={"pool": "a"})
    world.settle()
    world.finish_all()
    world.node("n00", labels={"pool": "b"})
    world.settle()
    assert world.label(node="n00") == "Compatible"
    assert world.status()["summary"]["selected"] == 1
    assert world.plan().wake_at == world.now + 60
    world.step(60)
    assert world.plan().wake_at == world.now + 240
    planned = world.step(240)
    assert [one for one in planned.actions if isinstance(one, LeaveNode)] == [
        LeaveNode("pt", "n00", "uid-n00", gone=False)
    ]
    world.settle()
    assert (world.label(node="n00"), world.verdict(node="n00")) == (None, None)


def test_an_operator_that_is_restarted_every_four_minutes_removes_what_is_left() -> None:
    world = fleet(2, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    for name in ("n00", "n01"):
        world.node(name, labels={"pool": "a"})
    world.settle()
    world.finish_all()
    world.node("n00", labels={"pool": "b"})
    world.gone("nodes", "n01")
    world.settle()
    for seconds in (120, 120, 59):
        world.step(seconds)
        assert world.verdict(node="n00") == world.verdict(node="n01") == ("Compatible", "")
        world.restart()
        world.settle()
    world.step(2)
    world.settle()
    assert world.label(node="n00") is None
    assert world.verdict(node="n00") is None
    assert world.verdict(node="n01") is None


def test_a_mark_costs_one_write_and_goes_when_the_node_comes_back() -> None:
    world = fleet(1, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    world.node("n00", labels={"pool": "a"})
    world.settle()
    world.finish_all()
    before = len(world.kube.writes())

    def written() -> list[tuple[str, str]]:
        return [call for call in world.kube.writes()[before:] if call[1].startswith(REPORTS)]

    world.node("n00", labels={"pool": "b"})
    world.settle()
    world.step(59)
    assert written() == []
    for _ in range(4):
        world.step(55)
    assert written() == [("PATCH", f"{REPORTS}/pt.n00/status")]
    assert stored_memory(world, "n00")["leftSince"]
    world.node("n00", labels={"pool": "a"})
    world.settle()
    assert "leftSince" not in stored_memory(world, "n00")
    assert (world.label(node="n00"), world.verdict(node="n00")) == ("Compatible", ("Compatible", ""))
    world.node("n00", labels={"pool": "b"})
    world.step(250)
    world.restart()
    planned = world.step(1)
    assert not any(isinstance(one, LeaveNode) for one in planned.actions), "an older mark does not count"


def test_a_mark_in_the_future_counts_as_now() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    world.gone("nodes", "n00")
    world.now += 86_400
    world.step()
    world.step(61)
    world.now -= 86_400
    world.restart()
    world.step()
    world.step(301)
    world.settle()
    assert world.verdict(node="n00") is None


def test_a_node_whose_grace_ended_while_no_operator_ran_is_left_after_a_second_look() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    world.gone("nodes", "n00")
    world.step()
    world.step(61)
    world.restart()
    world.now += 4000
    first = world.step()
    assert not any(isinstance(one, LeaveNode) for one in first.actions)
    assert first.wake_at is not None
    assert world.now < first.wake_at <= world.now + 2
    second = world.step(first.wake_at - world.now)
    assert [one.node for one in second.actions if isinstance(one, LeaveNode)] == ["n00"]


def test_a_node_that_comes_back_in_time_loses_nothing() -> None:
    world = fleet(1, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    world.node("n00", labels={"pool": "a"})
    world.settle()
    world.finish_all()
    world.node("n00", labels={"pool": "b"})
    world.step(200)
    world.node("n00", labels={"pool": "a"})
    world.step(200)
    world.node("n00", labels={"pool": "b"})
    planned = world.step(200)
    assert not any(isinstance(one, LeaveNode) for one in planned.actions)


def test_probes_on_a_deselected_node_go_at_once() -> None:
    world = fleet(1, nodes={"selector": {"matchLabels": {"pool": "a"}}})
    world.node("n00", labels={"pool": "a"})
    world.settle()
    world.node("n00", labels={"pool": "b"})
    world.settle()
    assert not world.objects("pods")


def test_an_outage_of_the_node_cache_removes_nothing() -> None:
    """All nodes vanish from the cache, and each live GET finds its node."""
    world = fleet(5)
    world.settle()
    world.finish_all()
    hidden, world.cache.nodes = world.cache.nodes, Table()
    for _ in range(4):
        planned = world.step(301)
        assert not any(isinstance(one, SetLabel | Cleanup) for one in planned.actions)
        assert all(one.gone for one in planned.actions if isinstance(one, LeaveNode))
    asked = [one for one in planned.actions if isinstance(one, LeaveNode)]
    assert len(asked) == 5, "once in a grace period, not in every plan"
    assert not [one for one in world.step(1).actions if isinstance(one, LeaveNode)]
    world.cache.nodes = hidden
    world.settle()
    assert {world.label(node=f"n{index:02}") for index in range(5)} == {"Compatible"}
    assert {world.verdict(node=f"n{index:02}") for index in range(5)} == {("Compatible", "")}


def test_a_node_that_is_really_gone_takes_its_report_with_it() -> None:
    world = fleet(2)
    world.settle()
    world.finish_all()
    world.gone("nodes", "n00")
    world.settle()
    world.step(301)
    world.settle()
    assert world.verdict(node="n00") is None
    assert world.status()["summary"]["compatible"] == 1


def test_a_deleted_environment_takes_everything_with_it() -> None:
    world = fleet(2)
    world.environment("other", image="a/b:1", publish={"nodeCondition": "Measured"})
    world.settle()
    world.finish_all()
    world.delete("environments", "pt")
    planned = world.step()
    assert Cleanup("pt", "uid-pt") in planned.actions
    world.settle()
    assert world.verdict(node="n00") is None
    assert world.label(node="n00") is None
    assert not world.pods_of("pt", "n00")
    world.finish_all()
    assert world.label("other", "n00") == "Compatible"


def test_traces_of_an_unknown_environment_are_cleaned_up() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    world.gone("environments", "pt")
    assert world.plan().actions == (OrphanedEnvironment("pt"),)
    world.settle()
    assert (world.label(node="n00"), world.verdict(node="n00")) == (None, None)


def test_a_label_alone_tells_of_an_unknown_environment() -> None:
    world = World()
    world.node("n00", labels={names.node_label("old"): "Compatible"})
    world.settle()
    assert world.label("old", "n00") is None


def test_a_pod_that_ends_after_its_environment_is_deleted_once() -> None:
    world = fleet(1)
    world.settle()
    world.pod("Running", node="n00", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    world.delete("environments", "pt")
    assert world.step().actions == (Cleanup("pt", "uid-pt"),)
    assert not world.objects("environments")
    (pod,) = world.objects("pods").values()
    assert pod["metadata"]["deletionTimestamp"]
    assert world.step().actions == ()
    world.gone("pods", pod["metadata"]["name"])
    assert world.step().actions == ()
    assert not world.cache.pods


FLOOR = {"profile": "Quick", "floors": [{"benchmark": "MatMul", "dtype": "BF16", "minPercentOfPeers": 85}]}


def slow(run: str, tflops: float) -> dict[str, Any]:
    report = builders.kernels_report(run)
    report["benchmarks"][0]["median"] = tflops
    return report


def test_a_node_far_below_its_peers_is_degraded_after_a_second_run() -> None:
    world = fleet(5, benchmarks=FLOOR)
    world.settle()
    for index in range(4):
        world.finish(node=f"n{index:02}")
    world.finish(node="n04", kernels=slow(world.run_id(node="n04"), 100.0))
    world.settle()
    assert world.verdict(node="n04") == ("Unknown", reasons.BelowFloor)
    assert [pod.node for pod in world.live_pods()] == ["n04"]
    world.finish(node="n04", kernels=slow(world.run_id(node="n04"), 101.0))
    world.settle()
    assert world.verdict(node="n04") == ("Degraded", reasons.BelowFloor)
    assert world.condition("Compatible") == ("False", reasons.SomeDegraded)
    assert {world.verdict(node=f"n{index:02}") for index in range(4)} == {("Compatible", "")}


def test_too_few_peers_are_no_crowd() -> None:
    world = fleet(2, benchmarks=FLOOR)
    world.settle()
    world.finish(node="n00")
    world.finish(node="n01", kernels=slow(world.run_id(node="n01"), 100.0))
    world.settle()
    assert world.verdict(node="n01") == ("Compatible", "")


def test_peers_are_the_median_of_the_same_inputs_in_steps() -> None:
    world = fleet(3, benchmarks=FLOOR)
    world.settle()
    for index, tflops in enumerate((200.0, 240.0, 241.0)):
        world.finish(node=f"n{index:02}", kernels=slow(world.run_id(node=f"n{index:02}"), tflops))
    world.settle()
    record = world.cache.environments["pt"]
    context = make_context(record, world.settings, make_tables(KNOWLEDGE), world.cache.reports.values())
    ((key, figure),) = context.peers.items()
    assert key == "MatMul/BF16/NVIDIA A100-SXM4-80GB"
    assert abs(figure - 240.0) <= 0.01 * 240.0


def desired_states(memo: Memo) -> dict[str, DesiredState]:
    parts = memo.environments["pt"].parts
    return {name: state for part in parts for name, (_, state) in part.validations.items()}


def test_a_status_write_judges_nothing_anew() -> None:
    """Only the environment's status changed: desired states are reused, and the same plan results."""
    world = fleet(2)
    world.settle()
    assert world.memo is not None
    before = desired_states(world.memo)
    world.put("environments", world.get("environments", "pt"))
    world.plan()
    after = desired_states(world.memo)
    assert all(after[name] is before[name] for name in before)
