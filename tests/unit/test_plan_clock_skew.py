"""Clocks of operator, API server and nodes that differ: no run is ended by it, and none lives longer."""

from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import running, terminated
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.world import World

from gpuenv.api import reasons
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.run.clocks import longest

MINUTES = 300.0
HOUR = 3600.0
TIMEOUTS = {"schedulingSeconds": 100, "setupSeconds": 60, "pullSeconds": 200, "runSeconds": 100}


@dataclass(frozen=True)
class Skew:
    """By how much the clocks of operator, API server and nodes differ from the true time, in seconds."""

    operator: float = 0.0
    server: float = 0.0
    node: float = 0.0

    def __str__(self) -> str:
        return f"operator {self.operator:+.0f}, server {self.server:+.0f}, node {self.node:+.0f}"


SKEWS = [
    Skew(operator=MINUTES),
    Skew(operator=-MINUTES),
    Skew(server=MINUTES),
    Skew(server=-MINUTES),
    Skew(node=MINUTES),
    Skew(node=-MINUTES),
    Skew(operator=MINUTES, node=-MINUTES),
    Skew(operator=-HOUR, server=HOUR),
]
skewed = pytest.mark.parametrize("skew", SKEWS, ids=str)


def world_with(skew: Skew, **spec: Any) -> World:
    """Return a world with these clocks, one environment, one node, and its first probe pod."""
    world = World()
    world.clock_error, world.server_error, world.node_error = skew.operator, skew.server, skew.node
    world.environment(**{"probe": {"timeouts": TIMEOUTS}} | spec)
    world.node()
    world.settle()
    return world


def begin(world: World, stage: str = "facts") -> None:
    """Let the pod of pt on n1 be scheduled, set up, and run this stage, by the clocks of those who say so."""
    containers = {"facts": running(world.node_time)}
    if stage == "kernels":
        report = builders.facts_report(world.run_id())
        containers = {
            "facts": terminated(report, at=world.node_time),
            "kernels": running(world.node_time),
        }
    world.pod("Running", scheduled=world.server_time, sandbox=world.node_time, **containers)


def deleted(world: World) -> bool:
    return any("deletionTimestamp" in raw["metadata"] for raw in world.objects("pods").values())


@skewed
@pytest.mark.parametrize("restarted", [False, True], ids=["same operator", "after a restart"])
def test_a_run_is_not_ended_by_skew(skew: Skew, restarted: bool) -> None:
    world = world_with(skew)
    pod = world.pod_of()["metadata"]["name"]
    for stage in ("", "facts", "kernels"):
        if stage:
            begin(world, stage)
        for _ in range(3):
            if restarted:
                world.restart()
            world.step(10)
        assert [one.name for one in world.live_pods()] == [pod], stage
        assert not deleted(world)
    world.finish()
    world.settle()
    report = world.report()
    assert report is not None
    assert (report.runs, report.attempt, world.verdict()) == (1, None, ("Compatible", ""))


@skewed
def test_a_run_that_hangs_is_ended_after_its_limit(skew: Skew) -> None:
    world = world_with(skew)
    begin(world, "kernels")
    world.step()
    world.step(109)
    assert not deleted(world)
    world.step(1)
    world.step()  # after a look at the pod
    assert deleted(world)
    facts = terminated(builders.facts_report(world.run_id()), at=world.node_time)
    stopped = builders.kernels_report(world.run_id(), complete=False, ended="sigterm during matmul")
    world.pod("Failed", facts=facts, kernels=terminated(stopped, code=143, at=world.node_time))
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbeTimeout)


@skewed
def test_a_run_that_somebody_deletes_did_not_time_out(skew: Skew) -> None:
    world = world_with(skew)
    begin(world)
    world.step(10)
    world.delete_pod(world.pod_of()["metadata"]["name"], vanish=False)
    world.pod("Failed", facts=terminated("", code=143, at=world.node_time))
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbePodDeleted)


@skewed
def test_a_crash_is_a_crash_although_the_pod_is_deleted_afterwards(skew: Skew) -> None:
    world = world_with(skew)
    begin(world)
    world.step(10)
    world.pod("Failed", facts=terminated("", code=139, at=world.node_time))
    world.delete_pod(world.pod_of()["metadata"]["name"], vanish=True)
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbeCrashed)


