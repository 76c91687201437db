"""A plan assesses some results, and the next plans the others; everything else goes on meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.started_worlds import fleet
from tests.support.world import World

from gpuenv.plan import context, memo
from gpuenv.plan.actions import CreatePod, DeletePod, Plan, WriteReport
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.context import Validation
from gpuenv.plan.validation.desired_state import DesiredState, desired_state

NODES = 10
SLICE = 3


def answered(nodes: int = NODES, **spec: Any) -> World:
    """A fleet in which every node is Compatible, and nothing is left to do."""
    world = fleet(nodes, strategy={"maxConcurrent": "100%"}, **spec)
    world.settle()
    world.finish_all()
    assert world.condition("Ready")[0] == "True"
    assert not world.objects("pods")
    world.assessed_per_plan = SLICE
    return world


def expect(world: World, driver: str, environment: str = "pt") -> None:
    world.environment(environment, strategy={"maxConcurrent": "100%"}, expect={"driver": driver})


def of(plan: Plan, kind: type) -> list[Any]:
    return [action for action in plan.actions if isinstance(action, kind)]


def test_each_plan_assesses_its_part_and_the_next_goes_on_at_once(assessments: list[int]) -> None:
    world = answered()
    expect(world, ">=999")
    assessments.clear()
    counts, left = [], []
    while True:
        plan = world.step()
        counts.append(len(assessments))
        left.append(plan.put_off)
        if not plan.put_off:
            break
        assert plan.wake_at is not None
        assert plan.wake_at <= world.now
    assert counts == [3, 6, 9, 10], "three in each plan, and each result once"
    assert left == [7, 4, 1, 0]
    world.settle()
    assert {world.label(node=f"n{number:02}") for number in range(NODES)} == {"Incompatible"}


def test_a_plan_without_time_looks_at_no_other_outdated_result(monkeypatch: pytest.MonkeyPatch) -> None:
    world = answered()
    expect(world, ">=999")
    world.plan()
    looked: list[str] = []

    def counting(validation: Validation, now: float, allowance: Allowance) -> DesiredState:
        looked.append(validation.node.name)
        return desired_state(validation, now, allowance)

    monkeypatch.setattr(memo, "desired_state", counting)
    assert world.plan().put_off == NODES - 2 * SLICE
    assert looked == ["n03", "n04", "n05", "n06"], "the last of them found that the time is over"


def test_until_then_verdicts_stay_and_the_environment_is_not_ready() -> None:
    world = answered()
    assert world.condition("Compatible") == ("True", "AllCompatible")
    expect(world, ">=999")
    world.step()
    world.step()
    assert world.condition("Ready") == ("False", "ValidationRunning")
    assert world.condition("Compatible")[0] == "Unknown"
    (ready,) = [one for one in world.status()["conditions"] if one["type"] == "Ready"]
    assert ready["message"] == "4 nodes still to be assessed with the present expectations and tables"
    labels = [world.label(node=f"n{number:02}") for number in range(NODES)]
    assert labels == ["Incompatible"] * 6 + ["Compatible"] * 4
    generations = [
        world.get("reports", f"pt.n{number:02}")["status"]["environmentGeneration"] for number in range(NODES)
    ]
    assert generations == [2] * 6 + [1] * 4
    world.settle()
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.condition("Compatible") == ("False", "SomeIncompatible")


def test_a_new_version_changes_no_condition_while_it_assesses_everything_once(
    monkeypatch: pytest.MonkeyPatch, assessments: list[int]
) -> None:
    world = answered()
    monkeypatch.setattr(context, "__version__", "99.0.0")
    world.restart()
    assessments.clear()
    plans = world.settle()
    assert [plan.put_off for plan in plans] == [7, 4, 1, 0]
    assert not any(plan.actions for plan in plans)
    assert len(assessments) == NODES
    assert world.condition("Ready") == ("True", "AllAnswered")


def test_runs_that_end_at_once_are_read_in_parts_and_no_pod_goes_unread() -> None:
    world = fleet(NODES, strategy={"maxConcurrent": "100%"})
    world.settle()
    world.assessed_per_plan = SLICE
    for pod in world.live_pods():
        world.finish(node=pod.node)
    world.node("new")
    first = world.step()
    assert first.put_off == NODES - SLICE
    assert len(of(first, WriteReport)) == len(of(first, DeletePod)) == SLICE
    assert [create.node for create in of(first, CreatePod)] == ["new"], (
        "whatever needs no assessment is planned"
    )
    assert len(world.cache.reports) == SLICE
    plans = world.settle()
    assert [plan.put_off for plan in plans[:3]] == [4, 1, 0]
    assert all(report.verdict == "Compatible" for report in world.cache.reports.values())
    assert len(world.cache.reports) == NODES


def test_a_run_that_is_not_read_yet_starts_no_other() -> None:
    world = fleet(2, strategy={"maxConcurrent": "100%"})
    world.settle()
    world.assessed_per_plan = 1
    ended = [world.finish(node=pod.node) for pod in world.live_pods()]
    world.annotate("environments", "pt", "gpuenv.dev/revalidate", "now")
    plan = world.step()
    assert plan.put_off == 1
    assert {create.node for create in of(plan, CreatePod)} <= {"n00"}
    assert [delete.name for delete in of(plan, DeletePod)] == [
        pod["metadata"]["name"] for pod in ended if pod["metadata"]["name"].startswith("pt-n00-")
    ]


def test_each_environment_gets_its_turn() -> None:
    world = fleet(6, strategy={"maxConcurrent": "100%"})
    for name in ("aa", "zz"):
        world.environment(name, strategy={"maxConcurrent": "100%"})
    world.settle(40)
    for _ in range(3):
        world.finish_all()
    assert len(world.cache.reports) == 18
    world.assessed_per_plan = SLICE
    turns = []
    for number in range(6):
        for name in ("aa", "zz"):
            # Someone changes the expectations of both all the time, so that no environment is ever done.
            expect(world, f">={900 + number}", name)
        plan = world.step()
        turns.append({report.environment for report in of(plan, WriteReport)})
    assert {"aa"} in turns
    assert {"zz"} in turns


def test_what_was_assessed_is_not_assessed_again_because_other_nodes_were(
    monkeypatch: pytest.MonkeyPatch, assessments: list[int]
) -> None:
    """New medians of other products give the environment a new context, and the results of this product no new key."""
    floors = [{"benchmark": "MatMul", "minPercentOfPeers": 50}]
    world = answered(benchmarks={"floors": floors})
    monkeypatch.setattr(context, "__version__", "99.0.0")
    world.restart()
    world.settle()
    assessments.clear()
    world.environment(
        benchmarks={"floors": floors}, strategy={"maxConcurrent": "100%", "revalidationPeriodSeconds": 86400}
    )
    world.settle()
    assert not assessments


def test_what_comes_out_in_parts_is_what_comes_out_at_once() -> None:
    def outcome(part: int | None) -> list[Any]:
        world = answered()
        world.assessed_per_plan = part
        expect(world, ">=999")
        world.settle()
        return [world.get("reports", f"pt.n{number:02}")["status"]["checks"] for number in range(NODES)]

    assert outcome(1) == outcome(SLICE) == outcome(None)


@pytest.mark.parametrize(
    ("may_continue", "taken"), [(lambda: False, 1), (lambda: True, 5)], ids=["no time", "time"]
)
def test_the_first_result_is_always_assessed(may_continue: Callable[[], bool], taken: int) -> None:
    allowance = Allowance(may_continue)
    assert sum(allowance.take() for _ in range(5)) == taken
    assert allowance.put_off == 5 - taken
