"""The planner and the executor together, against an API server that refuses some writes."""

import asyncio
import copy
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import builders
from tests.support import world as worlds
from tests.support.executor_world import Posted
from tests.support.fake_kube import FakeKube
from tests.support.wait import wait_until_async

from gpuenv.api import names
from gpuenv.controller.kube.kinds import ENVIRONMENTS, KINDS, Scope
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.reconcile import Reconciler
from gpuenv.controller.write.executor import BACKOFF_MAX_SECONDS, Executor
from gpuenv.controller.write.writes import Writes
from gpuenv.plan.memo import Memo
from gpuenv.plan.planner import plan

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
        planned = self.world.plan()
        outcome = await self.executor.run(planned)
        self.world.cache.carried_out(seen, planned)
        due = [at for at in (outcome.retry_at, planned.wake_at) if at is not None]
        self.world.now = max(self.world.now + 1, min([self.world.now + 30, *due]))
        return len(planned.actions)

    async def until(self, seconds: float) -> None:
        """Plans for so long."""
        end = self.world.now + seconds
        while self.world.now < end:
            await self.step()

    def status(self, environment: str = "pt") -> dict[str, Any]:
        return self.kube.objects[f"{ENVIRONMENTS}/{environment}"]["status"]

    def condition(self, kind: str, environment: str = "pt") -> dict[str, Any]:
        return next(one for one in self.status(environment)["conditions"] if one["type"] == kind)

    def said(self, kind: str, environment: str = "pt") -> tuple[str, str]:
        found = self.condition(kind, environment)
        return found["status"], found["reason"]

    def announced(self) -> list[str]:
        """Reasons of the Events about environments."""
        return [event.reason for event in self.posted.events if event.kind == names.ENVIRONMENT_KIND]

    def freeze(self, environment: str = "pt", node: str = "n1") -> Callable[[], None]:
        """A policy that refuses one environment's label on one node; lifted by what is returned."""
        patch = self.kube.merge_patch

        async def frozen(path: str, body: Any) -> Any:
            if path.endswith(f"nodes/{node}") and names.node_label(environment) in body["metadata"]["labels"]:
                self.kube.fail("PATCH", path, 422, "Invalid", "labels are frozen")
            return await patch(path, body)

        self.kube.merge_patch = frozen  # type: ignore[method-assign]  # a policy

        def lift() -> None:
            self.kube.merge_patch = patch  # type: ignore[method-assign]  # as it was

        return lift

    def slow_down(self, seconds: float) -> None:
        """Each write to a node takes so long."""
        patch = self.kube.merge_patch

        async def slow(path: str, body: Any) -> Any:
            self.world.now += seconds
            return await patch(path, body)

        self.kube.merge_patch = slow  # type: ignore[method-assign]  # a busy server


async def test_ready_waits_for_a_label_that_is_refused_and_comes_once_it_is_not() -> None:
    world = worlds.first_run()
    world.finish()
    operator = Operator(world)
    lift = operator.freeze()
    await operator.until(5 * BACKOFF_MAX_SECONDS)
    assert operator.said("Ready") == ("False", "ValidationRunning")
    message = operator.condition("Ready")["message"]
    assert message.startswith("1 result is not written yet: 422 Invalid")
    assert "labels are frozen" in message
    assert operator.said("Compatible") == ("Unknown", "ValidationRunning")
    assert operator.status()["summary"]["text"] == "1/1", "counts say what was found"
    assert operator.kube.calls.count(STATUS_WRITE) == 2, (
        "once without the refusal, which came later, and once with it"
    )
    assert operator.announced() == ["Compatible"]
    assert not world.live_pods()
    lift()
    for _ in range(3):
        await operator.step()
    assert operator.said("Ready") == ("True", "AllAnswered")
    assert operator.said("Compatible") == ("True", "AllCompatible")
    assert operator.kube.calls.count(STATUS_WRITE) == 3
    assert operator.announced() == ["Compatible", "AllAnswered"]
    assert await operator.step() == 0


async def test_a_report_that_is_refused_keeps_ready_and_the_token_away() -> None:
    world = worlds.validated()
    world.now += 60
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "token")
    world.node("n1", driver="450.80.02")
    world.settle()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    operator = Operator(world)
    operator.kube.fail("PATCH", "gpunodereports", 403, "Forbidden", "nope")
    await operator.step()
    operator.kube.fail("PATCH", "gpunodereports", 403, "Forbidden", "nope")
    await operator.step()
    assert operator.said("Ready")[0] == "False"
    assert "observedRevalidate" not in operator.status()
    await operator.until(120)
    assert operator.status()["observedRevalidate"] == "token"


async def test_an_unwritten_result_of_another_environment_does_not_matter() -> None:
    world = worlds.World()
    for name in ("pt", "tf"):
        world.environment(name)
    world.node("n1")
    world.node("n2")
    world.settle()
    world.finish_all()
    for pod in world.live_pods():
        world.finish(environment=pod.environment, node=pod.node)
    operator = Operator(world)
    operator.freeze("tf", "n1")
    operator.freeze("tf", "n2")
    await operator.until(30)
    assert operator.said("Ready", "tf") == ("False", "ValidationRunning")
    assert "labels are frozen" in operator.condition("Ready", "tf")["message"]
    assert operator.said("Ready", "pt") == ("True", "AllAnswered")


async def test_what_is_not_true_anyway_keeps_its_own_reason() -> None:
    world = worlds.fleet(2)
    world.settle()
    world.finish(node="n00")
    world.environment(suspend=True)
    operator = Operator(world)
    operator.freeze(node="n00")
    await operator.until(10)
    assert operator.said("Ready") == ("False", "Suspended")


