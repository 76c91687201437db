"""Clocks that are wrong: what is stored in the future blocks nothing, and no limit is exceeded."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import first_run, validated
from tests.support.world import World

from gpuenv.api import names
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.fleet.budget import DAY_SECONDS
from gpuenv.plan.objects.times import show_time

HOUR = 3600.0
YEARS = 10 * 365 * DAY_SECONDS
WEEK = 604800
AHEAD = pytest.mark.parametrize("ahead", [40.0, HOUR, YEARS], ids=["seconds", "an hour", "years"])
RESTARTED = pytest.mark.parametrize("restarted", [False, True], ids=["same operator", "after a restart"])


def set_clock(world: World, seconds: float, *, restarted: bool = False) -> None:
    """Set the operator's clock forwards or back, and start the operator anew if asked."""
    world.clock_error += seconds
    if restarted:
        world.restart()


@AHEAD
@RESTARTED
def test_a_result_from_the_future_is_renewed_at_once(ahead: float, restarted: bool) -> None:
    world = validated()
    set_clock(world, -ahead, restarted=restarted)
    world.settle()
    assert len(world.live_pods()) == 1
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")
    world.finish_all()
    assert not world.live_pods()
    assert world.condition("Ready")[0] == "True"
    wake_at = world.plan().wake_at
    assert wake_at is not None
    assert 0.9 * WEEK <= wake_at - world.now <= 1.1 * WEEK


@AHEAD
@RESTARTED
def test_a_retry_does_not_wait_for_an_attempt_from_the_future(ahead: float, restarted: bool) -> None:
    world = first_run()
    world.busy()
    assert not world.live_pods()
    set_clock(world, -ahead, restarted=restarted)
    world.settle()
    assert len(world.live_pods()) == 1


def test_a_clock_that_is_a_little_behind_repeats_no_run() -> None:
    world = validated()
    set_clock(world, -20, restarted=True)
    world.settle()
    assert not world.live_pods()


def test_an_environment_with_times_from_the_future_gets_its_turn() -> None:
    world = World(max_probes=1)
    world.environment("old")
    world.node("n0")
    world.settle()
    world.clock_error = YEARS
    world.finish_all()
    world.clock_error = 0.0
    world.environment("new")
    ran = []
    for name in ("n1", "n2", "n3"):
        world.node(name)
    for _ in range(4):
        world.settle()
        (pod,) = world.live_pods()
        ran.append((pod.environment, pod.node))
        world.now += 1
        world.finish(name=pod.name)
    assert {environment for environment, _ in ran[:3]} == {"old", "new"}


def test_a_refusal_of_a_status_from_the_future_is_forgotten() -> None:
    world = validated()
    world.change(
        "environments",
        "pt",
        lambda raw: raw["status"].update(
            internal={"refused": {"time": show_time(world.wall + YEARS), "message": "no"}}, placement={}
        ),
    )
    world.settle()
    assert "require" in world.status()["placement"]
    assert "refused" not in world.status().get("internal", {})


def test_a_budget_of_a_later_day_blocks_nothing_and_is_not_given_twice() -> None:
    world = validated_with_budget(seconds=1000)
    world.change(
        "environments",
        "pt",
        lambda raw: raw["status"].update(
            internal={"gpuSeconds": {"since": show_time(_midnight(world.wall) + YEARS), "seconds": 400}}
        ),
    )
    world.restart()
    world.settle()
    used = world.status()["internal"]["gpuSeconds"]
    assert (used["since"], used["seconds"]) == (show_time(_midnight(world.wall)), 400)
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    assert len(world.live_pods()) == 1


def validated_with_budget(seconds: int) -> World:
    settings: dict[str, Any] = {"limits": Limits(gpu_seconds_per_day=seconds)}
    world = first_run(settings=settings)
    world.finish()
    world.settle()
    return world


def _midnight(now: float) -> float:
    return now - now % DAY_SECONDS


def test_times_begin_in_the_middle_of_a_day() -> None:
    """Otherwise the tests above would depend on the hour at which they begin."""
    assert HOUR < builders.NOW % DAY_SECONDS < DAY_SECONDS - HOUR
