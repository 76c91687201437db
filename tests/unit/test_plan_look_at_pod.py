"""Before a time limit ends a run, its pod is read once: a watch that delivers nothing ends no run."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import kinds
from tests.support.builders import NOW
from tests.support.started_worlds import first_run
from tests.support.world import Raw, World

from gpuenv.api import reasons

FACTS_RUN = {"scheduled": NOW, "sandbox": NOW, "facts": builders.running(NOW)}
PULLS = {"scheduled": NOW, "sandbox": NOW}
SET_UP = {"scheduled": NOW}
UNPLACED: Raw = {}

CLOCKS: list[Any] = [
    pytest.param(UNPLACED, "scheduling", reasons.Unschedulable, id="scheduling"),
    pytest.param(SET_UP, "setup", reasons.SandboxFailed, id="setup"),
    pytest.param(PULLS, "pull", reasons.ImagePullFailed, id="pull"),
]


def silent(world: World) -> World:
    """Let the watch of pods deliver nothing any more."""
    world.kube.watchers.clear()
    world.kube.watchers.append(
        lambda type_, path, raw: None if path == world.scope.pods else world._observe(type_, path, raw)
    )
    return world


def unseen(world: World, phase: str, **changes: Any) -> None:
    """Give the probe pod a new state that only the API server knows."""
    world.kube.add(world.scope.pods, builders.pod_status(world.pod_of(), phase, **changes))


def end_well(world: World) -> None:
    """Let the probe pod end well, so that only the API server knows it."""
    run, now = world.run_id(), world.now
    unseen(
        world,
        "Succeeded",
        scheduled=now - 30,
        sandbox=now - 28,
        facts=builders.terminated(builders.facts_report(run), at=now - 10),
        kernels=builders.terminated(builders.kernels_report(run), at=now),
    )


def reads(world: World) -> int:
    """Return how many times a probe pod was read by its name."""
    return sum(
        method == "GET" and path.startswith(f"{world.scope.pods}/") for method, path in world.kube.calls
    )


def time_up(world: World, limit: str) -> None:
    """Let the time limit of that name pass."""
    spec = world.cache.environments["pt"].spec
    assert spec is not None
    world.now += getattr(spec.probe.timeouts, limit) + 1


@pytest.mark.parametrize(("state", "limit", "reason"), CLOCKS)
def test_a_run_that_has_ended_unseen_is_not_ended_by_a_time_limit(
    state: Raw, limit: str, reason: str
) -> None:
    world = silent(first_run())
    world.pod("Pending", **state)
    end_well(world)
    time_up(world, limit)
    world.settle()
    report = world.report()
    assert report is not None
    assert report.runs == 1
    assert (world.verdict(), report.attempt) == (("Compatible", ""), None)


@pytest.mark.parametrize(("state", "limit", "reason"), CLOCKS)
def test_a_run_whose_time_is_really_over_ends_after_one_look(state: Raw, limit: str, reason: str) -> None:
    world = silent(first_run())
    world.pod("Pending", **state)
    world.kube.calls.clear()
    time_up(world, limit)
    assert kinds(world.step()) == ["LookAtPod"]
    world.settle()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reason
    assert reads(world) == 1


def test_a_stage_that_has_ended_unseen_is_not_stopped() -> None:
    world = silent(first_run())
    world.pod("Running", **FACTS_RUN)
    world.now += 10_000
    end_well(world)
    world.kube.calls.clear()
    assert kinds(world.step()) == ["LookAtPod"]
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert reads(world) == 1


def test_a_run_goes_on_if_its_pod_has_moved_on() -> None:
    world = silent(first_run())
    world.now += 119
    unseen(world, "Pending", scheduled=world.now)
    world.now += 5
    world.settle()
    assert world.report() is None
    assert len(world.live_pods()) == 1, "it is set up now"
    time_up(world, "setup")
    world.settle()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.SandboxFailed


def test_a_pod_that_is_gone_ends_its_run_as_deleted() -> None:
    world = silent(first_run())
    world.kube.remove(world.scope.item("pods", world.pod_of()["metadata"]["name"]))
    world.now += 121
    world.settle()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.ProbePodDeleted


def test_without_an_answer_no_run_is_ended() -> None:
    world = silent(first_run())
    lift = world.kube.deny("GET", "/pods/", 503, "ServiceUnavailable", "no")
    world.now += 121
    world.run_for(600)
    assert world.report() is None
    assert len(world.live_pods()) == 1
    lift()
    world.run_for(60)
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.Unschedulable


def test_a_run_that_ends_in_time_needs_no_look() -> None:
    world = first_run()
    world.kube.calls.clear()
    world.finish()
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert reads(world) == 0
