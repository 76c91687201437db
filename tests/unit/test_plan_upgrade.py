"""What a new version of gpuenv, or new tables, do to the reports of a cluster: they change those that come out otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import kinds
from tests.support.started_worlds import fleet
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import reasons
from gpuenv.api.remedies import Action
from gpuenv.plan import context
from gpuenv.plan.actions import WriteReport
from gpuenv.plan.context import make_tables

Raw = dict[str, Any]


def no_fabric(run: str) -> Raw:
    facts = builders.facts_report(run)
    return facts | {"driver": facts["driver"] | {"cuInit": 802}}


def cpu_build(run: str) -> Raw:
    return builders.facts_report(run, torch={"version": "2.9.1+cpu", "cuda": None, "cpuBuild": True})


def slow(run: str) -> Raw:
    kernels = builders.kernels_report(run)
    kernels["benchmarks"][0]["median"] = 90.0
    return kernels


OUTCOMES: list[tuple[Callable[[str], Raw], Callable[[str], Raw]]] = [
    (builders.facts_report, builders.kernels_report),
    (builders.facts_report, builders.kernels_report),
    (builders.facts_report, builders.kernels_report),
    (builders.facts_report, slow),
    (builders.facts_report, builders.wrong_matmul),
    (no_fabric, builders.kernels_report),
    (cpu_build, builders.kernels_report),
]


def mixed_fleet() -> World:
    """A fleet with good, slow, wrong, broken and unanswered nodes, and nothing left to do."""
    floors = [{"benchmark": "MatMul", "dtype": "BF16", "minPercentOfPeers": 80}]
    world = fleet(len(OUTCOMES) + 1, benchmarks={"floors": floors}, strategy={"maxConcurrent": "100%"})
    world.settle()
    for _ in range(2):
        # Twice, because a second run has to confirm wrong numbers.
        for index, (facts, kernels) in enumerate(OUTCOMES):
            node = f"n{index:02}"
            if world.pods_of(node=node):
                run = world.run_id(node=node)
                world.finish(node=node, facts=facts(run), kernels=kernels(run))
        crashed = f"n{len(OUTCOMES):02}"
        if world.pods_of(node=crashed):
            report = builders.facts_report(world.run_id(node=crashed))
            facts = builders.terminated(report, at=world.now)
            world.pod("Failed", node=crashed, scheduled=world.now, sandbox=world.now, facts=facts,
                     kernels=builders.terminated("", code=139, at=world.now))  # fmt: skip
        world.settle()
    for pod in list(world.objects("pods")):
        world.gone("pods", pod)
    world.environment(benchmarks={"floors": floors}, strategy={"maxConcurrent": "100%"}, suspend=True)
    world.settle()
    return world


def test_the_fleet_has_seen_everything() -> None:
    world = mixed_fleet()
    found = {report.reason for report in world.cache.reports.values()}
    assert found == {
        "", reasons.BelowFloor, reasons.TorchCpuBuild, reasons.FabricNotReady, reasons.ProbeCrashed, reasons.WrongResult,
    }  # fmt: skip
    assert len({report.verdict for report in world.cache.reports.values()}) >= 3


def test_a_new_version_alone_writes_nothing(monkeypatch: pytest.MonkeyPatch, assessments: list[int]) -> None:
    world = mixed_fleet()
    assessments.clear()
    world.restart()
    assert world.plan().actions == ()
    assert not assessments

    monkeypatch.setattr(context, "__version__", "99.0.0")
    world.restart()
    assert world.plan().actions == ()
    answered = [report for report in world.cache.reports.values() if report.result is not None]
    assert len(assessments) == len(answered) > len(OUTCOMES) - 1


def test_what_came_out_the_same_is_not_assessed_at_every_plan(
    monkeypatch: pytest.MonkeyPatch, assessments: list[int]
) -> None:
    world = mixed_fleet()
    monkeypatch.setattr(context, "__version__", "99.0.0")
    world.restart()
    world.plan()
    assessments.clear()

    # The nodes' records change, but not in what an assessment looks at.
    for index in range(len(OUTCOMES) + 1):
        world.node(f"n{index:02}", taints=[{"key": "dedicated", "effect": "NoSchedule"}])
    assert world.plan().actions == ()
    assert not assessments

    # Facts of one node change: only this one is assessed again.
    world.node("n00", labels={"nvidia.com/gpu.replicas": "2"})
    world.plan()
    assert len(assessments) == 1


def test_tables_that_say_the_same_have_the_same_key() -> None:
    key = make_tables(KNOWLEDGE).key
    turned = {
        name: dict(reversed(getattr(KNOWLEDGE, name).items()))
        for name in ("toolkits", "models", "reasons", "torch")
    }
    assert make_tables(replace(KNOWLEDGE, **turned)).key == key
    assert make_tables(replace(KNOWLEDGE, errors=KNOWLEDGE.errors[::-1])).key != key


def test_new_tables_write_the_reports_that_come_out_otherwise_and_no_other() -> None:
    world = mixed_fleet()
    rule = KNOWLEDGE.errors_by_code["cuda", 802]
    changed = replace(rule, cure="Restart the fabric manager.", action=Action.RESET_GPU)
    world.knowledge = replace(KNOWLEDGE, errors_by_code={**KNOWLEDGE.errors_by_code, ("cuda", 802): changed})
    world.restart()
    planned = world.step()
    (written,) = [action for action in planned.actions if isinstance(action, WriteReport)]
    assert written.node == "n05"
    assert "Restart the fabric manager." in str(written.status["checks"])
    assert set(kinds(planned)) <= {"WriteReport", "WriteStatus"}
    world.settle()
    world.restart()
    assert world.plan().actions == ()


def test_new_tables_that_turn_one_verdict_change_its_label_too() -> None:
    world = mixed_fleet()
    before = {node: world.label(node=node) for node in world.objects("nodes")}
    rule = KNOWLEDGE.errors_by_code["cuda", 802]
    codes = {**KNOWLEDGE.errors_by_code, ("cuda", 802): replace(rule, status="Unknown")}
    world.knowledge = replace(KNOWLEDGE, errors_by_code=codes)
    world.restart()
    planned = world.step()
    assert kinds(planned).count("WriteReport") == kinds(planned).count("SetLabel") == 1
    world.settle()
    after = {node: world.label(node=node) for node in world.objects("nodes")}
    assert {node for node in after if after[node] != before[node]} == {"n05"}
