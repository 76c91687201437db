"""The status of an environment and its Events: counts, problems, conditions, and what is worth a word."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import NOW, waiting
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.world import KNOWLEDGE, Raw, World

from gpuenv.api import names, reasons
from gpuenv.api.limits.limits import Limits, PullSecret
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import CreatePod, PostEvent, WriteStatus
from gpuenv.plan.context import make_context, make_tables
from gpuenv.plan.fleet.conditions import untimed_conditions
from gpuenv.plan.fleet.totals import Problem, totals
from gpuenv.plan.planner import plan
from gpuenv.plan.settings import Settings


def test_a_specification_that_makes_no_sense_starts_nothing_and_removes_nothing() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    before = world.status()["summary"]
    world.environment(image="no-tag")
    world.settle()
    assert world.condition("Accepted") == ("False", reasons.SpecInvalid)
    assert world.condition("Ready") == ("False", reasons.SpecInvalid)
    assert "spec.image: needs a tag" in world.status()["conditions"][0]["message"]
    assert world.status()["summary"] == before
    assert world.label(node="n00") == "Compatible"
    assert not world.objects("pods")
    assert [event.reason for event in world.events][-1] == reasons.SpecInvalid


def test_no_node_at_all() -> None:
    world = World()
    world.environment()
    world.settle()
    assert world.condition("Ready") == ("True", reasons.NoMatchingNodes)
    for kind in ("Compatible", "Consistent"):
        assert world.condition(kind) == ("Unknown", reasons.NoMatchingNodes)
    assert world.condition("Published") == ("True", reasons.UpToDate)
    assert world.status()["summary"]["selected"] == 0
    (problem,) = world.status()["problems"]
    assert problem["reason"] == reasons.NoMatchingNodes
    assert [(event.type, event.reason) for event in world.events] == [("Warning", reasons.NoMatchingNodes)]


@pytest.mark.parametrize("before", ["True", "Unknown"])
def test_published_depends_on_what_nodes_show_and_not_on_what_it_was_before(before: str) -> None:
    """Whether labels or the status are written first after a change is a matter of chance."""
    world = validated()
    world.environment(image="pytorch/pytorch:2.8.0", suspend=True)
    world.settle()
    assert world.label() == "Unknown"
    assert world.condition("Ready") == ("False", reasons.Suspended)

    def rewrite(raw: Raw) -> None:
        (published,) = (one for one in raw["status"]["conditions"] if one["type"] == "Published")
        published |= {"status": before, "observedGeneration": 1}

    world.change("environments", "pt", rewrite)
    world.settle()
    assert world.condition("Published") == ("True", reasons.UpToDate)


def test_published_is_unknown_until_each_node_has_a_verdict() -> None:
    world = validated()
    world.node("n2")
    world.settle()
    assert world.condition("Published") == ("Unknown", reasons.ValidationRunning)
    world.finish(node="n2")
    world.settle()
    assert world.condition("Published") == ("True", reasons.UpToDate)


def mixed() -> World:
    """Three compatible nodes, two without the right driver, one whose image cannot be pulled."""
    world = fleet(6)
    for name in ("n03", "n04"):
        world.node(name, driver="450.80.02")
    world.settle()
    for name in ("n00", "n01", "n02"):
        world.finish(node=name)
    for name in ("n03", "n04"):
        run = world.run_id(node=name)
        facts = builders.facts_report(run)
        facts["driver"] |= {"version": "450.80.02", "cudaVersion": 11000}
        failed = [{"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Skipped"}]
        world.finish(node=name, facts=facts, kernels=builders.kernels_report(run, steps=failed, torch={}))
    world.pod("Pending", node="n05", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "no route"))
    world.settle()
    return world


def test_problems_are_grouped_worst_first() -> None:
    world = mixed()
    problems = world.status()["problems"]
    assert [(one["verdict"], one["reason"], one["nodeCount"], one["nodes"]) for one in problems] == [
        ("Incompatible", reasons.DriverTooOld, 2, ["n03", "n04"]),
        ("Unknown", reasons.ImagePullFailed, 1, ["n05"]),
    ]
    assert all(one["message"] and one["remedies"] for one in problems)


def test_the_summary_adds_up() -> None:
    world = mixed()
    assert world.status()["summary"] == {
        "selected": 6, "compatible": 3, "degraded": 0, "incompatible": 2, "unknown": 1, "running": 0, "waiting": 0,
    }  # fmt: skip
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    assert world.condition("Compatible") == ("False", reasons.SomeIncompatible)
    assert world.condition("Consistent") == ("True", reasons.OneContent)
    assert world.condition("Published") == ("True", reasons.UpToDate)
    assert world.condition("Stalled") == ("False", reasons.SpecAccepted)
    messages = {one["type"]: one["message"] for one in world.status()["conditions"]}
    assert messages["Ready"] == "all 6 nodes answered: 3 Compatible, 2 Incompatible, 1 Unknown"
    assert messages["Consistent"] == "5 of 6 nodes ran, all with the same content"


def test_a_condition_that_lists_problems_says_how_many_more_there_are() -> None:
    world = World()
    world.environment()
    world.node("cordoned", unschedulable=True)
    world.node("empty", gpus=0)
    world.settle()
    (message,) = [one["message"] for one in world.status()["conditions"] if one["type"] == "Compatible"]
    assert message == f"2 of 2 nodes unknown: {reasons.GpuNotAdvertised} (1), {reasons.HeldOff} (1)"
    problems = tuple(
        Problem(Verdict.INCOMPATIBLE, f"Reason{number}", 1, ("n",), "", ()) for number in range(5)
    )
    context = make_context(world.cache.environments["pt"], Settings(), make_tables(KNOWLEDGE), [])
    found = replace(totals(context, []), selected=9, verdicts={Verdict.INCOMPATIBLE: 5}, problems=problems)
    conditions = untimed_conditions(world.cache.environments["pt"], found)
    (message,) = [one.message for one in conditions if one.type == "Compatible"]
    assert message == "5 of 9 nodes incompatible: Reason0 (1), Reason1 (1), Reason2 (1) and 2 more reasons"


def test_an_environment_without_nodes_says_that_it_is_suspended_too() -> None:
    world = World()
    world.environment(suspend=True)
    world.settle()
    (message,) = [one["message"] for one in world.status()["conditions"] if one["type"] == "Ready"]
    assert message.endswith("; also, spec.suspend is true")
    assert [one["reason"] for one in world.status()["problems"]] == [
        reasons.NoMatchingNodes,
        reasons.Suspended,
    ]


def test_a_suspended_environment_says_so_before_it_names_nodes_without_verdict() -> None:
    world = World()
    world.environment(suspend=True)
    world.node("cordoned", unschedulable=True)
    world.settle()
    assert [one["reason"] for one in world.status()["problems"]] == [reasons.Suspended, reasons.HeldOff]
    world.node("cordoned", unschedulable=False)
    world.settle()
    messages = {one["type"]: one["message"] for one in world.status()["conditions"]}
    assert all("spec.suspend" in messages[kind] for kind in ("Ready", "Compatible", "Consistent"))


def test_a_transition_time_moves_only_with_its_status() -> None:
    world = mixed()
    before = {one["type"]: one["lastTransitionTime"] for one in world.status()["conditions"]}
    world.now += 3600
    world.node("n03", driver="450.80.02", unschedulable=True)
    world.environment(expect={"pytorch": "==2.9.*"})
    world.settle()
    after = {one["type"]: one["lastTransitionTime"] for one in world.status()["conditions"]}
    assert world.condition("Ready")[0] == "False", "n05 is tried again for the new generation"
    moved = {kind for kind in after if after[kind] != before[kind]}
    assert moved == {"Ready", "Consistent"}
    assert {one["observedGeneration"] for one in world.status()["conditions"]} == {2}


def test_ready_is_about_the_generation_that_it_names() -> None:
    """Somebody has corrected the pull secret: the old failure is no answer to that."""
    world = first_run(settings={"limits": Limits(pull_secrets=(PullSecret("registry", ("*",)),))})
    world.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "unauthorized"))
    world.settle()
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    world.environment(imagePullSecrets=[{"name": "registry"}])
    world.settle()
    assert {one["observedGeneration"] for one in world.status()["conditions"]} == {2}
    assert world.condition("Ready") == ("False", reasons.ValidationRunning)
    assert world.verdict() == ("Unknown", reasons.ImagePullFailed), "the last word until there is another"
    world.finish()
    world.settle()
    assert world.condition("Ready") == ("True", reasons.AllAnswered)


def test_the_pods_of_one_problem_name_at_most_twenty_nodes() -> None:
    world = World()
    world.environment()
    for index in range(25):
        world.node(f"n{index:02}", unschedulable=True)
    world.settle()
    (problem,) = world.status()["problems"]
    assert (problem["nodeCount"], len(problem["nodes"])) == (25, 20)


def test_events_are_grouped_and_come_once() -> None:
    world = mixed()
    about = [event for event in world.events if event.kind == names.ENVIRONMENT_KIND]
    counted = Counter((event.type, event.reason) for event in about)
    assert counted["Warning", reasons.DriverTooOld] == 1
    assert counted["Warning", reasons.ImagePullFailed] == 1
    assert counted["Normal", "Compatible"] == 1
    assert counted["Normal", reasons.AllAnswered] == 1
    (compatible,) = [event for event in about if event.reason == "Compatible"]
    assert compatible.message.startswith("3 nodes Compatible: n00, n01, n02")
    reports = [event.name for event in world.events if event.kind == names.REPORT_KIND]
    assert sorted(reports) == [f"pt.n{index:02}" for index in range(3, 6)], "not of those that are Compatible"
    world.forget_events()
    world.settle()
    assert not world.events


def test_events_name_five_nodes() -> None:
    world = fleet(9)
    world.settle()
    world.finish_all()
    (event,) = [event for event in world.events if event.reason == "Compatible" and event.name == "pt"]
    assert event.message == "9 nodes Compatible: n00, n01, n02, n03, n04 and 4 more"


def test_a_verdict_that_stays_is_no_event() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    world.forget_events()
    world.now += 2 * 604800
    world.settle()
    world.finish_all()
    assert not world.events


def other_torch(run: str) -> dict[str, Any]:
    facts = builders.facts_report(run)
    facts["torch"] |= {"version": "2.9.0+cu128"}
    return facts


def test_one_name_with_two_contents_is_inconsistent() -> None:
    world = fleet(2)
    world.settle()
    world.finish(node="n00")
    world.finish(node="n01", facts=other_torch(world.run_id(node="n01")))
    world.settle()
    assert world.condition("Consistent") == ("False", reasons.DifferentContent)
    message = next(one for one in world.status()["conditions"] if one["type"] == "Consistent")["message"]
    assert "pytorch 2.9.0+cu128 and 2.9.1+cu128" in message


def test_digests_of_different_kinds_and_platforms_are_not_compared() -> None:
    world = fleet(3)
    world.settle()
    ids = [builders.IMAGE_ID, "sha256:" + "c" * 64, "docker.io/pytorch/pytorch@sha256:" + "e" * 64]
    for index, image_id in enumerate(ids):
        run = world.run_id(node=f"n{index:02}")
        facts = builders.facts_report(run)
        facts["container"] |= {"machine": "aarch64" if index == 2 else "x86_64"}
        world.pod(
            "Succeeded",
            node=f"n{index:02}",
            image_id=image_id,
            facts=builders.terminated(facts),
            kernels=builders.terminated(builders.kernels_report(run)),
        )
    world.settle()
    assert world.condition("Consistent") == ("True", reasons.OneContent)
    assert [one["platform"] for one in world.status()["image"]["digests"]] == [
        "linux/amd64", "linux/amd64", "linux/arm64",
    ]  # fmt: skip


def test_two_contents_of_one_kind_are_inconsistent() -> None:
    world = fleet(2)
    world.settle()
    world.finish(node="n00")
    run = world.run_id(node="n01")
    world.pod(
        "Succeeded",
        node="n01",
        image_id="docker.io/pytorch/pytorch@sha256:" + "e" * 64,
        facts=builders.terminated(builders.facts_report(run)),
        kernels=builders.terminated(builders.kernels_report(run)),
    )
    world.settle()
    assert world.condition("Consistent") == ("False", reasons.DifferentContent)


def test_ready_is_false_until_the_last_node_answered() -> None:
    world = fleet(2)
    world.settle()
    world.finish(node="n00")
    world.settle()
    assert world.condition("Ready") == ("False", reasons.ValidationRunning)
    world.finish(node="n01")
    world.settle()
    assert world.condition("Ready") == ("True", reasons.AllAnswered)


def test_the_status_is_written_last_and_only_when_it_changes() -> None:
    world = fleet(1)
    planned = world.step()
    positions = [index for index, one in enumerate(planned.actions) if isinstance(one, WriteStatus)]
    creations = [index for index, one in enumerate(planned.actions) if isinstance(one, CreatePod)]
    assert max(creations) < min(positions)
    world.settle()
    assert not any(isinstance(one, WriteStatus | PostEvent) for one in world.step().actions)


def test_the_memo_changes_no_plan() -> None:
    world = mixed()
    for seconds in (0, 100, 1000, 700000):
        world.now += seconds
        seen = world.cache.snapshot(world.settings)
        assert plan(seen, world.now, KNOWLEDGE, world.memo) == plan(seen, world.now, KNOWLEDGE, None)
