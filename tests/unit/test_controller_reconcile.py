"""The loop: woken by changes and times, never ended by a fault."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support import builders
from tests.support.wait import wait_until_async

from gpuenv.controller import reconcile
from gpuenv.controller.cache import Cache
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.reconcile import Reconciler
from gpuenv.controller.write.executor import Executed
from gpuenv.plan.actions import Plan
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Snapshot


class Loop:
    """A reconciler with a planner and an executor that do as told."""

    def __init__(self, **options: Any) -> None:
        self.cache = Cache()
        self.cache.synced = True
        self.seen: list[Snapshot] = []
        self.run_plans: list[Plan] = []
        self.plan: Any = Plan()
        self.outcome = Executed()
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.metrics = Metrics(self.cache)
        self.reconciler = Reconciler(
            self.cache,
            self.planned,
            self,
            Settings(),
            self.metrics,
            allowed=self.wait_allowed,
            **{"interval": 0.01} | options,
        )
        self.cache.changed = self.reconciler.wake

    async def wait_allowed(self) -> None:
        await self.allowed.wait()

    def planned(self, seen: Snapshot, now: float, allowance: Allowance) -> Plan:
        self.seen.append(seen)
        self.allowance = allowance
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan(seen.steady) if callable(self.plan) else self.plan

    async def run(self, plan: Plan) -> Executed:
        self.run_plans.append(plan)
        return self.outcome

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reconciler.run())
        yield
        assert not task.done()
        task.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "DEBOUNCE_SECONDS", 0.01)


async def test_a_change_causes_one_plan() -> None:
    loop = Loop()
    async with loop.running():
        loop.cache.put("nodes", builders.node("a"))
        loop.cache.put("nodes", builders.node("b"))
        await wait_until_async(lambda: loop.run_plans)
    assert len(loop.seen) == 1
    assert sorted(loop.seen[0].nodes) == ["a", "b"]


async def test_a_due_time_causes_a_plan() -> None:
    loop = Loop()
    loop.plan = lambda now: Plan(wake_at=now + 0.05, left_since={("e", "a"): now})
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(loop.run_plans) >= 3)
    assert set(loop.cache.left_since) == {("e", "a")}


async def test_what_the_executor_puts_off_is_planned_again() -> None:
    loop = Loop()
    loop.outcome = Executed(retry_at=0.0)
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(loop.run_plans) >= 3)


async def test_a_clock_that_is_set_back_delays_nothing() -> None:
    hours = itertools.count(500_000, -1)
    loop = Loop(clock=lambda: next(hours) * 3600.0)
    loop.outcome = Executed(retry_at=time.monotonic())
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(loop.run_plans) >= 3)


async def test_nothing_is_planned_before_the_first_lists() -> None:
    loop = Loop()
    loop.cache.synced = False
    async with loop.running():
        loop.reconciler.wake()
        await asyncio.wait({asyncio.create_task(loop.allowed.wait())}, timeout=0.1)
        await wait_until_async(lambda: not loop.reconciler._dirty.is_set())
        assert not loop.seen
        loop.cache.synced = True
        loop.reconciler.wake()
        await wait_until_async(lambda: loop.seen)


async def test_nothing_is_written_without_the_lease() -> None:
    loop = Loop()
    loop.allowed.clear()
    async with loop.running():
        loop.reconciler.wake()
        await asyncio.wait({asyncio.create_task(loop.allowed.wait())}, timeout=0.1)
        assert not loop.run_plans
        loop.allowed.set()
        await wait_until_async(lambda: loop.run_plans)


async def test_a_fault_of_a_plan_is_logged_counted_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(reconcile, "BACKOFF_MAX_SECONDS", 0.01)
    loop = Loop()
    loop.plan = ValueError("odd")
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(loop.seen) >= 3)
        loop.plan = Plan()
        await wait_until_async(lambda: loop.run_plans)
    assert "planning failed" in caplog.text
    assert b'gpuenv_errors_total{where="plan"}' in loop.metrics.text()


async def test_a_validation_that_cannot_be_judged_is_logged_once(caplog: Any) -> None:
    loop = Loop()
    loop.plan = lambda now: Plan(wake_at=now, faults=("environment pt on node a cannot be judged",))
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(loop.run_plans) >= 3)
    assert caplog.text.count("cannot be judged") == 1
    assert b'gpuenv_errors_total{where="plan"} 1.0' in loop.metrics.text()


@pytest.mark.parametrize(("limit", "beside"), [(-1.0, True), (1e9, False)])
async def test_slow_plans_and_the_first_are_made_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, limit: float, beside: bool
) -> None:
    monkeypatch.setattr(reconcile, "THREAD_SECONDS", limit)
    loop = Loop()
    threads: list[threading.Thread] = []

    def plan(now: float) -> Plan:
        threads.append(threading.current_thread())
        return Plan(wake_at=now)

    loop.plan = plan
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: len(threads) >= 2)
    assert threads[0] is not threading.main_thread()
    assert (threads[1] is not threading.main_thread()) is beside


async def test_a_plan_may_assess_results_for_a_while_and_each_is_a_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beats: list[int] = []
    loop = Loop(beat=lambda: beats.append(1))
    monkeypatch.setattr(reconcile, "SLICE_SECONDS", 3600.0)
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: loop.run_plans)
    before = len(beats)
    assert all(loop.allowance.take() for _ in range(5))
    assert len(beats) == before + 5

    monkeypatch.setattr(reconcile, "SLICE_SECONDS", 0.0)
    loop = Loop()
    async with loop.running():
        loop.reconciler.wake()
        await wait_until_async(lambda: loop.run_plans)
    assert [loop.allowance.take() for _ in range(3)] == [True, False, False]


async def test_a_plan_that_put_results_off_is_followed_by_one_in_a_thread(caplog: Any) -> None:
    threads: list[bool] = []

    def planned(now: float) -> Plan:
        threads.append(threading.current_thread() is threading.main_thread())
        return Plan(wake_at=now, put_off=7 if len(threads) == 2 else 0)

    loop = Loop()
    loop.plan = planned
    with caplog.at_level("INFO"):
        async with loop.running():
            loop.reconciler.wake()
            await wait_until_async(lambda: len(threads) >= 4)
    assert threads[:4] == [False, True, False, True], "the first plan is slow, and so is one after a cut"
    assert "7 results are assessed in the next plans" in caplog.text


async def test_clocks_that_differ_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    loop = Loop()
    for skew, told in ((None, 0.0), (29.0, 0.0), (303.0, 300.0), (304.0, 300.0), (350.0, 300.0), (1.0, 0.0)):
        loop.metrics.skew = lambda skew=skew: skew
        await loop.reconciler.once()
        assert loop.seen[-1].clock_skew == told
    assert [one.levelname for one in caplog.records if "clock" in one.message] == ["WARNING", "INFO"]
    assert "about 300 s ahead of the API server's" in caplog.text
