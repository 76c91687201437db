"""The status of an environment and its Events: counts, problems, conditions, and what is worth a word."""

from collections import Counter
from typing import Any

from tests.support import builders
from tests.support.builders import NOW, waiting
from tests.support.world import KNOWLEDGE, World, first_run, fleet

from gpuenv.api import names, reasons
from gpuenv.plan.actions import CreatePod, PostEvent, WriteStatus
from gpuenv.plan.planner import plan


def test_a_specification_that_makes_no_sense_starts_nothing_and_removes_nothing() -> None:
    made = fleet(1)
    made.settle()
    made.finish_all()
    before = made.status()["summary"]
    made.environment(image="no-tag")
    made.settle()
    assert made.condition("Accepted") == ("False", reasons.SpecInvalid)
    assert made.condition("Ready") == ("False", reasons.SpecInvalid)
    assert "spec.image: needs a tag" in made.status()["conditions"][0]["message"]
    assert made.status()["summary"] == before
    assert made.label(node="n00") == "Compatible"
    assert not made.raw["pods"]
    assert [event.reason for event in made.events][-1] == reasons.SpecInvalid


def test_no_node_at_all() -> None:
    made = World()
    made.environment()
    made.settle()
    assert made.condition("Ready") == ("False", reasons.NoMatchingNodes)
    assert made.condition("Compatible") == ("Unknown", reasons.NoMatchingNodes)
    assert made.status()["summary"]["text"] == "0/0"


def mixed() -> World:
    """Three compatible nodes, two without the right driver, one whose image cannot be pulled."""
    made = fleet(6)
    for name in ("n03", "n04"):
        made.node(name, driver="450.80.02")
    made.settle()
    for name in ("n00", "n01", "n02"):
        made.finish(node=name)
    for name in ("n03", "n04"):
        run = made.run_id(node=name)
        facts = builders.facts_report(run)
        facts["driver"] |= {"version": "450.80.02", "cudaVersion": 11000}
        failed = [{"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Skipped"}]
        made.finish(node=name, facts=facts, kernels=builders.kernels_report(run, steps=failed, torch={}))
    made.pod("Pending", node="n05", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "no route"))
    made.settle()
    return made


def test_problems_are_grouped_worst_first() -> None:
    made = mixed()
    problems = made.status()["problems"]
    assert [(one["verdict"], one["reason"], one["nodeCount"], one["nodes"]) for one in problems] == [
        ("Incompatible", reasons.DriverTooOld, 2, ["n03", "n04"]),
        ("Unknown", reasons.ImagePullFailed, 1, ["n05"]),
    ]
    assert all(one["message"] and one["remediation"] for one in problems)


def test_the_summary_adds_up() -> None:
    made = mixed()
    assert made.status()["summary"] == {
        "selected": 6, "compatible": 3, "degraded": 0, "incompatible": 2, "unknown": 1, "running": 0, "waiting": 0,
        "text": "3/6", "problem": "DriverTooOld on 2 nodes",
    }  # fmt: skip
    assert made.condition("Ready") == ("True", reasons.AllAnswered)
    assert made.condition("Compatible") == ("False", reasons.SomeIncompatible)
    assert made.condition("Consistent") == ("True", reasons.OneContent)


def test_a_transition_time_moves_only_with_its_status() -> None:
    made = mixed()
    before = {one["type"]: one["lastTransitionTime"] for one in made.status()["conditions"]}
    made.now += 3600
    made.node("n03", driver="450.80.02", unschedulable=True)
    made.environment(expect={"pytorch": "==2.9.*"})
    made.settle()
    after = {one["type"]: one["lastTransitionTime"] for one in made.status()["conditions"]}
    assert made.condition("Ready")[0] == "False", "n05 is tried again for the new generation"
    moved = {kind for kind in after if after[kind] != before[kind]}
    assert moved == {"Ready"}
    assert {one["observedGeneration"] for one in made.status()["conditions"]} == {2}


def test_ready_is_about_the_generation_that_it_names() -> None:
    """Somebody has corrected the pull secret: the old failure is no answer to that."""
    made = first_run()
    made.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "unauthorized"))
    made.settle()
    assert made.condition("Ready") == ("True", reasons.AllAnswered)
    made.environment(imagePullSecrets=[{"name": "registry"}])
    made.settle()
    assert {one["observedGeneration"] for one in made.status()["conditions"]} == {2}
    assert made.condition("Ready") == ("False", reasons.ValidationRunning)
    assert made.verdict() == ("Unknown", reasons.ImagePullFailed), "the last word until there is another"
    made.finish()
    made.settle()
    assert made.condition("Ready") == ("True", reasons.AllAnswered)


def test_the_pods_of_one_problem_name_at_most_twenty_nodes() -> None:
    made = World()
    made.environment()
    for index in range(25):
        made.node(f"n{index:02}", unschedulable=True)
    made.settle()
    (problem,) = made.status()["problems"]
    assert (problem["nodeCount"], len(problem["nodes"])) == (25, 20)


