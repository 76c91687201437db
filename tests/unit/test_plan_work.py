"""How much a plan looks at: what has changed since the last plan, and nothing else."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.support.world import KNOWLEDGE, World

from gpuenv.plan import memo
from gpuenv.plan.planner import plan
from gpuenv.plan.snapshot import Snapshot

NODES = 200
ENVIRONMENTS = ("a", "b", "c")


class Work:
    """Counts what plans compute anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: Counter[str] = Counter()
        for name in ("desired_state", "tally", "totals"):
            self._count(monkeypatch, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        original: Any = getattr(memo, name)

        def counted(*args: Any) -> Any:
            self.done[name] += 1
            return original(*args)

        monkeypatch.setattr(memo, name, counted)

    def of(self, world: World, seen: Snapshot) -> dict[str, int]:
        """Return what the plan for this snapshot computes anew. It has to be the plan that is made from nothing."""
        self.done.clear()
        planned = plan(seen, world.now, KNOWLEDGE, world.memo)
        found = dict(self.done)
        assert planned == plan(seen, world.now, KNOWLEDGE, None)
        return found


@pytest.fixture(scope="module")
def settled() -> World:
    """A fleet in which every environment has an answer on every node."""
    world = World()
    world.settings = replace(world.settings, max_probes=1000)
    for name in ENVIRONMENTS:
        world.environment(name, strategy={"maxConcurrent": "100%"})
    for number in range(NODES):
        world.node(f"n{number:03}")
    for _ in ENVIRONMENTS:
        world.settle()
        world.finish_all()
    assert all(world.condition("Ready", environment=name)[0] == "True" for name in ENVIRONMENTS)
    world.settle()
    return world


def test_nothing_new_is_no_work(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    assert work.of(settled, settled.cache.snapshot(settled.settings)) == {}


def test_a_changed_node_is_looked_at_once_for_each_environment(
    settled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, seen = Work(monkeypatch), settled.cache.snapshot(settled.settings)
    other = seen.nodes | {"n007": replace(seen.nodes["n007"], fingerprint="other")}
    without = {name: one for name, one in seen.nodes.items() if name != "n007"}
    once = len(ENVIRONMENTS)
    assert work.of(settled, replace(seen, nodes=other)) == dict.fromkeys(
        ("desired_state", "tally", "totals"), once
    )
    assert work.of(settled, replace(seen, nodes=without)) == {"tally": once, "totals": once}
    assert work.of(settled, seen) == dict.fromkeys(("desired_state", "tally", "totals"), once)


def test_a_changed_report_concerns_its_own_validation_only(
    settled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, seen = Work(monkeypatch), settled.cache.snapshot(settled.settings)
    key = ("b", "n007")
    other = seen.reports | {key: replace(seen.reports[key], message="x")}
    without = {name: one for name, one in seen.reports.items() if name != key}
    alone = {"desired_state": 1, "tally": 1, "totals": 1}
    for reports in (other, without, seen.reports):
        assert work.of(settled, replace(seen, reports=reports)) == alone


def test_after_a_plan_that_failed_the_next_one_looks_at_everything(
    settled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = settled.cache.snapshot(settled.settings)
    other = replace(seen.nodes["n007"], fingerprint="other")
    changed = replace(seen, nodes=seen.nodes | {"n007": other})

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError("by design")

    with monkeypatch.context() as patch:
        patch.setattr(memo, "totals", failing)
        with pytest.raises(ZeroDivisionError):
            plan(changed, settled.now, KNOWLEDGE, settled.memo)
    work = Work(monkeypatch)
    assert work.of(settled, changed)["desired_state"] == NODES * len(ENVIRONMENTS)
    work.of(settled, seen)
