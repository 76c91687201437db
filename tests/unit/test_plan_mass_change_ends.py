"""How a mass change ends, grows, and survives restarts of the operator."""

from typing import Any

from tests.support.mass_changes import (
    NEW,
    accept,
    finish,
    good_fleet,
    held,
    labels,
    node,
    roll_out,
    told,
    verdicts,
)

from gpuenv.api import names, reasons
from gpuenv.plan.actions import SetLabel
from gpuenv.plan.objects.environment_memory import environment_memory

DAY = 86400.0


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


def test_an_acceptance_is_remembered_although_the_status_is_written_later() -> None:
    world = good_fleet(10)
    roll_out(world, range(10))
    change = world.status()["massChange"]["id"]
    world.annotate("environments", "pt", names.ANNOTATION_ACCEPT_CHANGE, change)
    for _ in range(3):
        world.kube.fail("PATCH", "gpuenvironments/pt/status", 500, "InternalError", "not now")
        world.step(1)
    assert labels(world) == ["Unknown"] * 10
    world.run_for(120)
    assert "massChange" not in world.status()
    assert environment_memory(world.status()).accepted_change == 1
    assert told(world)[1:] == [("Normal", f"change {change} was accepted: nodes show their verdicts again")]


def test_a_report_that_cannot_be_stored_does_not_switch_the_guard_off() -> None:
    world = good_fleet(12)
    roll_out(world, [0])
    finish(world, [0])
    world.kube.deny("PATCH", "gpunodereports/pt.n00/status$", 500, "InternalError", "not now")
    world.environment("pt", expect={"driver": "<575"})
    world.run_for(300)
    assert labels(world) == ["Unknown"] + ["Compatible"] * 11, "it cannot be stored that n00 is Incompatible"
    for index in range(5, 12):
        world.node(node(index), driver=NEW)
    world.run_for(120)
    assert len(held(world)) == 7


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


def test_a_departure_that_a_wrong_clock_has_dated_counts_for_the_window_only() -> None:
    world = good_fleet(10, settings={"mass_change_window_seconds": DAY})
    world.now += 400 * DAY
    roll_out(world, range(3))
    world.now -= 400 * DAY
    world.restart()
    world.settle()
    world.now += 2 * DAY
    roll_out(world, [3])
    assert not held(world)
    assert world.label(node=node(3)) == "Unknown"


def test_a_status_that_was_lost_ends_no_freeze() -> None:
    world = good_fleet(10)
    roll_out(world, range(2))
    roll_out(world, range(2, 10))
    frozen = held(world)
    assert len(frozen) == 8
    environment = world.get("environments", "pt")
    del environment["status"]
    world.put("environments", environment)
    world.settle()
    assert held(world) == frozen
    assert labels(world) == ["Unknown"] * 2 + ["Compatible"] * 8


def test_labels_that_stand_are_not_planned() -> None:
    world = good_fleet(6)
    for index in range(6):
        world.node(node(index), driver=NEW)
    planned = world.plan()
    assert not [action for action in planned.actions if isinstance(action, SetLabel)]
    assert planned.held == {"pt": 6}