def test_events_are_grouped_and_come_once() -> None:
    made = mixed()
    about = [event for event in made.events if event.kind == names.ENVIRONMENT_KIND]
    counted = Counter((event.type, event.reason) for event in about)
    assert counted["Warning", reasons.DriverTooOld] == 1
    assert counted["Warning", reasons.ImagePullFailed] == 1
    assert counted["Normal", "Compatible"] == 1
    assert counted["Normal", reasons.AllAnswered] == 1
    (compatible,) = [event for event in about if event.reason == "Compatible"]
    assert compatible.message.startswith("3 nodes Compatible: n00, n01, n02")
    reports = [event.name for event in made.events if event.kind == names.REPORT_KIND]
    assert sorted(reports) == [f"pt.n{index:02}" for index in range(6)]
    made.events.clear()
    made.settle()
    assert not made.events


def test_events_name_five_nodes() -> None:
    made = fleet(9)
    made.settle()
    made.finish_all()
    (event,) = [event for event in made.events if event.reason == "Compatible" and event.name == "pt"]
    assert event.message == "9 nodes Compatible: n00, n01, n02, n03, n04 and 4 more"


def test_a_verdict_that_stays_is_no_event() -> None:
    made = fleet(1)
    made.settle()
    made.finish_all()
    made.events.clear()
    made.now += 2 * 604800
    made.settle()
    made.finish_all()
    assert not made.events


def other_torch(run: str) -> dict[str, Any]:
    facts = builders.facts_report(run)
    facts["torch"] |= {"version": "2.9.0+cu128"}
    return facts


def test_one_name_with_two_contents_is_inconsistent() -> None:
    made = fleet(2)
    made.settle()
    made.finish(node="n00")
    made.finish(node="n01", facts=other_torch(made.run_id(node="n01")))
    made.settle()
    assert made.condition("Consistent") == ("False", reasons.DifferentContent)
    message = next(one for one in made.status()["conditions"] if one["type"] == "Consistent")["message"]
    assert "PyTorch 2.9.0+cu128 and 2.9.1+cu128" in message


def test_digests_of_different_kinds_and_platforms_are_not_compared() -> None:
    made = fleet(3)
    made.settle()
    ids = [builders.IMAGE_ID, "sha256:" + "c" * 64, "docker.io/pytorch/pytorch@sha256:" + "e" * 64]
    for index, image_id in enumerate(ids):
        run = made.run_id(node=f"n{index:02}")
        facts = builders.facts_report(run)
        facts["container"] |= {"machine": "aarch64" if index == 2 else "x86_64"}
        made.pod(
            "Succeeded",
            node=f"n{index:02}",
            image_id=image_id,
            facts=builders.terminated(facts),
            kernels=builders.terminated(builders.kernels_report(run)),
        )
    made.settle()
    assert made.condition("Consistent") == ("True", reasons.OneContent)
    assert [one["platform"] for one in made.status()["image"]["digests"]] == [
        "linux/amd64", "linux/amd64", "linux/arm64",
    ]  # fmt: skip


def test_two_contents_of_one_kind_are_inconsistent() -> None:
    made = fleet(2)
    made.settle()
    made.finish(node="n00")
    run = made.run_id(node="n01")
    made.pod(
        "Succeeded",
        node="n01",
        image_id="docker.io/pytorch/pytorch@sha256:" + "e" * 64,
        facts=builders.terminated(builders.facts_report(run)),
        kernels=builders.terminated(builders.kernels_report(run)),
    )
    made.settle()
    assert made.condition("Consistent") == ("False", reasons.DifferentContent)


def test_ready_is_false_until_the_last_node_answered() -> None:
    made = fleet(2)
    made.settle()
    made.finish(node="n00")
    made.settle()
    assert made.condition("Ready") == ("False", reasons.ValidationRunning)
    made.finish(node="n01")
    made.settle()
    assert made.condition("Ready") == ("True", reasons.AllAnswered)


def test_the_status_is_written_last_and_only_when_it_changes() -> None:
    made = fleet(1)
    planned = made.step()
    positions = [index for index, one in enumerate(planned.actions) if isinstance(one, WriteStatus)]
    creations = [index for index, one in enumerate(planned.actions) if isinstance(one, CreatePod)]
    assert max(creations) < min(positions)
    made.settle()
    assert not any(isinstance(one, WriteStatus | PostEvent) for one in made.step().actions)


def test_the_memo_changes_no_plan() -> None:
    made = mixed()
    for seconds in (0, 100, 1000, 700000):
        made.now += seconds
        seen = made.cache.snapshot(made.settings)
        assert plan(seen, made.now, KNOWLEDGE, made.memo) == plan(seen, made.now, KNOWLEDGE, None)
