"""The planner and the executor together, against an API server that refuses some writes."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.wait import wait_until_async
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import names
from gpuenv.controller.kube.kinds import ENVIRONMENTS
from gpuenv.controller.reconcile import Reconciler
from gpuenv.controller.write.backoff import BACKOFF_MAX_SECONDS
from gpuenv.controller.write.executor import Executor
from gpuenv.plan.planner import plan

STATUS_WRITE = ("PATCH", f"{ENVIRONMENTS}/pt/status")


@pytest.fixture
def world() -> World:
    """Return a world whose only probe has just ended well. Its operator has not seen that yet."""
    world = first_run()
    world.finish()
    return unseen(world)


def unseen(world: World) -> World:
    """Forget the requests and Events of the past, so that a test sees those that follow."""
    world.kube.calls.clear()
    world.forget_events()
    return world


def finished(count: int, **fields: Any) -> World:
    """Return a world with so many nodes, whose probes have all just ended well."""
    world = fleet(count, **fields)
    world.settle()
    for pod in world.live_pods():
        world.finish(node=pod.node)
    return unseen(world)


def details(world: World, kind: str, environment: str = "pt") -> dict[str, Any]:
    """Return one of the conditions of an environment, as it is stored."""
    return next(one for one in world.status(environment)["conditions"] if one["type"] == kind)


def announced(world: World) -> list[str]:
    """Return the reasons of the Events about environments."""
    return [event.reason for event in world.events if event.kind == names.ENVIRONMENT_KIND]


def freeze(world: World, environment: str = "pt", node: str = "n1") -> Callable[[], None]:
    """Refuse one environment's label on one node, until the returned function is called."""
    return world.kube.deny(
        "PATCH",
        f"nodes/{node}$",
        422,
        "Invalid",
        "labels are frozen",
        when=lambda body: any(one["path"].endswith(f"~1{environment}") for one in body),
    )


def test_ready_waits_for_a_label_that_is_refused_and_comes_once_it_is_not(world: World) -> None:
    lift = freeze(world)
    world.run_for(5 * BACKOFF_MAX_SECONDS)
    assert world.condition("Ready") == ("False", "LabelRefused")
    message = details(world, "Ready")["message"]
    assert message.startswith("1 result is not written yet: 422 Invalid")
    assert "labels are frozen" in message
    assert world.condition("Compatible") == ("Unknown", "LabelRefused")
    assert world.condition("Published") == ("False", "LabelRefused")
    assert world.status()["summary"]["compatible"] == 1, "counts say what was found"
    assert world.kube.calls.count(STATUS_WRITE) == 2, (
        "once without the refusal, which came later, and once with it"
    )
    assert announced(world) == ["Compatible", "LabelRefused"]
    assert not world.live_pods()
    lift()
    for _ in range(3):
        world.turn()
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.condition("Compatible") == ("True", "AllCompatible")
    assert world.kube.calls.count(STATUS_WRITE) == 3
    assert world.condition("Published") == ("True", "UpToDate")
    assert announced(world) == ["Compatible", "LabelRefused", "AllAnswered"]
    assert world.turn().actions == ()


def test_a_report_that_is_refused_keeps_ready_and_the_token_away() -> None:
    world = validated()
    world.now += 60
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "token")
    world.node("n1", driver="450.80.02")
    world.settle()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    unseen(world)
    world.kube.fail("PATCH", "gpunodereports", 403, "Forbidden", "nope")
    world.turn()
    world.kube.fail("PATCH", "gpunodereports", 403, "Forbidden", "nope")
    world.turn()
    assert world.condition("Ready")[0] == "False"
    assert "observedRevalidate" not in world.status()
    world.run_for(120)
    assert world.status()["observedRevalidate"] == "token"