@skewed
def test_a_pod_that_no_scheduler_places_is_given_up_also_under_restarts(skew: Skew) -> None:
    world = world_with(skew)
    for _ in range(9):
        world.restart()
        world.step(10)
    assert world.report() is None
    world.restart()
    world.step(11)  # timestamps are whole seconds
    world.step()
    assert world.verdict() == ("Unknown", reasons.Unschedulable)


@skewed
def test_a_stage_that_hangs_ends_under_an_operator_that_restarts_every_minute(skew: Skew) -> None:
    world = world_with(skew)
    spec = world.cache.environments["pt"].spec
    assert spec is not None
    begin(world)
    began = world.now
    while not deleted(world):
        world.restart()
        world.step(60)
        world.step()
        assert world.now - began < longest(spec) + 61, "it lives forever"
    assert world.now - began >= longest(spec) - 1


def test_a_pod_is_stuck_only_after_the_operator_has_seen_its_deletion_for_long() -> None:
    world = fleet(3, settings={"max_probes": 1})
    world.settle()
    (pod,) = world.live_pods()
    world.delete_pod(pod.name, vanish=False)
    for error in (HOUR, -HOUR, 10 * 365 * 86400.0):
        world.clock_error = error
        world.step(1)
        assert [one.name for one in world.live_pods()] == [pod.name], "the pod still has its place"
    world.clock_error = 0.0
    world.step(world.settings.stuck_seconds + 5)
    assert len(world.live_pods()) == 2


def test_grace_of_a_node_that_left_does_not_end_with_a_jump_of_the_clock() -> None:
    world = validated(nodes={"selector": {"matchExpressions": [{"key": "pool", "operator": "DoesNotExist"}]}})
    world.node(labels={"pool": "b"})
    world.step()
    world.clock_error = HOUR
    world.step(10)
    assert world.label() == "Compatible"
    world.clock_error = 0.0
    world.step(291)
    assert world.label() is None


def test_a_jump_of_the_clock_changes_no_memory_of_the_plan() -> None:
    """What the last plan has computed is used again only as long as nobody sets the clock."""
    world = validated()
    wake_at = world.plan().wake_at
    assert wake_at is not None
    world.clock_error = wake_at - world.now + 1
    world.step(1)
    assert len(world.live_pods()) == 1


def test_a_node_clock_that_was_wrong_uses_up_no_budget() -> None:
    """A node that starts without a clock of its own sets it while the probe runs."""
    world = first_run(settings={"limits": Limits(gpu_seconds_per_day=1000)})
    pod = world.pod_of()
    world.step(20)
    facts, kernels = (
        terminated(builders.facts_report(world.run_id()), at=10.0),
        terminated(builders.kernels_report(world.run_id()), at=world.node_time),
    )
    raw = builders.pod_status(pod, "Succeeded", scheduled=world.now - 20, facts=facts, kernels=kernels)
    raw["status"]["startTime"] = "1970-01-01T00:00:05Z"
    world.put("pods", raw)
    world.settle()
    used = world.status()["internal"]["gpuSeconds"]["seconds"]
    assert 20 <= used <= 30


def test_skew_is_a_condition_and_nothing_else() -> None:
    world = validated()
    before, events = world.status(), world.events
    world.clock_error = 29.0
    world.settle()
    assert world.status() == before
    world.clock_error = 303.0
    world.settle()
    *others, skewed = world.status()["conditions"]
    assert others == before["conditions"]
    assert (skewed["type"], skewed["status"], skewed["reason"]) == ("ClockSkewed", "True", reasons.ClockSkew)
    assert skewed["message"].startswith("the operator's clock is about 300 s ahead of the API server's")
    stored, writes = world.status(), len(world.kube.writes())
    for error in (301.0, 309.0, 296.0):
        world.clock_error = error
        world.step(30)
    assert (world.status(), len(world.kube.writes())) == (stored, writes), "small changes are not told"
    world.clock_error = -47.0
    world.settle()
    assert "about 50 s behind the API server's" in world.status()["conditions"][-1]["message"]
    world.clock_error = -25.0
    world.step()
    assert world.status()["conditions"][-1]["type"] == "ClockSkewed", "near the limit it does not come and go"
    world.clock_error = 1.0
    world.settle()
    assert world.status() == before
    assert world.events == events
    assert world.verdict() == ("Compatible", "")
    assert not world.live_pods()
