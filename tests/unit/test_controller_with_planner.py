"""The planner and the executor together, against an API server that refuses some writes."""

import copy
import itertools
from typing import Any

import pytest
from tests.support import world as worlds
from tests.support.executor_world import Posted
from tests.support.fake_kube import FakeKube

from gpuenv.api import names
from gpuenv.controller.kube.kinds import ENVIRONMENTS, KINDS, Scope
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.write.executor import BACKOFF_MAX_SECONDS, Executor
from gpuenv.controller.write.writes import Writes

LABEL = names.node_label("pt")
STATUS_WRITE = ("PATCH", f"{ENVIRONMENTS}/pt/status")


class Operator:
    """The planner's stand-in world, with its objects in a stand-in API server, and a real executor between them."""

    def __init__(self, world: worlds.World) -> None:
        self.world = world
        self.kube = FakeKube()
        self.kube._numbers = itertools.count(1_000_000)  # newer than what the cache holds
        self.posted = Posted()
        self.scope = Scope(world.settings.probe_namespace)
        for kind in KINDS:
            for raw in world.raw[kind].values():
                self.kube.add(self.scope.path(kind), copy.deepcopy(raw))
        writes = Writes(self.kube, world.cache, self.scope, clock=lambda: world.now)  # type: ignore[arg-type]  # stand-ins
        metrics = Metrics(world.cache)
        self.executor = Executor(writes, self.posted, metrics, clock=lambda: world.now)  # type: ignore[arg-type]  # stand-ins

    async def step(self) -> int:
        """One plan, and time until the next; how many actions it had."""
        seen = self.world.cache.snapshot(self.world.settings)
        plan = self.world.plan()
        outcome = await self.executor.run(plan)
        self.world.cache.forget_recorded(seen, outcome.pending)
        due = [at for at in (outcome.retry_at, plan.wake_at) if at is not None]
        self.world.now = max(self.world.now + 1, min([self.world.now + 30, *due]))
        return len(plan.actions)

    def condition(self, kind: str) -> tuple[str, str]:
        conditions = self.kube.objects[f"{ENVIRONMENTS}/pt"]["status"]["conditions"]
        return next((one["status"], one["reason"]) for one in conditions if one["type"] == kind)


async def test_ready_waits_for_a_label_that_is_refused_and_comes_once_it_is_not() -> None:
    world = worlds.first_run()
    world.finish()
    operator = Operator(world)
    patch = operator.kube.merge_patch

    async def frozen(path: str, body: Any) -> Any:
        if path.endswith("nodes/n1"):
            operator.kube.fail("PATCH", "nodes/n1", 422, "Invalid", "labels are frozen")
        return await patch(path, body)

    operator.kube.merge_patch = frozen  # type: ignore[method-assign]  # a policy
    until = world.now + 5 * BACKOFF_MAX_SECONDS
    while world.now < until:
        await operator.step()
    assert operator.condition("Ready") == ("False", "ValidationRunning")
    assert operator.condition("Compatible") == ("Unknown", "ValidationRunning")
    assert operator.kube.calls.count(STATUS_WRITE) == 1
    assert not world.live_pods()
    operator.kube.merge_patch = patch  # type: ignore[method-assign]  # lifted
    for _ in range(3):
        await operator.step()
    assert operator.condition("Ready") == ("True", "AllAnswered")
    assert operator.condition("Compatible") == ("True", "AllCompatible")
    assert operator.kube.calls.count(STATUS_WRITE) == 2
    assert [event.reason for event in operator.posted.events if event.kind == names.ENVIRONMENT_KIND] == [
        "Compatible",
        "AllAnswered",
    ]
    assert await operator.step() == 0


async def test_a_node_whose_pod_a_webhook_fails_does_not_keep_the_others_waiting() -> None:
    world = worlds.World()
    world.environment(schedule={"maxConcurrent": 1})
    world.node("n1")
    world.node("n2")
    operator = Operator(world)
    create = operator.kube.create
    chosen: list[str] = []

    async def failing(path: str, body: Any) -> Any:
        if path == operator.scope.pods:
            node = body["metadata"]["annotations"][names.ANNOTATION_NODE]
            chosen.append(node)
            if node == chosen[0]:
                operator.kube.fail("POST", "pods", 500, "InternalError", 'failed calling webhook "w"')
        return await create(path, body)

    operator.kube.create = failing  # type: ignore[method-assign]  # a webhook
    for _ in range(6):
        await operator.step()
    assert len(set(chosen)) == 2
    report = operator.kube.objects[operator.scope.item("reports", names.report_name("pt", chosen[0]))]
    assert report["status"]["reason"] == "ProbeRejected"
    assert 'failed calling webhook "w"' in report["status"]["message"]


@pytest.mark.parametrize("refused", ["gpunodereports", "nodes/n1"])
async def test_an_environment_that_cannot_be_written_about_makes_no_noise(refused: str) -> None:
    world = worlds.first_run()
    world.finish()
    operator = Operator(world)
    for _ in range(6):
        operator.kube.fail(
            "POST" if refused == "gpunodereports" else "PATCH", refused, 403, "Forbidden", "no"
        )
        await operator.step()
        operator.kube._failures.clear()
    about = [event for event in operator.posted.events if event.kind == names.ENVIRONMENT_KIND]
    assert len(about) == (0 if refused == "gpunodereports" else 1)
    assert operator.condition("Ready") == ("False", "ValidationRunning")