async def test_what_the_time_slice_cuts_off_keeps_ready_away() -> None:
    world = worlds.fleet(30)
    world.settle()
    for pod in world.live_pods():
        world.finish(node=pod.node)
    operator = Operator(world)
    operator.slow_down(4)
    seen = []
    for _ in range(20):
        await operator.step()
        seen.append((operator.said("Ready")[0], sum(bool(one.compat) for one in world.cache.nodes.values())))
    assert all(labels == 30 for ready, labels in seen if ready == "True")
    assert len({labels for ready, labels in seen if ready == "False"}) > 1, "it took several slices"
    assert seen[-1] == ("True", 30)


async def test_a_transition_time_moves_only_with_the_status_while_results_are_written() -> None:
    world = worlds.fleet(30)
    world.settle()
    began = operator_time = None
    for pod in world.live_pods():
        world.finish(node=pod.node)
    operator = Operator(world)
    operator.slow_down(4)
    words = set()
    while operator.said("Ready")[0] == "False":
        began = began or operator.condition("Ready")["lastTransitionTime"]
        operator_time = operator.condition("Ready")["lastTransitionTime"]
        words.add(operator.condition("Ready")["message"])
        await operator.step()
    assert len(words) > 3, "the number that is left goes down"
    assert operator_time == began
    assert operator.condition("Ready")["lastTransitionTime"] > began


async def test_a_change_of_a_whole_fleet_makes_few_events() -> None:
    world = worlds.fleet(300, settings={"max_probes": 300}, schedule={"maxConcurrent": 300})
    world.settle()
    for pod in world.live_pods():
        world.finish(node=pod.node)
    operator = Operator(world)
    operator.slow_down(0.3)
    began = world.now
    while operator.said("Ready")[0] == "False":
        await operator.step()
    lasted = world.now - began
    assert lasted > 80, "many slices"
    about = [event for event in operator.posted.events if event.kind == names.ENVIRONMENT_KIND]
    compatible = [int(event.message.split()[0]) for event in about if event.reason == "Compatible"]
    assert len(compatible) <= 2 + lasted // 60
    assert sum(compatible) == 300
    assert [event.reason for event in about if event.reason != "Compatible"] == ["AllAnswered"]
    reports = [event for event in operator.posted.events if event.kind == names.REPORT_KIND]
    assert len(reports) == len({event.uid for event in reports}) == 300, (
        "each once, about an object that exists"
    )


async def test_a_renewal_with_the_same_verdict_never_takes_ready_away() -> None:
    world = worlds.validated()
    world.now += 2 * 604800
    world.settle()
    world.finish()
    operator = Operator(world)
    before = operator.condition("Ready")
    for _ in range(5):
        await operator.step()
        assert operator.condition("Ready") == before
    assert operator.posted.events == []


async def test_ready_speaks_of_a_new_generation_only_when_its_reports_are_written() -> None:
    """The verdict stays the same, but the report would still say what the old expectations led to."""
    world = worlds.validated()
    world.environment(expect={"pytorch": "==2.9.*"})
    operator = Operator(world)
    json_patch = operator.kube.json_patch

    async def refused(path: str, body: Any) -> Any:
        if "gpunodereports" in path:
            operator.kube.fail("PATCH", path, 403, "Forbidden", "nope")
        return await json_patch(path, body)

    operator.kube.json_patch = refused  # type: ignore[method-assign]  # a policy
    await operator.until(30)
    ready = operator.condition("Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 2)
    assert ready["message"].startswith("1 result is not written yet: 403 Forbidden: nope")
    operator.kube.json_patch = json_patch  # type: ignore[method-assign]  # lifted
    await operator.until(60)
    assert operator.said("Ready") == ("True", "AllAnswered")
    assert operator.kube.objects[operator.scope.item("reports", "pt.n1")]["status"]["answeredGeneration"] == 2


async def test_a_verdict_that_changes_takes_ready_away_before_the_label_changes() -> None:
    world = worlds.validated()
    world.node("n1", driver="999.1")
    operator = Operator(world)
    patch = operator.kube.merge_patch
    ready: list[str] = []

    async def watched(path: str, body: Any) -> Any:
        if path.endswith("nodes/n1"):
            ready.append(operator.said("Ready")[0])
        return await patch(path, body)

    operator.kube.merge_patch = watched  # type: ignore[method-assign]  # looks on
    await operator.step()
    assert ready == ["False"]


async def test_the_loop_plans_again_after_its_own_writes_without_any_event_from_outside() -> None:
    world = worlds.first_run()
    world.finish()
    operator = Operator(world)
    clock = time.monotonic()
    operator.executor._clock = time.monotonic
    memo = Memo()

    async def allowed() -> None:
        return None

    loop = Reconciler(
        world.cache,
        lambda seen, now: plan(seen, now, worlds.KNOWLEDGE, memo),
        operator.executor,
        world.settings,
        Metrics(world.cache),
        allowed=allowed,
        clock=lambda: world.now + time.monotonic() - clock,
        interval=0.01,
    )
    world.cache.changed = loop.wake
    loop.wake()
    task = asyncio.create_task(loop.run())
    await wait_until_async(lambda: operator.said("Ready")[0] == "True", 15)
    await wait_until_async(lambda: "AllAnswered" in operator.announced(), 5)
    calls = len(operator.kube.calls)
    await asyncio.sleep(0.5)
    assert len(operator.kube.calls) == calls, "nothing is left to do, and nothing is done"
    task.cancel()


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
    assert operator.said("Ready") == ("False", "ValidationRunning")
