"""Taking things back: the finalizer, nodes that leave, environments that go; nothing without a live look."""

import pytest
from tests.support import builders
from tests.support.world import World

from gpuenv.api import names
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS, Scope
from gpuenv.controller.write.executor import Executor
from gpuenv.controller.write.removal import Removal
from gpuenv.controller.write.writes import Writes
from gpuenv.plan.actions import AddFinalizer, Cleanup, LeaveNode, OrphanedEnvironment, Plan

LABEL = names.node_label("e")


@pytest.fixture
def world() -> World:
    return World(watch=False)


# ---- finalizer, leaving, removal
# ---------------------------------------------------------------------------------


async def test_the_finalizer_joins_those_of_others(world: World) -> None:
    world.put("environments", builders.environment("e", metadata={"finalizers": ["others/one"]}))
    await world.run(AddFinalizer("e", "uid-e"))
    assert world.get("environments", "e")["metadata"]["finalizers"] == ["others/one", names.FINALIZER]
    assert world.cache.environments["e"].finalized


async def test_no_finalizer_on_what_is_being_deleted(world: World) -> None:
    world.put(
        "environments", builders.environment("e", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    )
    await world.run(AddFinalizer("e", "uid-e"))
    assert world.kube.writes() == []


def populated(world: World) -> None:
    """Environment ``e`` on nodes a and b, environment ``f`` on a; the cache does not know b."""
    marked = {LABEL: "Compatible", "compat.gpuenv.dev/f": "Unknown"}
    condition = {"type": LABEL, "status": "True"}
    node = builders.node("a", labels=marked)
    node["status"]["conditions"].append(condition)
    world.put("nodes", node)
    world.kube.add(NODES, builders.node("b", labels={LABEL: "Degraded"}))
    for environment, name in (("e", "a"), ("e", "b"), ("f", "a")):
        world.put("reports", builders.report(environment, name))
        world.put("pods", builders.pod(environment, name))


def left(world: World) -> set[str]:
    return {path.rpartition("/")[2] for path in world.kube.objects}


async def test_a_deleted_environment_takes_everything_of_it_along(world: World) -> None:
    populated(world)
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [names.FINALIZER]}
    world.put("environments", builders.environment("e", metadata=going))
    outcome = await world.run(Cleanup("e", "uid-e"))
    assert (outcome.done, outcome.failed) == (1, 0)
    assert left(world) == {"a", "b", "f.a", builders.pod("f", "a")["metadata"]["name"]}
    a, b = world.get("nodes", "a"), world.get("nodes", "b")
    assert {key for key in a["metadata"]["labels"] if "gpuenv" in key} == {"compat.gpuenv.dev/f"}
    assert LABEL not in b["metadata"]["labels"]
    assert [one["type"] for one in a["status"]["conditions"]] == ["Ready"]


async def test_a_removal_interrupted_is_continued_and_the_finalizer_goes_last(world: World) -> None:
    populated(world)
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [names.FINALIZER]}
    world.put("environments", builders.environment("e", metadata=going))
    world.kube.fail("PATCH", "nodes/b", 500)
    outcome = await world.run(Cleanup("e", "uid-e"))
    assert outcome.failed == 1
    assert f"{ENVIRONMENTS}/e" in world.kube.objects
    world.now = outcome.retry_at or 0
    await world.run(Cleanup("e", "uid-e"))
    assert f"{ENVIRONMENTS}/e" not in world.kube.objects


async def test_an_environment_that_is_not_being_deleted_is_not_cleaned_up(world: World) -> None:
    populated(world)
    world.put("environments", builders.environment("e"))
    await world.run(Cleanup("e", "uid-e"), OrphanedEnvironment("f"))
    await world.run(Cleanup("e", "former"), OrphanedEnvironment("e"))
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert "e.a" in left(world)


async def test_environments_can_go_while_the_operator_cannot_work(world: World) -> None:
    populated(world)
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [names.FINALIZER, "others/one"]}
    world.put("environments", builders.environment("e", metadata=going))
    world.put("environments", builders.environment("f", metadata={"finalizers": [names.FINALIZER]}))
    for path in [path for path in world.kube.objects if path.startswith(REPORTS)]:
        del world.kube.objects[path]
    world.kube.fail("DELETE", "gpunodereports$", 404)
    await Removal(Writes(world.kube, Cache(), world.scope)).finish_deletions()
    assert world.get("environments", "e")["metadata"]["finalizers"] == ["others/one"]
    assert world.get("environments", "f")["metadata"]["finalizers"] == [names.FINALIZER]
    assert LABEL not in world.get("nodes", "a")["metadata"]["labels"]


