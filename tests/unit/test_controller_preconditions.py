"""A write changes only what is still as the operator knows it, and lost answers are no reason to write twice."""

from collections import Counter
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create, label, write
from tests.support.bad_answers import lose_first_answers, repeat_all
from tests.support.world import World

from gpuenv.api import names
from gpuenv.controller.kube.errors import UNANSWERED, ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, EVENTS, NODES, REPORTS
from gpuenv.plan.actions import DeletePod, SetNodeCondition, WriteStatus

LABEL = names.node_label("e")
NEWER = {"verdict": "Incompatible", "reason": "KernelsWrong"}


@pytest.fixture
def world() -> World:
    """Return a world whose operator sees no changes of others."""
    return World(watch=False)


def set_label(world: World, value: str) -> None:
    """Let another operator set the label of node a."""
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update({LABEL: value}))


# ---- an older verdict does not replace a newer one -------------------------------------------------------------


@pytest.mark.parametrize("known", ["", "Unknown"])
async def test_a_label_that_another_operator_has_set_stays(world: World, known: str) -> None:
    world.put("nodes", builders.node("a", labels={LABEL: known} if known else {}))
    set_label(world, "Incompatible")
    outcome = await world.run(label("a", "Compatible"))
    assert (outcome.done, outcome.failed) == (0, 0), "it is planned anew, and no error"
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Incompatible"
    assert world.cache.nodes["a"].compat == {"e": "Incompatible"}


async def test_a_report_that_another_operator_has_written_stays(world: World) -> None:
    world.put("nodes", builders.node("a"))
    world.put("reports", builders.report("e", "a"))
    world.kube.touch(f"{REPORTS}/e.a", lambda one: one.update(status=NEWER))
    outcome = await world.run(write("e", "a", exists=True), label("a"))
    assert (outcome.done, outcome.failed) == (0, 0)
    assert world.get("reports", "e.a")["status"] == NEWER
    assert world.cache.reports["e", "a"].reason == "KernelsWrong"
    assert LABEL not in world.get("nodes", "a")["metadata"]["labels"], "nor does its label follow"


async def test_a_report_of_the_same_name_with_another_uid_stays(world: World) -> None:
    world.put("nodes", builders.node("a"))
    world.put("reports", builders.report("e", "a"))
    world.kube.touch(f"{REPORTS}/e.a", lambda one: one.update(status=NEWER))
    world.kube.touch(f"{REPORTS}/e.a", lambda one: one["metadata"].update(uid="successor"))
    outcome = await world.run(write("e", "a", exists=True))
    assert (outcome.done, outcome.failed) == (0, 0)
    assert world.get("reports", "e.a")["status"] == NEWER


async def test_the_status_of_an_environment_that_has_changed_stays(world: World) -> None:
    world.put("environments", builders.environment("e"))
    world.kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["spec"].update(image="another:1"))
    outcome = await world.run(WriteStatus("e", "uid-e", {"summary": {"text": "1"}}))
    assert (outcome.done, outcome.failed) == (0, 0)
    assert "status" not in world.get("environments", "e")
    assert world.cache.environments["e"].generation == 2


async def test_a_condition_that_another_operator_has_set_stays(world: World) -> None:
    world.put("nodes", builders.node("a"))
    newer = {"type": LABEL, "status": "False", "reason": "KernelsWrong"}
    world.kube.touch(f"{NODES}/a", lambda one: one["status"]["conditions"].append(newer))
    outcome = await world.run(SetNodeCondition("e", "a", "True", "Compatible", "fine"))
    assert (outcome.done, outcome.failed) == (0, 0)
    assert world.cache.nodes["a"].compat_conditions == {"e": ("False", "KernelsWrong")}
    assert newer in world.get("nodes", "a")["status"]["conditions"]


# ---- other changes do not matter -------------------------------------------------------------------------------


def heartbeat(world: World) -> None:
    """Let the kubelet of node a report a new state, which the operator has not seen yet."""
    world.kube.touch(f"{NODES}/a", lambda one: one["status"].update(images=[]))


async def test_a_heartbeat_of_the_kubelet_does_not_keep_the_label_away(world: World) -> None:
    world.put("nodes", builders.node("a"))
    heartbeat(world)
    world.kube.calls.clear()
    assert (await world.run(label("a"))).done == 1
    assert world.kube.calls == [("PATCH", f"{NODES}/a")]


