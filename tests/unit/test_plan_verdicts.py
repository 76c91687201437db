"""One environment on one node: what is displayed, and when nodes and specifications change."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import kinds
from tests.support.builders import NOW, terminated
from tests.support.started_worlds import first_run, validated
from tests.support.world import World

from gpuenv.api import names, reasons
from gpuenv.plan.actions import CreatePod, LeaveNode, SetLabel, SetNodeCondition, WriteReport
from gpuenv.plan.validation.desired_state import condition_message

WEEK = 604800


def test_nothing_is_reported_or_labelled_before_the_first_answer() -> None:
    world = first_run()
    assert world.verdict() is None
    assert world.label() is None
    assert world.condition("Ready") == ("False", reasons.ValidationRunning)


def test_report_then_label_then_the_pod_goes() -> None:
    world = first_run()
    world.finish()
    planned = world.step()
    assert kinds(planned)[:3] == ["WriteReport", "SetLabel", "DeletePod"]
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")


def test_without_a_finalizer_nothing_is_made() -> None:
    world = World()
    world.put("environments", builders.environment(metadata={"uid": "uid-pt", "generation": 1}))
    world.node()
    assert kinds(world.plan()) == ["AddFinalizer"]
    world.settle()
    assert world.pod_of()


def driver_label(world: World, driver: str | None) -> None:
    """Somebody else's labeller writes the driver's version, or not."""
    raw = builders.node(driver=driver or "")
    ours = {
        key: value
        for key, value in world.get("nodes", "n1")["metadata"]["labels"].items()
        if "compat." in key
    }
    raw["metadata"]["labels"] |= ours
    if driver is None:
        del raw["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"]
    world.put("nodes", raw)


def test_a_driver_label_that_goes_and_comes_back_is_no_other_driver() -> None:
    world = validated()
    for driver in (None, "570.86.15"):
        driver_label(world, driver)
        world.settle()
        assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")
        assert not world.objects("pods")
    driver_label(world, None)
    world.settle()
    driver_label(world, "580.65.06")
    world.settle()
    assert world.verdict() == ("Unknown", reasons.Stale)


def test_a_driver_label_that_comes_late_disturbs_no_run_and_counts_from_then_on() -> None:
    world = World()
    world.environment()
    world.node()
    driver_label(world, None)
    world.settle()
    run = world.run_id()
    driver_label(world, "570.86.15")
    world.settle()
    assert world.run_id() == run
    world.finish()
    world.settle()
    assert world.verdict() == ("Compatible", "")
    driver_label(world, "580.65.06")
    world.settle()
    assert world.verdict() == ("Unknown", reasons.Stale)


def test_no_label_vouches_for_a_changed_node_while_the_specification_is_wrong() -> None:
    world = validated()
    world.environment(image="no-tag")
    world.settle()
    assert world.label() == "Compatible"
    world.node(boot="boot-2")
    world.settle()
    assert world.label() == "Unknown"


def test_a_node_condition_follows_the_reason_too() -> None:
    world = validated(publish={"nodeLabel": "Measured", "nodeCondition": "Measured"})

    def condition() -> tuple[str, str]:
        name = names.node_label("pt")
        (found,) = [one for one in world.get("nodes", "n1")["status"]["conditions"] if one["type"] == name]
        return found["status"], found["reason"]

    assert condition() == ("True", "Compatible")
    world.node(boot="boot-2")
    world.settle()
    assert condition() == ("Unknown", reasons.Stale)
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    world.settle()
    assert condition() == ("Unknown", reasons.WrongResult)


def test_what_was_written_reads_back_equal() -> None:
    world = first_run()
    world.finish()
    planned = world.step()
    (written,) = [action.record for action in planned.actions if isinstance(action, WriteReport)]
    read = world.report()
    assert read is not None
    assert replace(written, uid=read.uid) == read


def test_a_changed_expectation_is_assessed_at_once_without_a_pod() -> None:
    world = validated()
    world.environment(expect={"pytorch": "==2.8.*"})
    planned = world.step()
    assert not any(isinstance(action, CreatePod) for action in planned.actions)
    assert world.verdict() == ("Incompatible", reasons.ExpectationMismatch)
    assert world.label() == "Incompatible"
    world.environment()
    world.settle()
    assert world.verdict() == ("Compatible", "")


def test_an_expectation_that_changes_no_check_writes_no_report() -> None:
    world = validated(expect={"pytorch": ">=2.0"})
    world.environment(expect={"pytorch": ">=1.9"})
    report = world.report()
    world.step()
    assert world.report() is report


STALE = [
    ("driver", {"driver": "580.65.06"}, "the driver changed from 570.86.15 to 580.65.06"),
    ("reboot", {"boot": "boot-2"}, "the node was rebooted"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test_a_changed_node_is_stale_at_once_and_runs_again(change: dict[str, Any], words: str) -> None:
    world = validated()
    world.node(**change)
    planned = world.step()
    assert world.verdict() == ("Unknown", reasons.Stale)
    assert words in (world.report().message if world.report() else "")
    assert world.label() == "Unknown"
    assert [action.node for action in planned.actions if isinstance(action, CreatePod)] == ["n1"]


def test_a_changed_image_is_stale_at_once_and_runs_again() -> None:
    world = validated()
    world.environment(image="pytorch/pytorch:2.8.0")
    world.step()
    report = world.report()
    assert report is not None
    assert world.verdict() == ("Unknown", reasons.Stale)
    assert "image" in report.message
    assert world.pod_of()["spec"]["containers"][0]["image"] == "pytorch/pytorch:2.8.0"


def test_a_replaced_node_begins_anew() -> None:
    world = validated()
    world.node(uid="another")
    (leave,) = [action for action in world.plan().actions if isinstance(action, LeaveNode)]
    assert (leave.gone, leave.node_uid) == (True, "uid-n1")
    world.settle()
    assert world.verdict() is None
    world.finish()
    world.settle()
    report = world.report()
    assert report is not None
    assert (report.node_uid, world.verdict()) == ("another", ("Compatible", ""))


def test_a_device_plug_in_that_restarts_removes_nothing_and_needs_no_run() -> None:
    world = validated()
    for gpus in ((8, 0), (0, 0), None):
        world.node(gpus=gpus)
        world.settle()
        assert world.verdict() == ("Unknown", reasons.GpuNotAdvertised)
        assert world.label() == "Unknown"
        assert not world.objects("pods")
    world.node()
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert not world.objects("pods")


HOLDS = [
    ("cordon", {"unschedulable": True}, "cordoned"),
    ("skip", {"labels": {"gpuenv.dev/skip": "true"}}, "gpuenv.dev/skip"),
    ("skip without a value", {"labels": {"gpuenv.dev/skip": ""}}, "gpuenv.dev/skip"),
    ("upgrade", {"labels": {"nvidia.com/gpu-driver-upgrade-state": "drain-required"}}, "driver upgrade"),
    ("mig", {"labels": {"nvidia.com/mig.config.state": "pending"}}, "MIG"),
    ("disk", {"conditions": {"DiskPressure": "True"}}, "disk"),
    ("not ready", {"ready": False}, "not ready"),
    ("vm", {"labels": {"nvidia.com/gpu.workload.config": "vm-passthrough"}}, "virtual machines"),
    ("hyperpod", {"labels": {"sagemaker.amazonaws.com/node-health-status": "Unschedulable"}}, "HyperPod"),
    ("autopilot", {"labels": {"autopilot.ibm.com/gpuhealth": "EVICT"}}, "Autopilot"),
    ("nvsentinel", {"annotations": {"quarantineHealthEvent": "{}"}}, "NVSentinel"),
    ("autoscaler", {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, "autosc"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_a_node_that_is_held_off_is_not_probed(change: dict[str, Any], words: str) -> None:
    world = World()
    world.environment()
    world.node(**change)
    world.settle()
    report = world.report()
    assert report is not None
    assert world.verdict() == ("Unknown", reasons.HeldOff)
    assert words in report.message
    assert not world.objects("pods")
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    world.node()
    world.settle()
    assert world.verdict() == ("Unknown", reasons.NotYetValidated)
    assert world.pod_of()


@pytest.mark.parametrize("state", ["upgrade-done", "upgrade-required", ""])
def test_a_driver_upgrade_that_is_over_or_far_off_holds_nothing(state: str) -> None:
    world = World()
    world.environment()
    world.node(labels={"nvidia.com/gpu-driver-upgrade-state": state})
    world.settle()
    assert world.pod_of()


@pytest.mark.parametrize(
    "change", [{"labels": {"gpuenv.dev/skip": "false"}}, {"annotations": {"gpuenv.dev/skip": "true"}}]
)
def test_only_a_skip_label_that_is_not_false_holds_a_node_off(change: dict[str, Any]) -> None:
    world = World()
    world.environment()
    world.node(**change)
    world.settle()
    assert world.pod_of()


def test_a_selector_sees_the_skip_label_and_none_of_the_operators_own() -> None:
    world = World()
    skipped = {"key": "gpuenv.dev/skip", "operator": "DoesNotExist"}
    unlabelled = {"key": names.node_label("pt"), "operator": "DoesNotExist"}
    world.environment(nodes={"selector": {"matchExpressions": [skipped, unlabelled]}})
    world.node("n1")
    world.node("n2", labels={"gpuenv.dev/skip": "true"})
    world.settle()
    world.finish()
    world.settle()
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")
    assert world.report(node="n2") is None


def test_holding_off_keeps_a_standing_verdict() -> None:
    world = validated()
    world.node(unschedulable=True)
    world.settle()
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")


def test_labels_and_conditions_follow_publish() -> None:
    world = validated(publish={"nodeLabel": "Measured", "nodeCondition": "Measured"})
    key = names.node_label("pt")
    conditions = {item["type"]: item["status"] for item in world.get("nodes", "n1")["status"]["conditions"]}
    assert conditions[key] == "True"
    world.environment(publish={"nodeLabel": "None", "nodeCondition": "None"})
    planned = world.step()
    assert SetLabel("pt", "n1", "uid-n1", None) in planned.actions
    assert SetNodeCondition("pt", "n1", None) in planned.actions
    world.settle()
    assert world.label() is None
    assert "placement" not in world.status()
    assert world.condition("Published") == ("False", reasons.Disabled)


def test_the_message_of_a_nodes_condition_fits_what_the_policy_admits() -> None:
    """A character may have several bytes, and a part of one would be no text."""
    assert condition_message("short") == "short"
    assert condition_message("m" * 2000) == "m" * 1024
    assert condition_message("m" + "\N{ROBOT FACE}" * 300) == "m" + "\N{ROBOT FACE}" * 255


def test_a_label_that_somebody_changed_is_put_right() -> None:
    world = validated()
    label = {names.node_label("pt"): "Incompatible"}
    world.change("nodes", "n1", lambda raw: raw["metadata"]["labels"].update(label))
    world.settle()
    assert world.label() == "Compatible"


def test_a_report_that_somebody_deleted_is_made_again_by_a_new_run() -> None:
    world = validated()
    world.gone("reports", "pt.n1")
    world.settle()
    assert world.label() == "Compatible", "no label goes because a report is missing"
    world.finish()
    world.settle()
    assert world.verdict() == ("Compatible", "")


def test_the_digest_of_a_configuration_is_marked() -> None:
    world = first_run()
    run = world.run_id()
    world.pod(
        "Succeeded",
        scheduled=NOW,
        image_id="sha256:" + "c" * 64,
        facts=terminated(builders.facts_report(run)),
        kernels=terminated(builders.kernels_report(run)),
    )
    world.settle()
    report = world.report()
    assert report is not None
    assert report.result is not None
    assert report.result.image_digest == "config@sha256:" + "c" * 64
    assert report.result.platform == "linux/amd64"