def selecting(world: World, selector: str) -> Executor:
    """An executor of an operator with a node selector, which knows of node a's report only."""
    cache = Cache()
    cache.put("reports", world.get("reports", "e.a"))
    writes = Writes(world.kube, cache, Scope("probes", selector))
    return Executor(writes, world.poster, world.metrics, clock=lambda: world.now)


async def test_a_node_that_left_the_operators_node_selector_is_unmarked(world: World) -> None:
    populated(world)
    executor = selecting(world, "gpu=yes")
    outcome = await executor.run(Plan(validations={("e", "a"): (LeaveNode("e", "a", "uid-a", gone=True),)}))
    assert (outcome.done, outcome.retry_at) == (1, None)
    node = world.get("nodes", "a")
    assert {key for key in node["metadata"]["labels"] if "gpuenv" in key} == {"compat.gpuenv.dev/f"}
    assert [one["type"] for one in node["status"]["conditions"]] == ["Ready"]
    assert "e.a" not in left(world)
    assert executor._cache.nodes == {}


async def test_a_node_that_the_operators_node_selector_lets_in_again_keeps_everything(world: World) -> None:
    populated(world)
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(gpu="yes"))
    executor = selecting(world, "gpu=yes")
    for uid in ("uid-a", ""):
        outcome = await executor.run(Plan(validations={("e", "a"): (LeaveNode("e", "a", uid, gone=True),)}))
        assert outcome.done == 0
        world.now = outcome.retry_at or 0
    assert list(executor._cache.nodes) == ["a"]
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert "e.a" in left(world)


async def test_thousands_of_reports_go_in_batches(world: World) -> None:
    for number in range(1200):
        world.put("reports", builders.report("e", f"n{number}"))
    stray = builders.report("e", "unlabelled")
    stray["metadata"]["labels"] = {}
    world.put("reports", stray)
    await world.run(OrphanedEnvironment("e"))
    assert left(world) == set()
    assert world.kube.calls.count(("DELETE", REPORTS)) == 3


async def test_what_an_unknown_environment_left_behind_goes_after_a_live_look(world: World) -> None:
    populated(world)
    await world.run(OrphanedEnvironment("e"))
    assert (("GET", f"{ENVIRONMENTS}/e")) in world.kube.calls
    assert left(world) == {"a", "b", "f.a", builders.pod("f", "a")["metadata"]["name"]}


async def test_a_node_absent_from_the_cache_but_alive_keeps_everything(world: World) -> None:
    populated(world)
    world.cache.gone("nodes", "a")
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"].update(uid="uid-a2"))
    world.cache.nodes.clear()
    await world.run(LeaveNode("e", "a", "uid-a2", gone=True))
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert "e.a" in left(world)
    assert "a" in world.cache.nodes


async def test_a_node_that_is_gone_takes_report_and_pods_along(world: World) -> None:
    populated(world)
    del world.kube.objects[f"{NODES}/a"]
    await world.run(LeaveNode("e", "a", "uid-a", gone=True))
    assert "e.a" not in left(world)
    assert builders.pod("e", "a")["metadata"]["name"] not in left(world)
    assert {"f.a", "e.b"} <= left(world)


async def test_a_node_that_left_the_selection_loses_its_label(world: World) -> None:
    populated(world)
    await world.run(LeaveNode("e", "a", "uid-a", gone=False))
    labels = world.get("nodes", "a")["metadata"]["labels"]
    assert LABEL not in labels
    assert labels["compat.gpuenv.dev/f"] == "Unknown"
    assert "e.a" not in left(world)


async def test_a_node_that_changed_meanwhile_is_planned_anew(world: World) -> None:
    populated(world)
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(back="again"))
    await world.run(LeaveNode("e", "a", "uid-a", gone=False))
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert world.cache.nodes["a"].labels["back"] == "again"


async def test_an_unlucky_live_look_removes_nothing(world: World) -> None:
    populated(world)
    world.kube.fail("GET", "nodes/a", 500)
    await world.run(LeaveNode("e", "a", "uid-a", gone=True))
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert "e.a" in left(world)
