"""Many nodes that leave Compatible at once: labels are held back until somebody accepts that, and reports are true."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.mass_changes import (
    CPU_BUILD,
    NEW,
    accept,
    break_runs,
    good_fleet,
    held,
    labels,
    node,
    roll_out,
    told,
    verdicts,
)
from tests.support.started_worlds import fleet
from tests.support.world import KNOWLEDGE

from gpuenv.api import names, reasons
from gpuenv.plan import context

COMMAND = "kubectl annotate --overwrite genv/pt gpuenv.dev/accept-change="


# ---- what triggers it --------------------------------------------------------------------------------------


def test_a_driver_roll_out_keeps_the_labels_and_says_so() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    assert verdicts(world) == ["Unknown"] * 6, "reports are true at once"
    assert held(world) == [node(index) for index in range(6)]
    change = world.status()["massChange"]
    assert change["message"] == f"6 of 6 nodes would leave Compatible: driver 570.86.15 -> {NEW} (6)"
    assert world.condition("Published") == ("False", reasons.MassChange)
    assert world.status()["summary"]["unknown"] == 6
    (published,) = (one for one in world.status()["conditions"] if one["type"] == "Published")
    assert published["message"].endswith(COMMAND + change["id"])
    assert told(world) == [("Warning", published["message"])]
    assert len(world.live_pods()) == 6, "new runs start as ever"


def test_new_tables_with_a_new_version_of_gpuenv(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fleet(6)
    rule = KNOWLEDGE.errors_by_code["cuda", 802]
    codes = {**KNOWLEDGE.errors_by_code, ("cuda", 802): replace(rule, status="Note")}
    world.knowledge = replace(KNOWLEDGE, errors_by_code=codes)
    world.settle()
    for pod in world.live_pods():
        facts = builders.facts_report(pod.run_id)
        facts["driver"]["cuInit"] = 802
        world.finish(node=pod.node, facts=facts)
    world.settle()
    assert labels(world) == ["Compatible"] * 6

    monkeypatch.setattr(context, "__version__", "99.0.0")
    world.knowledge = KNOWLEDGE
    world.restart()
    world.settle()
    assert "Compatible" not in verdicts(world)
    assert len(held(world)) == 6
    assert f"{reasons.FabricNotReady} without a new run (6)" in world.status()["massChange"]["message"]
    assert world.condition("Ready") == ("False", reasons.MassChange)


def test_a_broken_image_under_the_same_name() -> None:
    world = good_fleet(5)
    break_runs(world, range(4))
    assert verdicts(world) == ["Incompatible"] * 4 + ["Compatible"]
    assert held(world) == [node(index) for index in range(4)]
    assert f"{reasons.TorchCpuBuild} (4)" in world.status()["massChange"]["message"]
    assert world.condition("Compatible") == ("False", reasons.SomeIncompatible)
    assert world.condition("Ready") == ("False", reasons.MassChange)


def test_the_new_content_of_an_image_is_the_cause() -> None:
    world = good_fleet(3)
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "1")
    world.settle()
    for pod in world.live_pods():
        facts = builders.terminated(builders.facts_report(pod.run_id, torch=CPU_BUILD), at=world.now)
        kernels = builders.terminated(builders.kernels_report(pod.run_id), at=world.now)
        digest = "docker.io/pytorch/pytorch@sha256:" + "e" * 64
        world.pod(
            "Succeeded", name=pod.name, scheduled=world.now, sandbox=world.now,
            facts=facts, kernels=kernels, image_id=digest,
        )  # fmt: skip
    world.settle()
    assert f"image content {'d' * 12} -> {'e' * 12} (3)" in world.status()["massChange"]["message"]


def test_devices_that_disappear_everywhere() -> None:
    world = good_fleet(4)
    for index in range(4):
        world.node(node(index), gpus=(8, 0))
    world.settle()
    assert held(world) == [node(index) for index in range(4)]
    assert f"{reasons.GpuNotAdvertised} (4)" in world.status()["massChange"]["message"]


def test_several_causes_are_counted_apart() -> None:
    world = good_fleet(6)
    for index in range(5):
        world.node(node(index), driver=NEW)
    world.node(node(5), gpus=(8, 0))
    world.settle()
    message = world.status()["massChange"]["message"]
    assert message == (
        f"6 of 6 nodes would leave Compatible: driver 570.86.15 -> {NEW} (5), {reasons.GpuNotAdvertised} (1)"
    )


def test_the_condition_of_a_node_is_held_back_too() -> None:
    world = good_fleet(4, publish={"nodeCondition": "Measured"})
    roll_out(world, range(4))
    shown = {one.compat_conditions["pt"] for one in world.cache.nodes.values()}
    assert shown == {("True", "Compatible")}
    accept(world)
    assert {one.compat_conditions["pt"] for one in world.cache.nodes.values()} == {("Unknown", reasons.Stale)}


# ---- what does not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "few"), [(3, 2), (6, 2), (10, 3), (20, 6)])
def test_as_many_nodes_as_are_allowed_change_at_once(nodes: int, few: int) -> None:
    world = good_fleet(nodes)
    roll_out(world, range(few))
    assert not held(world)
    assert labels(world) == ["Unknown"] * few + ["Compatible"] * (nodes - few)
    assert world.condition("Published") == ("True", reasons.UpToDate)
    roll_out(world, [few])
    assert held(world) == [node(few)]
    assert f", after {few} in the last 24 h" in world.status()["massChange"]["message"]


@pytest.mark.parametrize(
    "spec",
    [
        {"image": "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"},
        {"checks": {"imports": ["vllm"]}},
        {"expect": {"pytorch": "==2.8.*"}},
        {"image": "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime", "expect": {"driver": ">=999"}},
    ],
)
@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_what_people_change_on_purpose(spec: dict[str, Any], one_at_a_time: bool) -> None:
    world = good_fleet(6)
    world.assessed_per_plan = 1 if one_at_a_time else None
    world.environment(**spec)
    world.settle()
    assert "Compatible" not in labels(world)
    assert labels(world) == verdicts(world)
    assert "massChange" not in world.status()
    assert not told(world)


def test_after_changed_expectations_tables_are_watched_again() -> None:
    world = good_fleet(6)
    world.environment(expect={"pytorch": "==2.9.*"})
    world.settle()
    assert labels(world) == ["Compatible"] * 6
    roll_out(world, range(6))
    assert len(held(world)) == 6


def test_another_setting_of_the_environment_hides_no_accident() -> None:
    world = good_fleet(6)
    for index in range(6):
        world.node(node(index), gpus=(8, 0))
    world.environment(strategy={"maxConcurrent": 7})
    world.settle()
    assert len(held(world)) == 6


def test_nodes_that_are_no_longer_selected_or_published() -> None:
    world = good_fleet(6)
    world.environment(publish={"nodeLabel": "None"})
    roll_out(world, range(6))
    assert labels(world) == [None] * 6
    assert world.condition("Published") == ("False", reasons.Disabled)
    assert "massChange" not in world.status()


def test_a_reboot_says_unknown_at_once_and_does_not_count() -> None:
    world = good_fleet(6)
    for index in range(5):
        world.node(node(index), boot="boot-2")
    world.settle()
    assert labels(world) == ["Unknown"] * 5 + ["Compatible"]
    roll_out(world, [5])
    assert labels(world) == ["Unknown"] * 6
    assert "massChange" not in world.status()


def test_a_replaced_node_loses_its_label_at_once() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    world.node(node(0), uid="another", driver=NEW)
    world.settle()
    assert world.label(node=node(0)) is None
    assert node(0) not in held(world)


def test_a_new_node_gets_no_better_label_than_its_report() -> None:
    world = good_fleet(4)
    roll_out(world, range(4))
    world.node("n99", driver=NEW)
    world.settle()
    assert world.label(node="n99") is None
    run = world.run_id(node="n99")
    world.finish(node="n99", facts=builders.facts_report(run, torch=CPU_BUILD))
    world.settle()
    assert world.label(node="n99") == "Incompatible"


@pytest.mark.parametrize(
    "off", [{"mass_change_percent": 0}, {"mass_change_percent": 100}, {"mass_change_min_nodes": 7}]
)
def test_it_can_be_switched_off(off: dict[str, Any]) -> None:
    world = good_fleet(6, settings=off)
    roll_out(world, range(6))
    assert labels(world) == ["Unknown"] * 6
    assert "massChange" not in world.status()


def test_a_result_that_cannot_be_stored_leaves_no_label() -> None:
    world = good_fleet(4)
    world.kube.deny(
        "PATCH",
        "/gpunodereports/.*/status$",
        422,
        "Invalid",
        "no",
        when=lambda body: "checks" in body[-1]["value"],
    )
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "1")
    world.settle()
    world.finish_all()
    assert labels(world) == ["Unknown"] * 4
