"""An operator that starts with thousands of reports, each as much work as an image can make it, serves everybody."""

import asyncio
import copy
from typing import Any

import pytest
from tests.support import hostile
from tests.support.wait import wait_until_async
from tests.support.world import World

from gpuenv.controller import reconcile
from gpuenv.controller.monitoring.health import ProcessHealth
from gpuenv.controller.reconcile import Reconciler
from gpuenv.plan import context, planner
from gpuenv.plan.actions import CreatePod, Plan
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.memo import Memo
from gpuenv.plan.snapshot import Snapshot

REPORTS = 2000
LIMIT_SECONDS = 30.0
"""Without a sign of life for so long, the operator is restarted. All reports together would take longer."""


@pytest.fixture
def world() -> World:
    """A world in which one image has left its report on each node."""
    world = World()
    world.environment(strategy={"maxConcurrent": "100%"})
    world.node("n0")
    world.settle()
    run = world.run_id(node="n0")
    facts, kernels = hostile.worst("most rules, on lines", run)
    world.finish(node="n0", facts=facts, kernels=kernels)
    world.settle()
    report = world.get("reports", "pt.n0")
    fingerprint = report["status"]["internal"]["nodeFingerprint"]
    assert fingerprint == world.cache.nodes["n0"].fingerprint
    for number in range(1, REPORTS):
        name = f"n{number}"
        world.node(name)
        copied: dict[str, Any] = copy.deepcopy(report)
        copied["metadata"] |= {"name": f"pt.{name}", "uid": f"uid-pt.{name}"}
        copied["metadata"]["labels"]["gpuenv.dev/node"] = name
        copied["spec"] |= {"nodeName": name, "nodeUID": f"uid-{name}"}
        copied["status"]["internal"]["nodeFingerprint"] = world.cache.nodes[name].fingerprint
        world.cache.put("reports", copied)
    world.environment("other")
    world.memo = Memo()
    return world


async def test_two_thousand_worst_reports_do_not_stop_an_operator_that_starts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "__version__", "99.0.0")
    monkeypatch.setattr(reconcile, "SLICE_SECONDS", 0.2)
    health = ProcessHealth()
    plans: list[Plan] = []
    unhealthy: list[str] = []

    def planned(seen: Snapshot, now: float, allowance: Allowance) -> Plan:
        plans.append(planner.plan(seen, now, world.knowledge, world.memo, allowance))
        unhealthy.extend(health.problems())
        return plans[-1]

    reconciler = Reconciler(
        world.cache,
        planned,
        world.executor,
        world.settings,
        world.metrics,
        allowed=lambda: asyncio.sleep(0),
        beat=lambda: health.beat("plan", LIMIT_SECONDS),
        clock=lambda: world.now,
        interval=0.01,
    )
    task = asyncio.create_task(reconciler.run())
    try:
        reconciler.wake()
        await wait_until_async(lambda: len(plans) >= 5)
        assert not task.done()
    finally:
        task.cancel()
    left = [plan.put_off for plan in plans[:5]]
    assert 0 < left[-1] < left[0] < REPORTS, "each plan assesses some, and the next goes on"
    assert left == sorted(left, reverse=True)
    assert not unhealthy
    assert "other" in {key[0] for plan in plans for key in plan.validations}, "another environment is served"
    assert any(isinstance(action, CreatePod) for plan in plans for action in plan.actions)
    assert world.live_pods(), "and its probe pods are created in between"
    assert any(world.label(node=f"n{number}") for number in range(1, REPORTS)), "and labels are written"