def test_an_unwritten_result_of_another_environment_does_not_matter() -> None:
    world = World()
    for name in ("pt", "tf"):
        world.environment(name)
    world.node("n1")
    world.node("n2")
    world.settle()
    world.finish_all()
    for pod in world.live_pods():
        world.finish(environment=pod.environment, node=pod.node)
    unseen(world)
    freeze(world, "tf", "n1")
    freeze(world, "tf", "n2")
    world.run_for(30)
    assert world.condition("Ready", "tf") == ("False", "LabelRefused")
    assert "labels are frozen" in details(world, "Ready", "tf")["message"]
    assert world.condition("Ready", "pt") == ("True", "AllAnswered")


def test_what_is_not_true_anyway_keeps_its_own_reason() -> None:
    world = fleet(2)
    world.settle()
    world.finish(node="n00")
    world.environment(suspend=True)
    unseen(world)
    freeze(world, node="n00")
    world.run_for(10)
    assert world.condition("Ready") == ("False", "Suspended")


def test_what_the_time_slice_cuts_off_keeps_ready_away() -> None:
    world = finished(30)
    world.slow_down(4)
    seen = []
    for _ in range(20):
        world.turn()
        seen.append(
            (world.condition("Ready")[0], sum(bool(one.compat) for one in world.cache.nodes.values()))
        )
    assert all(labels == 30 for ready, labels in seen if ready == "True")
    assert len({labels for ready, labels in seen if ready == "False"}) > 1, "it took several slices"
    assert seen[-1] == ("True", 30)


def test_a_transition_time_moves_only_with_the_status_while_results_are_written() -> None:
    world = finished(30)
    began = last = None
    world.slow_down(4)
    words = set()
    while world.condition("Ready")[0] == "False":
        began = began or details(world, "Ready")["lastTransitionTime"]
        last = details(world, "Ready")["lastTransitionTime"]
        words.add(details(world, "Ready")["message"])
        world.turn()
    assert len(words) > 3, "the number that is left goes down"
    assert last == began
    assert details(world, "Ready")["lastTransitionTime"] > began


def test_a_change_of_a_whole_fleet_makes_few_events() -> None:
    world = finished(300, settings={"max_probes": 300}, strategy={"maxConcurrent": 300})
    world.slow_down(0.3)
    began = world.now
    while world.condition("Ready")[0] == "False":
        world.turn()
    lasted = world.now - began
    assert lasted > 80, "many slices"
    about = [event for event in world.events if event.kind == names.ENVIRONMENT_KIND]
    compatible = [int(event.message.split()[0]) for event in about if event.reason == "Compatible"]
    assert len(compatible) <= 2 + lasted // 60
    assert sum(compatible) == 300
    assert [event.reason for event in about if event.reason != "Compatible"] == ["AllAnswered"]
    assert len(about) == len(world.events), "a first verdict that is Compatible is no news about its report"
    world.forget_events()
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    for pod in list(world.cache.pods.values()):
        world.finish(environment=pod.environment, node=pod.node, kernels=builders.wrong_matmul(pod.run_id))
    world.settle()
    reports = [event for event in world.events if event.kind == names.REPORT_KIND]
    assert len(reports) == len({event.uid for event in reports}) == 300, (
        "each once, about an object that exists"
    )


def test_a_renewal_with_the_same_verdict_never_takes_ready_away() -> None:
    world = validated()
    world.now += 2 * 604800
    world.settle()
    world.finish()
    unseen(world)
    before = details(world, "Ready")
    for _ in range(5):
        world.turn()
        assert details(world, "Ready") == before
    assert world.events == []


