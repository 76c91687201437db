"""Many nodes that leave Compatible at once: labels are held back until somebody accepts that, and reports are true."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import fleet
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import names, reasons
from gpuenv.plan import context
from gpuenv.plan.actions import SetLabel

NEW = "580.65.06"
DAY = 86400.0
COMMAND = "kubectl annotate --overwrite genv/pt gpuenv.dev/accept-change="


def good_fleet(count: int, /, *, settings: dict[str, Any] | None = None, **spec: Any) -> World:
    """Return a world with so many Compatible nodes and nothing to do."""
    world = fleet(count, settings={"max_probes": 1000, **(settings or {})}, **spec)
    world.settle()
    world.finish_all()
    assert labels(world) == ["Compatible"] * count
    world.forget_events()
    return world


def node(index: int) -> str:
    return f"n{index:02}"


def roll_out(world: World, indexes: Iterable[int], driver: str = NEW) -> None:
    """Give nodes another driver, and let the operator see it. It starts new runs, which go on."""
    for index in indexes:
        world.node(node(index), driver=driver)
    world.settle()


def finish(world: World, indexes: Iterable[int]) -> None:
    """End the runs on nodes that have the new driver well, and let the operator take that up."""
    for index in indexes:
        run = world.run_id(node=node(index))
        facts = builders.facts_report(run)
        facts["driver"] |= {"version": NEW, "cudaVersion": 13000}
        world.finish(node=node(index), facts=facts)
    world.settle()


CPU_BUILD = {"version": "2.9.1+cpu", "cuda": None, "cpuBuild": True}


def break_runs(world: World, indexes: Iterable[int]) -> None:
    """Ask for new runs everywhere, and let those on the given nodes fail."""
    failing = {node(index) for index in indexes}
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, str(world.now))
    world.settle()
    for pod in world.live_pods():
        run = pod.run_id
        broken = builders.facts_report(run, torch=CPU_BUILD) if pod.node in failing else None
        world.finish(node=pod.node, facts=broken)
    world.settle()


def accept(world: World, change: str = "") -> None:
    """Accept the change that stands, or the one with this id."""
    change = change or world.status()["massChange"]["id"]
    world.annotate("environments", "pt", names.ANNOTATION_ACCEPT_CHANGE, change)
    world.settle()


def labels(world: World) -> list[str | None]:
    return [world.label(node=name) for name in sorted(world.objects("nodes"))]


def verdicts(world: World) -> list[str]:
    return [report.verdict.value for _, report in sorted(world.cache.reports.items())]


def held(world: World) -> list[str]:
    """Return the nodes whose label is better than their report. They are those that the status names."""
    found = [
        one.node
        for one in world.cache.reports.values()
        if world.label(node=one.node) == "Compatible" != one.verdict.value
    ]
    change = world.status().get("massChange", {"nodes": [], "nodeCount": 0})
    assert (sorted(found)[:20], len(found)) == (change["nodes"], change["nodeCount"])
    return sorted(found)


def told(world: World) -> list[tuple[str, str]]:
    """Return the type and the message of each Event about a mass change."""
    return [(one.type, one.message) for one in world.events if one.reason == reasons.MassChange]


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


# ---- how it ends -------------------------------------------------------------------------------------------


def test_an_accepted_change_goes_through_and_the_next_needs_its_own() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    first = world.status()["massChange"]["id"]
    accept(world)
    assert labels(world) == ["Unknown"] * 6
    assert world.condition("Published") == ("True", reasons.UpToDate)
    assert told(world)[1:] == [("Normal", f"change {first} was accepted: nodes show their verdicts again")]
    finish(world, range(6))
    assert labels(world) == ["Compatible"] * 6

    roll_out(world, range(6), driver="590.1")
    assert len(held(world)) == 6, "the annotation that is still there accepts no other change"
    assert world.status()["massChange"]["id"] != first


def test_what_was_accepted_does_not_count_any_more() -> None:
    world = good_fleet(10)
    roll_out(world, range(8))
    accept(world)
    roll_out(world, [8, 9])
    assert labels(world) == ["Unknown"] * 10
    assert "massChange" not in world.status()


def test_an_unknown_id_accepts_nothing() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    accept(world, "true")
    assert len(held(world)) == 6


def test_an_acceptance_that_came_too_late_accepts_no_later_change() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    first = world.status()["massChange"]
    roll_out(world, range(6), driver="570.86.15")
    assert labels(world) == ["Compatible"] * 6, "the results are current again"
    accept(world, first["id"])
    roll_out(world, range(6))
    second = world.status()["massChange"]
    assert second["message"] == first["message"]
    assert second["id"] != first["id"]
    assert len(held(world)) == 6


def test_it_ends_when_the_nodes_are_compatible_again() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    change = world.status()["massChange"]["id"]
    finish(world, range(6))
    assert labels(world) == verdicts(world) == ["Compatible"] * 6
    assert "massChange" not in world.status()
    assert world.condition("Published") == ("True", reasons.UpToDate)
    assert told(world)[1:] == [("Normal", f"change {change} is over: nodes show their verdicts again")]
    assert not any(report.departure for report in world.cache.reports.values())


def test_what_is_left_of_it_goes_through_when_it_is_small() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    finish(world, range(2, 6))
    assert labels(world) == ["Unknown"] * 2 + ["Compatible"] * 4
    assert not held(world)


def test_nodes_that_come_back_make_room_for_others() -> None:
    """A roll-out that goes well, a few nodes at a time, holds nothing back."""
    world = good_fleet(6)
    for start in (0, 2, 4):
        pair = range(start, start + 2)
        roll_out(world, pair)
        assert not held(world)
        finish(world, pair)
    assert labels(world) == ["Compatible"] * 6


def test_after_the_window_as_many_nodes_may_leave_again() -> None:
    world = good_fleet(10, settings={"mass_change_window_seconds": DAY})
    roll_out(world, range(3))
    roll_out(world, [3])
    assert held(world) == [node(3)]
    planned = world.plan()
    assert planned.wake_at is not None
    world.now += DAY - 1
    world.settle()
    assert world.label(node=node(3)) == "Compatible"
    world.now += 1
    world.settle()
    assert not held(world)
    assert world.label(node=node(3)) == "Unknown"


def test_an_intended_change_ends_it() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    world.environment(image="pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime")
    world.settle()
    assert labels(world) == ["Unknown"] * 6
    assert "massChange" not in world.status()


def test_a_rebooted_node_leaves_it() -> None:
    world = good_fleet(6)
    roll_out(world, range(6))
    world.node(node(2), driver=NEW, boot="boot-2")
    world.settle()
    assert world.label(node=node(2)) == "Unknown"
    assert held(world) == [node(index) for index in (0, 1, 3, 4, 5)]


# ---- growth ------------------------------------------------------------------------------------------------


def test_a_few_more_nodes_do_not_race_with_whoever_accepts() -> None:
    world = good_fleet(20)
    roll_out(world, range(8))
    change = world.status()["massChange"]["id"]
    roll_out(world, range(8, 13))
    world.node(node(13), gpus=(8, 0))
    world.settle()
    assert world.status()["massChange"]["id"] == change
    assert world.status()["massChange"]["nodeCount"] == 14
    accept(world, change)
    assert labels(world) == ["Unknown"] * 14 + ["Compatible"] * 6


def test_a_change_that_has_grown_much_needs_a_new_acceptance() -> None:
    world = good_fleet(20)
    roll_out(world, range(8))
    change = world.status()["massChange"]["id"]
    roll_out(world, range(8, 15))
    assert world.status()["massChange"]["id"] != change
    accept(world, change)
    assert len(held(world)) == 15
    assert len(told(world)) == 2, "there is an Event for each"


def test_another_cause_needs_a_new_acceptance() -> None:
    world = good_fleet(20)
    roll_out(world, range(8))
    change = world.status()["massChange"]["id"]
    finish(world, range(8))
    for index in range(8, 16):
        world.node(node(index), gpus=(8, 0))
    world.settle()
    assert world.status()["massChange"]["id"] != change


# ---- restarts and upgrades ---------------------------------------------------------------------------------


def test_a_restart_changes_nothing() -> None:
    world = good_fleet(10)
    roll_out(world, range(3))
    world.restart()
    roll_out(world, [3])
    assert held(world) == [node(3)], "what left before the restart counts"
    status, shown = world.status(), labels(world)
    world.restart()
    assert world.plan().actions == ()
    world.settle()
    assert (world.status(), labels(world)) == (status, shown)
    accept(world)
    world.restart()
    world.settle()
    assert labels(world) == ["Unknown"] * 4 + ["Compatible"] * 6


def test_a_restart_before_the_status_is_written_holds_the_same_labels() -> None:
    world = good_fleet(6)
    world.kube.deny("PATCH", "/gpuenvironments/.*/status$", 500, "", "no")
    for index in range(6):
        world.node(node(index), driver=NEW)
    world.step()
    world.restart()
    world.step()
    assert labels(world) == ["Compatible"] * 6
    world.kube.hooks.clear()
    world.settle()
    assert len(held(world)) == 6


def test_the_first_start_of_a_version_that_knows_mass_changes_writes_nothing() -> None:
    world = good_fleet(6)

    def older(raw: dict[str, Any]) -> None:
        del raw["status"]["internal"]

    world.change("environments", "pt", older)
    world.restart()
    assert world.plan().actions == ()
    roll_out(world, range(6))
    assert len(held(world)) == 6


def test_a_clock_that_was_wrong_does_not_hold_labels_for_ever() -> None:
    world = good_fleet(10)
    world.now += 10 * DAY
    roll_out(world, range(3))
    world.now -= 10 * DAY
    world.restart()
    roll_out(world, [3])
    assert held(world) == [node(3)]
    accept(world)
    assert world.label(node=node(3)) == "Unknown"


def test_labels_that_stand_are_not_planned() -> None:
    world = good_fleet(6)
    for index in range(6):
        world.node(node(index), driver=NEW)
    planned = world.plan()
    assert not [action for action in planned.actions if isinstance(action, SetLabel)]
    assert planned.held == {"pt": 6}
