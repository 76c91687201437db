"""A plan ends when its time is over, and slow writes hold up only those like them."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create, label, write
from tests.support.bad_answers import Held
from tests.support.started_worlds import first_run
from tests.support.wait import PATIENCE, wait_until_async
from tests.support.world import World

from gpuenv.api import names, reasons
from gpuenv.controller.kube.errors import TIMED_OUT, UNANSWERED, ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS
from gpuenv.controller.write import lanes
from gpuenv.controller.write.executor import Executed, Executor
from gpuenv.plan.actions import Action, Cleanup, WriteStatus

BOX = 0.3
"""The time limit of a plan in these tests, in seconds."""


def of(environment: str) -> Any:
    """Return the condition for a write of this environment's label."""
    return lambda method, path, body: path.startswith(NODES) and f"~1{environment}" in str(body)


def is_pod(method: str, path: str, body: Any) -> bool:
    """Return whether a write creates a pod."""
    return method == "create" and path.endswith("/pods")


def with_nodes(count: int, *, watch: bool = False) -> World:
    """Return a world with so many nodes, whose executor goes by the real time."""
    world = World(watch=watch)
    for number in range(count):
        world.put("nodes", builders.node(f"n{number}"))
    world.kube.calls.clear()
    world.executor = Executor(world.writes, world.poster, world.metrics, seconds=BOX)
    return world


async def run(world: World, *actions: Action) -> Executed:
    """Carry out a plan. It must end by itself."""
    async with asyncio.timeout(PATIENCE):
        return await world.run(*actions)


def labelled(world: World, environment: str) -> int:
    """Return how many nodes have the label of an environment."""
    key = names.node_label(environment)
    return sum(key in raw["metadata"]["labels"] for raw in world.objects("nodes").values())


async def test_slow_writes_of_one_environment_delay_no_other() -> None:
    world = with_nodes(100)
    held = Held(world.kube, of("slow"))
    actions = [label(f"n{number}", environment=name) for name in ("slow", "quick") for number in range(100)]
    outcome = await run(world, *actions)
    assert labelled(world, "quick") == outcome.done == 100
    assert len(held.requests) == lanes.PER_LANE
    assert outcome.skipped == 100 - lanes.PER_LANE
    await world.executor.stop()


async def test_a_plan_leaves_alone_what_is_still_under_way() -> None:
    world = with_nodes(20)
    held = Held(world.kube, of("slow"))
    actions = [label(f"n{number}", environment="slow") for number in range(20)]
    woken = []
    await run(world, *actions)
    world.cache.changed = lambda: woken.append(1)
    again = await run(world, *actions, label("n0", environment="quick"))
    assert (again.done, again.skipped) == (1, 20)
    assert Counter(held.requests).most_common(1)[0][1] == 1, "no write is sent twice"
    woken.clear()
    held.release()
    await wait_until_async(lambda: labelled(world, "slow") == lanes.PER_LANE)
    assert woken, "the next plan need not wait for the watch"
    assert (await run(world, *actions)).done == 20
    assert labelled(world, "slow") == 20


async def test_the_rest_of_a_chain_is_left_to_the_next_plan() -> None:
    world = with_nodes(1)
    held = Held(world.kube, lambda method, path, body: path == REPORTS)
    chain = (write("e", "n0"), label("n0"))
    await run(world, *chain)
    held.release()
    await wait_until_async(lambda: ("e", "n0") in world.cache.reports)
    assert labelled(world, "e") == 0, "its plan is over"
    assert (await run(world, write("e", "n0", exists=True), label("n0"))).done == 2
    assert labelled(world, "e") == 1


async def test_a_slow_kind_of_write_delays_no_other_kind() -> None:
    world = with_nodes(20)
    held = Held(world.kube, is_pod)
    environments = [f"e{number}" for number in range(8)]
    pods = [create(name, f"p{number}") for name in environments for number in range(20)]
    labels = [label(f"n{number}", environment=name) for name in environments for number in range(20)]
    outcome = await run(world, *pods, *labels)
    assert outcome.done == len(labels)
    assert len(held.requests) == lanes.PER_KIND
    await world.executor.stop()


async def test_a_slow_status_of_one_environment_delays_no_other_status() -> None:
    world = with_nodes(0)
    for name in ("slow", "quick"):
        world.put("environments", builders.environment(name))
    held = Held(world.kube, lambda method, path, body: path == f"{ENVIRONMENTS}/slow/status")
    statuses = [WriteStatus(name, f"uid-{name}", {"summary": {"text": "1"}}) for name in ("slow", "quick")]
    assert (await run(world, *statuses)).done == 1
    assert world.get("environments", "quick")["status"]
    assert (await run(world, statuses[0])).skipped == 1
    held.release()
    await wait_until_async(lambda: world.get("environments", "slow").get("status"))
    assert len(held.requests) == 1