def test_ready_speaks_of_a_new_generation_only_when_its_reports_are_written() -> None:
    """The verdict stays the same, but the report would still say what the old expectations led to."""
    world = validated()
    world.environment(expect={"pytorch": "==2.9.*"})
    lift = world.kube.deny("PATCH", "gpunodereports", 403, "Forbidden", "nope")
    world.run_for(30)
    ready = details(world, "Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 2)
    assert ready["message"].startswith("1 result is not written yet: 403 Forbidden: nope")
    lift()
    world.run_for(60)
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.get("reports", "pt.n1")["status"]["environmentGeneration"] == 2


def test_a_verdict_that_changes_takes_ready_away_before_the_label_changes() -> None:
    world = validated()
    world.node("n1", driver="999.1")
    unseen(world)
    ready: list[str] = []

    def look(method: str, path: str, body: Any) -> None:
        if method == "PATCH" and path.endswith("nodes/n1"):
            ready.append(world.condition("Ready")[0])

    world.kube.hooks.append(look)
    world.turn()
    assert ready == ["False"]


def test_the_loop_plans_again_after_its_own_writes_without_any_event_from_outside() -> None:
    world = World(watch=False)
    world.environment()
    world.node()
    world.settle()
    world.finish()
    unseen(world)
    world.drive(loop_of_its_own(world))


async def loop_of_its_own(world: World) -> None:
    """Run the operator's loop by real clocks, until it has answered and comes to rest."""
    clock = time.monotonic()

    async def allowed() -> None:
        return None

    loop = Reconciler(
        world.cache,
        lambda seen, now, allowance: plan(seen, now, KNOWLEDGE, world.memo, allowance),
        Executor(world.writes, world.poster, world.metrics),
        world.settings,
        world.metrics,
        allowed=allowed,
        clock=lambda: world.now + time.monotonic() - clock,
        interval=0.01,
    )
    world.cache.changed = loop.wake
    loop.wake()
    tasks = [asyncio.create_task(loop.run()), asyncio.create_task(world.poster.run())]
    await wait_until_async(lambda: world.condition("Ready")[0] == "True", 15)
    await wait_until_async(lambda: "AllAnswered" in announced(world), 5)
    calls = len(world.kube.calls)
    await asyncio.sleep(0.5)
    assert len(world.kube.calls) == calls, "nothing is left to do, and nothing is done"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_node_whose_pod_a_webhook_fails_does_not_keep_the_others_waiting() -> None:
    world = World()
    world.environment(strategy={"maxConcurrent": 1})
    world.node("n1")
    world.node("n2")
    unseen(world)
    chosen: list[str] = []

    def fails(body: Any) -> bool:
        chosen.append(body["metadata"]["annotations"][names.ANNOTATION_NODE])
        return chosen[-1] == chosen[0]

    world.kube.deny("POST", "/pods$", 500, "InternalError", 'failed calling webhook "w"', when=fails)
    for _ in range(6):
        world.turn()
    assert len(set(chosen)) == 2
    report = world.get("reports", names.report_name("pt", chosen[0]))
    assert report["status"]["reason"] == "ProbeRejected"
    assert 'failed calling webhook "w"' in report["status"]["message"]


@pytest.mark.parametrize("refused", ["gpunodereports", "nodes/n1"])
def test_an_environment_that_cannot_be_written_about_makes_no_noise(world: World, refused: str) -> None:
    for _ in range(6):
        world.kube.fail("POST" if refused == "gpunodereports" else "PATCH", refused, 403, "Forbidden", "no")
        world.turn()
        world.kube.hooks.clear()
    about = [event for event in world.events if event.kind == names.ENVIRONMENT_KIND]
    of_a_report = refused == "gpunodereports"
    assert [event.reason for event in about] == ([] if of_a_report else ["Compatible", "LabelRefused"])
    assert world.condition("Ready") == ("False", "ValidationRunning" if of_a_report else "LabelRefused")


def test_a_second_report_of_a_node_changes_no_verdict_and_starts_no_run() -> None:
    """Whoever may create reports could otherwise take every label back, or start a run on every node."""
    world = validated()
    unseen(world)
    forged = builders.report("pt", "n1", verdict="Incompatible") | {"metadata": {"name": "pt.copy"}}
    world.put("reports", forged)
    world.run_for(600)
    assert world.label() == "Compatible"
    assert world.kube.writes() == []
    world.restart()
    world.run_for(600)
    assert world.kube.writes() == []
    world.gone("reports", "pt.copy")
    world.run_for(600)
    assert world.verdict() == ("Compatible", "")
    assert world.kube.writes() == []