async def test_a_heartbeat_does_not_keep_the_condition_away(world: World) -> None:
    world.put("nodes", builders.node("a"))
    heartbeat(world)
    assert (await world.run(SetNodeCondition("e", "a", "True", "Compatible", "fine"))).done == 1
    assert world.cache.nodes["a"].compat_conditions == {"e": ("True", "Compatible")}


async def test_a_node_without_any_label_gets_its_first(world: World) -> None:
    world.kube.add(NODES, builders.node("a"))
    world.cache.put("nodes", world.kube.touch(f"{NODES}/a", lambda one: one["metadata"].pop("labels")))
    assert (await world.run(label("a"))).done == 1
    assert world.get("nodes", "a")["metadata"]["labels"] == {LABEL: "Compatible"}


async def test_a_label_that_is_there_already_is_not_written(world: World) -> None:
    world.put("nodes", builders.node("a", labels={LABEL: "Compatible"}))
    world.kube.calls.clear()
    assert (await world.run(label("a"))).done == 1
    assert world.kube.calls == []


async def test_preconditions_cost_no_request(world: World) -> None:
    """The first validation of a node takes five writes, each later one four, and three if the label stays."""
    world.put("nodes", builders.node("a"))
    written = []
    for number, value in enumerate(["Unknown", "Compatible", "Compatible"]):
        world.kube.calls.clear()
        await world.run(create("e", "a", f"run-{number}"))
        pod = next(one for one in world.cache.pods.values() if one.run_id == f"run-{number}")
        delete = DeletePod(pod.name, pod.uid, "settled")
        await world.run(write("e", "a", exists=number > 0), label("a", value), delete)
        written.append([method for method, _ in world.kube.calls])
    first = ["POST", "POST", "PATCH", "PATCH", "DELETE"]
    assert written == [first, ["POST", "PATCH", "PATCH", "DELETE"], ["POST", "PATCH", "DELETE"]]


# ---- lost answers ----------------------------------------------------------------------------------------------


def played(world: World) -> dict[str, Any]:
    """Play the first and the second validation of two nodes, and return what stands at the end."""
    pods: set[str] = set()
    world.kube.watchers.append(
        lambda type_, path, raw: pods.add(raw["metadata"]["uid"]) if path == world.scope.pods else None
    )
    for name in ("n1", "n2"):
        world.node(name)
    world.environment(publish={"nodeCondition": "Measured"})
    world.run_for(60)
    for _ in range(2):
        for pod in world.live_pods():
            world.finish(node=pod.node)
        world.run_for(60)
        world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "again")
        world.run_for(60)
    events = [path for path in world.kube.objects if path.startswith(EVENTS)]
    return {
        "pods that ever existed": len(pods),
        "labels": {name: dict(node.compat) for name, node in world.cache.nodes.items()},
        "conditions": {name: dict(node.compat_conditions) for name, node in world.cache.nodes.items()},
        "verdicts": {key: (one.verdict, one.reason, one.runs) for key, one in world.cache.reports.items()},
        "Ready": world.condition("Ready"),
        "Events": Counter((event.name, event.reason, event.message) for event in world.events),
        "objects of Events": len(events),
    }


LOST = [
    ApiError(0, UNANSWERED, "the connection was lost"),
    ApiError(500, "InternalError", "etcdserver: request timed out"),
    ApiError(504, "Timeout", "request did not complete within the allotted timeout"),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: error.reason)
@pytest.mark.parametrize("watch", [True, False], ids=["seen", "unseen"])
def test_what_was_done_but_not_answered_is_not_done_twice(error: ApiError, watch: bool) -> None:
    expected = played(World())
    world = World()
    if not watch:
        # The watch is silent about pods: the operator knows only what it reads itself.
        world.kube.watchers.clear()
        world.kube.watchers.append(
            lambda type_, path, raw: None if path == world.scope.pods else world._observe(type_, path, raw)
        )
    lost = lose_first_answers(world.kube, error)
    assert played(world) == expected
    assert {method for method, _ in lost} == {"create", "json_patch", "strategic_patch", "delete"}


def test_a_write_that_the_client_repeats_succeeds_once() -> None:
    expected = played(World())
    world = World()
    repeat_all(world.kube)
    assert played(world) == expected