async def test_a_write_that_takes_too_long_is_no_outage() -> None:
    world = with_nodes(30)
    slow = ApiError(0, TIMED_OUT, "no response within 10 s")
    world.kube.hooks.append(_raising(of("slow"), slow))
    actions = [label(f"n{number}", environment=name) for name in ("slow", "quick") for number in range(30)]
    outcome = await run(world, *actions)
    assert (outcome.done, outcome.failed) == (30, 30)
    assert labelled(world, "quick") == 30


def _raising(when: Any, error: ApiError) -> Any:
    def hook(method: str, path: str, body: Any) -> None:
        if when(method, path, body):
            raise error

    return hook


async def test_everything_of_an_environment_is_removed_when_nothing_is_under_way() -> None:
    """A pod that is created after the removal would stay for ever."""
    world = with_nodes(0)
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [names.FINALIZER]}
    world.put("environments", builders.environment("e", metadata=going))
    held = Held(world.kube, is_pod)
    await run(world, create("e", "n0"))
    assert (await run(world, Cleanup("e", "uid-e"))).skipped == 1
    assert world.objects("environments")
    held.release()
    await wait_until_async(lambda: world.objects("pods"))
    assert (await run(world, Cleanup("e", "uid-e"))).done == 1
    assert not world.objects("environments")
    assert not world.objects("pods")


async def test_nothing_is_under_way_any_more_after_a_stop() -> None:
    world = with_nodes(1)
    held = Held(world.kube, of("e"))
    await run(world, label("n0"))
    await world.executor.stop()
    held.release()
    await asyncio.sleep(0)
    assert labelled(world, "e") == 0
    await world.executor.stop()


# ---- a pod whose creation has no answer yet --------------------------------------------------------------------


def two_environments() -> tuple[World, Held]:
    """Return a world in which two environments want to probe one node, while creating a pod is slow."""
    world = World(max_probes=1)
    world.executor = Executor(
        world.writes, world.poster, world.metrics, clock=lambda: world.now + world._paused, seconds=BOX
    )
    for name in ("a", "b"):
        world.environment(name)
    world.node()
    return world, Held(world.kube, is_pod)


def test_a_pod_that_is_being_created_counts_as_one_that_exists() -> None:
    world, held = two_environments()
    for _ in range(5):
        world.step(3)
    assert len(held.requests) == 1, "neither again, nor another pod for the node"
    held.release()
    world.settle()
    assert len(world.objects("pods")) == 1
    (pod,) = world.live_pods()
    assert pod.uid


def test_a_creation_that_is_refused_late_is_told() -> None:
    world, held = two_environments()
    world.step()
    world.kube.deny("POST", "/pods$", 403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q')
    held.release()
    for _ in range(4):
        world.turn()
    assert world.objects("pods") == {}
    assert {reasons.ProbeRejected} <= {one.reason for one in world.cache.reports.values()}
    assert all(pod.uid for pod in world.cache.pods.values())


@pytest.mark.parametrize("created", [True, False])
def test_a_creation_without_an_answer_is_looked_up_before_anything_else_begins(created: bool) -> None:
    """The connection ends after the request was sent, and the API server is away for a while."""
    world = first_run()
    world.finish()
    world.settle()
    world.kube.watchers.clear()  # nor does the watch say anything
    world.environment("other", image="a/b:1")
    lost = ApiError(0, UNANSWERED, "the connection was lost")
    send = world.kube.create

    async def create_and_lose(path: str, body: Any) -> Any:
        if not path.endswith("/pods"):
            return await send(path, body)
        if created:
            await send(path, body)
        world.kube.down = ApiError(0, "Unreachable", "nobody answers")
        world.kube.refusals += 1
        raise lost

    world.kube.create = create_and_lose  # type: ignore[method-assign]  # for one request
    world.step()
    world.kube.create = send  # type: ignore[method-assign]  # as it was
    assert [(pod.environment, pod.uid) for pod in world.live_pods()] == [("other", "")]
    world.run_for(30)
    assert len(world.live_pods()) == 1
    world.kube.down = None
    world.kube.calls.clear()
    world.run_for(60)
    assert [(pod.environment, bool(pod.uid)) for pod in world.live_pods()] == [("other", True)]
    assert len(world.objects("pods")) == 1
    assert [method for method, path in world.kube.calls if "/pods" in path] == ["GET", *["POST"][created:]]
