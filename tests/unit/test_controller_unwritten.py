"""What an environment's status and its Events may say while its labels and reports are not in place."""

from typing import Any

import pytest
from tests.support import raw_objects as raw
from tests.support.executor_world import World, label, write

from gpuenv.controller.kube.kinds import ENVIRONMENTS
from gpuenv.controller.write.executor import BACKOFF_MAX_SECONDS, Executed
from gpuenv.plan.fleet.unwritten import held_back
from gpuenv.plan.model import PostEvent, WriteStatus

STATUS_WRITE = ("PATCH", f"{ENVIRONMENTS}/e/status")
NEWS = PostEvent("GPUEnvironment", "e", "uid-e", "Normal", "Compatible", "2 nodes Compatible: a, b")
ANSWERED = PostEvent("GPUEnvironment", "e", "uid-e", "Normal", "AllAnswered", "all 2 nodes have their answer")


@pytest.fixture
def world() -> World:
    world = World()
    world.add("environments", raw.environment("e"))
    for name in "ab":
        world.add("nodes", raw.node(name))
    return world


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "as planned",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }


def ready() -> dict[str, Any]:
    conditions = [condition("Ready", "True", "AllAnswered"), condition("Compatible", "True", "AllCompatible")]
    return {"conditions": conditions, "summary": {"text": "2/2"}, "observedRevalidate": "token"}


def told(world: World) -> dict[str, tuple[str, str, str]]:
    conditions = world.get("environments", "e")["status"]["conditions"]
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in conditions}


async def plan(world: World) -> Executed:
    """As the planner: it asks for what the cluster lacks."""
    actions: list[Any] = [write("e", name) for name in "ab" if ("e", name) not in world.cache.reports]
    actions += [NEWS] if actions else []
    actions += [label(name) for name in "ab" if not world.cache.nodes[name].compat]
    if world.cache.environments["e"].status != ready():
        actions += [WriteStatus("e", "uid-e", ready()), ANSWERED]
    return await world.run(*actions)


async def test_ready_waits_for_the_last_label(world: World) -> None:
    world.kube.fail("PATCH", "nodes/b", 422, "Invalid", "labels are frozen")
    outcome = await plan(world)
    status, reason, message = told(world)["Ready"]
    assert (status, reason) == ("False", "ValidationRunning")
    assert message.startswith("1 result is not written yet: 422 Invalid")
    assert "labels are frozen" in message
    assert told(world)["Compatible"][:2] == ("Unknown", "ValidationRunning")
    assert world.get("environments", "e")["status"]["summary"] == {"text": "2/2"}
    assert "observedRevalidate" not in world.get("environments", "e")["status"]
    assert ANSWERED not in world.posted.events
    world.now = (outcome.retry_at or 0) + 2
    await plan(world)
    assert world.get("environments", "e")["status"] == ready()
    assert world.posted.events == [NEWS, ANSWERED]


async def test_a_label_that_is_refused_for_ever_causes_neither_writes_nor_events_for_ever(
    world: World,
) -> None:
    first = world.now
    while world.now < first + 4 * BACKOFF_MAX_SECONDS:
        world.kube.fail("PATCH", "nodes/b", 422, "Invalid", "labels are frozen")
        outcome = await plan(world)
        world.kube._failures.clear()
        world.now = max(outcome.retry_at or 0, world.now + 1)
    assert world.kube.calls.count(STATUS_WRITE) == 1
    assert world.posted.events == [NEWS]
    assert told(world)["Ready"][0] == "False"


async def test_a_report_held_off_by_its_back_off_keeps_ready_away(world: World) -> None:
    world.kube.fail("POST", "gpunodereports", 403, "Forbidden", "nope")
    status = WriteStatus("e", "uid-e", ready())
    await world.run(write("e", "a"))
    outcome = await world.run(write("e", "a"), status)
    assert outcome.skipped == 1
    assert told(world)["Ready"][0] == "False"
    assert "nope" in told(world)["Ready"][2]


async def test_what_the_time_slice_cuts_off_keeps_ready_away(world: World) -> None:
    patch = world.kube.merge_patch

    async def slow(path: str, body: Any) -> Any:
        world.now += 4
        return await patch(path, body)

    world.kube.merge_patch = slow
    for number in range(30):
        world.add("nodes", raw.node(f"n{number}"))
    labels = [label(f"n{number}") for number in range(30)]
    await world.run(*labels, WriteStatus("e", "uid-e", ready()))
    assert told(world)["Ready"][0] == "False"
    assert told(world)["Ready"][2].endswith("results are not written yet")


async def test_six_plans_that_fail_tell_nothing(world: World) -> None:
    for _ in range(6):
        world.kube.fail("POST", "gpunodereports", 403, "Forbidden", "nope")
        outcome = await world.run(write("e", "a"), NEWS, WriteStatus("e", "uid-e", ready()), ANSWERED)
        world.now = outcome.retry_at or 0
    assert world.posted.events == []


async def test_an_unwritten_result_of_another_environment_does_not_matter(world: World) -> None:
    world.kube.fail("PATCH", "nodes/b", 500)
    await world.run(label("b", environment="f"), label("a"), WriteStatus("e", "uid-e", ready()), ANSWERED)
    assert told(world)["Ready"][0] == "True"
    assert world.posted.events == [ANSWERED]


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = held_back(ready(), {}, 2, "", 86_400.0)
    assert [one["lastTransitionTime"] for one in first["conditions"]] == ["1970-01-02T00:00:00Z"] * 2
    second = held_back(ready(), first | {"observedRevalidate": "old"}, 1, "", 2 * 86_400.0)
    assert [one["lastTransitionTime"] for one in second["conditions"]] == ["1970-01-02T00:00:00Z"] * 2
    assert second["conditions"][0]["message"] == "1 result is not written yet"
    assert second["observedRevalidate"] == "old"


def test_what_is_not_true_anyway_stays_as_it_is() -> None:
    status = {"conditions": [condition("Ready", "False", "Suspended"), condition("Compatible", "False", "x")]}
    assert held_back(status, {}, 2, "why", 0.0) == status
