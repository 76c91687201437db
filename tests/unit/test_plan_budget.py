"""The budget of GPU-seconds that an environment has for a day."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import fleet
from tests.support.world import World

from gpuenv.api import names, reasons
from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.fleet.budget import DAY_SECONDS, GPU_SECONDS

MIDNIGHT = builders.NOW - builders.NOW % DAY_SECONDS + DAY_SECONDS


def limited(nodes: int, seconds: int, **spec: Any) -> World:
    """Return a world whose environment runs one probe at a time and may use so many GPU-seconds in a day."""
    settings = {"limits": Limits(gpu_seconds_per_day=seconds)}
    world = fleet(nodes, settings=settings, **{"strategy": {"maxConcurrent": 1}, **spec})
    world.settle()
    return world


def run_for(world: World, seconds: float) -> str:
    """Let the running probe pod hold its GPU for so long and end well; return its node."""
    (pod,) = world.live_pods()
    world.now += seconds
    run = {"facts": builders.facts_report(pod.run_id), "kernels": builders.kernels_report(pod.run_id)}
    world.pod(
        "Succeeded",
        name=pod.name,
        scheduled=world.now - seconds,
        sandbox=world.now - seconds,
        **{stage: builders.terminated(report, at=world.now) for stage, report in run.items()},
    )
    world.settle()
    return pod.node


def used(world: World, environment: str = "pt") -> int:
    internal = world.status(environment).get("internal", {})
    return int(internal[GPU_SECONDS]["seconds"]) if GPU_SECONDS in internal else 0


def message(world: World, kind: str) -> str:
    return next(str(one["message"]) for one in world.status()["conditions"] if one["type"] == kind)


def test_without_a_budget_nothing_is_counted() -> None:
    world = fleet(2)
    world.settle()
    world.finish_all()
    assert GPU_SECONDS not in world.status()["internal"]


def test_a_spent_budget_stops_runs_until_the_day_ends() -> None:
    world = limited(4, 100)
    first = run_for(world, 60)
    assert (used(world), len(world.live_pods())) == (60, 1)
    run_for(world, 40)
    assert (used(world), len(world.live_pods())) == (100, 0)
    assert world.verdict(node=first) == ("Compatible", "")
    assert world.condition("Ready") == ("False", reasons.BudgetSpent)
    assert message(world, "Ready") == (
        "2 of 4 nodes without answer (0 running); the 100 GPU-seconds that limits.gpuSecondsPerDay allows are used up; "
        "probes start again at 2027-01-16T00:00:00Z"
    )
    assert [one["reason"] for one in world.status()["problems"]] == [reasons.BudgetSpent]
    assert world.plan().wake_at == MIDNIGHT
    world.step(MIDNIGHT - world.now - 1)
    assert not world.live_pods()
    world.step(1)
    assert len(world.live_pods()) == 1
    world.settle()
    assert world.condition("Ready") == ("False", reasons.ValidationRunning)
    run_for(world, 10)
    assert used(world) == 10


def test_an_environment_with_all_answers_stays_ready() -> None:
    world = limited(1, 30)
    run_for(world, 60)
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    assert message(world, "Ready").endswith("probes start again at 2027-01-16T00:00:00Z")
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    assert not world.live_pods()
    assert (world.verdict(node="n00"), world.label(node="n00")) == (("Compatible", ""), "Compatible")


def test_what_was_used_survives_a_restart() -> None:
    world = limited(4, 100)
    run_for(world, 60)
    world.restart()
    world.settle()
    assert used(world) == 60
    run_for(world, 60)
    world.restart()
    world.settle()
    assert (used(world), len(world.live_pods())) == (120, 0)


def test_a_pod_counts_once_even_if_it_is_kept() -> None:
    world = limited(4, 1000)
    (pod,) = world.live_pods()
    crashed = builders.kernels_report(pod.run_id, complete=False, ended="during conv")
    at = world.now
    world.now += 50
    world.pod(
        "Failed",
        name=pod.name,
        scheduled=at,
        sandbox=at,
        facts=builders.terminated(builders.facts_report(pod.run_id), at=at + 20),
        kernels=builders.terminated(crashed, code=139, at=at + 40),
    )
    for _ in range(3):
        world.settle()
        assert pod.name in world.objects("pods")
        world.restart()
        world.now += 5
    assert used(world) == 40


def test_a_pod_counts_while_it_runs() -> None:
    world = limited(4, 90, strategy={"maxConcurrent": 2})
    at = world.now
    for pod in world.live_pods():
        world.pod("Running", name=pod.name, scheduled=at, sandbox=at, facts=builders.running(at))
    world.now += 60
    (first, _) = world.live_pods()
    world.finish(node=first.node)
    world.settle()
    assert len(world.live_pods()) == 1, "they have used 30 and 60 GPU-seconds so far"
    assert used(world) == 30


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_is_forgotten_counts(gone: bool) -> None:
    """Otherwise an author could change the image during each run."""
    world = limited(1, 1000)
    (pod,) = world.live_pods()
    at = world.now
    world.pod("Running", name=pod.name, scheduled=at, sandbox=at, facts=builders.running(at))
    world.now += 50
    world.environment(image="a/b:2", strategy={"maxConcurrent": 1})
    if gone:
        world.gone("nodes", "n00")
    world.delete_pod(pod.name, vanish=True)
    world.settle()
    assert used(world) == 50


def test_all_devices_of_a_pod_count() -> None:
    world = limited(2, 1000, probe={"device": {"count": 4}})
    run_for(world, 20)
    assert used(world) == 80


def test_what_was_used_before_midnight_counts_for_the_day_before() -> None:
    world = limited(3, 100)
    world.now = MIDNIGHT - 60
    run_for(world, 50)
    assert used(world) == 50
    run_for(world, 50)
    assert used(world) == 40
    assert len(world.live_pods()) == 1


def test_each_environment_has_its_own_budget() -> None:
    world = limited(1, 30)
    run_for(world, 60)
    world.environment("other", image="a/b:1")
    world.settle()
    assert [pod.environment for pod in world.live_pods()] == ["other"]


def test_a_pod_that_waits_for_a_gpu_uses_none() -> None:
    world = limited(1, 30)
    (pod,) = world.live_pods()
    world.pod(
        "Pending", name=pod.name, unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    )
    world.step(500)
    world.settle()
    assert used(world) == 0


# ---- groups ----------------------------------------------------------------------------------------------


def team(seconds: int | None, *names: str) -> World:
    """Return a world with two nodes, and environments of a group that may use so many GPU-seconds together."""
    limits = Limits(gpu_seconds_per_day=30, groups=(Group("team", ("team-*",), gpu_seconds_per_day=seconds),))
    world = World(limits=limits, max_probes=1)
    for name in ("n1", "n2"):
        world.node(name)
    for name in names:
        world.environment(name, image=f"a/{name}:1")
    world.settle()
    return world


def test_the_environments_of_a_group_have_one_budget() -> None:
    world = team(100, "team-a", "team-b")
    run_for(world, 60)
    assert len(world.live_pods()) == 1, "the budget of one environment does not hold in the group"
    run_for(world, 40)
    assert not world.live_pods()
    assert world.condition("Ready", "team-a") == ("False", reasons.BudgetSpent)
    assert "the 100 GPU-seconds that gpuSecondsPerDay of team in limits.groups allows are used up" in str(
        world.status("team-b")["problems"]
    )
    world.environment("other", image="c/d:1")
    world.settle()
    assert [pod.environment for pod in world.live_pods()] == ["other"]


def test_a_group_without_a_budget_of_its_own_leaves_each_environment_its_own() -> None:
    world = team(None, "team-a")
    run_for(world, 60)
    assert not world.live_pods()
    world.environment("team-b", image="a/b:1")
    world.settle()
    assert [pod.environment for pod in world.live_pods()] == ["team-b"]


def test_a_group_may_be_free_of_budgets() -> None:
    world = team(0, "team-a")
    run_for(world, 600)
    assert len(world.live_pods()) == 1


def test_a_deleted_environment_still_counts_for_its_group_on_that_day() -> None:
    """Otherwise an author could delete it and create another one."""
    world = team(100, "team-a")
    run_for(world, 100)
    world.gone("environments", "team-a")
    world.step(60)
    world.environment("team-b", image="a/b:1")
    world.settle()
    assert not world.live_pods()
    world.now = MIDNIGHT
    world.settle()
    assert len(world.live_pods()) == 1
