"""One environment on one node: what is displayed, and when nodes and specifications change."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import NOW, terminated
from tests.support.world import World, first_run, kinds, validated

from gpuenv.api import names, reasons
from gpuenv.plan.actions import CreatePod, LeaveNode, SetLabel, SetNodeCondition, WriteReport

WEEK = 604800


def test_nothing_is_reported_or_labelled_before_the_first_answer() -> None:
    made = first_run()
    assert made.verdict() is None
    assert made.label() is None
    assert made.condition("Ready") == ("False", reasons.ValidationRunning)


def test_report_then_label_then_the_pod_goes() -> None:
    made = first_run()
    made.finish()
    planned = made.step()
    assert kinds(planned)[:3] == ["WriteReport", "SetLabel", "DeletePod"]
    assert (made.verdict(), made.label()) == (("Compatible", ""), "Compatible")


def test_without_a_finalizer_nothing_is_made() -> None:
    made = World()
    made.put("environments", builders.environment(metadata={"uid": "uid-pt", "generation": 1}))
    made.node()
    assert kinds(made.plan()) == ["AddFinalizer"]
    made.settle()
    assert made.pod_of()


def driver_label(made: World, driver: str | None) -> None:
    """Somebody else's labeller writes the driver's version, or not."""
    raw = builders.node(driver=driver or "")
    ours = {
        key: value for key, value in made.raw["nodes"]["n1"]["metadata"]["labels"].items() if "compat." in key
    }
    raw["metadata"]["labels"] |= ours
    if driver is None:
        del raw["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"]
    made.put("nodes", raw)


def test_a_driver_label_that_goes_and_comes_back_is_no_other_driver() -> None:
    made = validated()
    for driver in (None, "570.86.15"):
        driver_label(made, driver)
        made.settle()
        assert (made.verdict(), made.label()) == (("Compatible", ""), "Compatible")
        assert not made.raw["pods"]
    driver_label(made, None)
    made.settle()
    driver_label(made, "580.65.06")
    made.settle()
    assert made.verdict() == ("Unknown", reasons.Stale)


def test_a_driver_label_that_comes_late_disturbs_no_run_and_counts_from_then_on() -> None:
    made = World()
    made.environment()
    made.node()
    driver_label(made, None)
    made.settle()
    run = made.run_id()
    driver_label(made, "570.86.15")
    made.settle()
    assert made.run_id() == run
    made.finish()
    made.settle()
    assert made.verdict() == ("Compatible", "")
    driver_label(made, "580.65.06")
    made.settle()
    assert made.verdict() == ("Unknown", reasons.Stale)


def test_no_label_vouches_for_a_changed_node_while_the_specification_is_wrong() -> None:
    made = validated()
    made.environment(image="no-tag")
    made.settle()
    assert made.label() == "Compatible"
    made.node(boot="boot-2")
    made.settle()
    assert made.label() == "Unknown"


def test_a_node_condition_follows_the_reason_too() -> None:
    made = validated(publish={"nodeLabel": True, "nodeCondition": True})

    def condition() -> tuple[str, str]:
        name = names.node_label("pt")
        (found,) = [one for one in made.raw["nodes"]["n1"]["status"]["conditions"] if one["type"] == name]
        return found["status"], found["reason"]

    assert condition() == ("True", "Compatible")
    made.node(boot="boot-2")
    made.settle()
    assert condition() == ("Unknown", reasons.Stale)
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    made.settle()
    assert condition() == ("Unknown", reasons.WrongResult)


def test_what_was_written_reads_back_equal() -> None:
    made = first_run()
    made.finish()
    planned = made.step()
    (written,) = [action.record for action in planned.actions if isinstance(action, WriteReport)]
    read = made.report()
    assert read is not None
    assert replace(written, uid=read.uid) == read


def test_a_changed_expectation_is_assessed_at_once_without_a_pod() -> None:
    made = validated()
    made.environment(expect={"pytorch": "==2.8.*"})
    planned = made.step()
    assert not any(isinstance(action, CreatePod) for action in planned.actions)
    assert made.verdict() == ("Incompatible", reasons.ExpectationMismatch)
    assert made.label() == "Incompatible"
    made.environment()
    made.settle()
    assert made.verdict() == ("Compatible", "")


def test_an_expectation_that_changes_no_check_writes_no_report() -> None:
    made = validated(expect={"pytorch": ">=2.0"})
    made.environment(expect={"pytorch": ">=1.9"})
    report = made.report()
    made.step()
    assert made.report() is report


STALE = [
    ("driver", {"driver": "580.65.06"}, "the driver changed from 570.86.15 to 580.65.06"),
    ("reboot", {"boot": "boot-2"}, "the node was rebooted"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test_a_changed_node_is_stale_at_once_and_runs_again(change: dict[str, Any], words: str) -> None:
    made = validated()
    made.node(**change)
    planned = made.step()
    assert made.verdict() == ("Unknown", reasons.Stale)
    assert words in (made.report().message if made.report() else "")
    assert made.label() == "Unknown"
    assert [action.node for action in planned.actions if isinstance(action, CreatePod)] == ["n1"]


def test_a_changed_image_is_stale_at_once_and_runs_again() -> None:
    made = validated()
    made.environment(image="pytorch/pytorch:2.8.0")
    made.step()
    report = made.report()
    assert report is not None
    assert made.verdict() == ("Unknown", reasons.Stale)
    assert "image" in report.message
    assert made.pod_of()["spec"]["containers"][0]["image"] == "pytorch/pytorch:2.8.0"


def test_a_replaced_node_begins_anew() -> None:
    made = validated()
    made.node(uid="another")
    (leave,) = [action for action in made.plan().actions if isinstance(action, LeaveNode)]
    assert (leave.gone, leave.node_uid) == (True, "uid-n1")
    made.settle()
    assert made.verdict() is None
    made.finish()
    made.settle()
    report = made.report()
    assert report is not None
    assert (report.node_uid, made.verdict()) == ("another", ("Compatible", ""))


def test_a_device_plug_in_that_restarts_removes_nothing_and_needs_no_run() -> None:
    made = validated()
    for gpus in ((8, 0), (0, 0), None):
        made.node(gpus=gpus)
        made.settle()
        assert made.verdict() == ("Unknown", reasons.GpuNotAdvertised)
        assert made.label() == "Unknown"
        assert not made.raw["pods"]
    made.node()
    made.settle()
    assert made.verdict() == ("Compatible", "")
    assert not made.raw["pods"]


HOLDS = [
    ("cordon", {"unschedulable": True}, "cordoned"),
    ("skip", {"annotations": {"gpuenv.dev/skip": "yes"}}, "gpuenv.dev/skip"),
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
    made = World()
    made.environment()
    made.node(**change)
    made.settle()
    report = made.report()
    assert report is not None
    assert made.verdict() == ("Unknown", reasons.HeldOff)
    assert words in report.message
    assert not made.raw["pods"]
    assert made.condition("Ready") == ("True", reasons.AllAnswered)
    made.node()
    made.settle()
    assert made.verdict() == ("Unknown", reasons.NotYetValidated)
    assert made.pod_of()


@pytest.mark.parametrize("state", ["upgrade-done", "upgrade-required", ""])
def test_a_driver_upgrade_that_is_over_or_far_off_holds_nothing(state: str) -> None:
    made = World()
    made.environment()
    made.node(labels={"nvidia.com/gpu-driver-upgrade-state": state}, annotations={"gpuenv.dev/skip": "false"})
    made.settle()
    assert made.pod_of()


def test_holding_off_keeps_a_standing_verdict() -> None:
    made = validated()
    made.node(unschedulable=True)
    made.settle()
    assert (made.verdict(), made.label()) == (("Compatible", ""), "Compatible")


def test_labels_and_conditions_follow_publish() -> None:
    made = validated(publish={"nodeLabel": True, "nodeCondition": True})
    key = names.node_label("pt")
    conditions = {item["type"]: item["status"] for item in made.raw["nodes"]["n1"]["status"]["conditions"]}
    assert conditions[key] == "True"
    made.environment(publish={"nodeLabel": False, "nodeCondition": False})
    planned = made.step()
    assert SetLabel("pt", "n1", "uid-n1", None) in planned.actions
    assert SetNodeCondition("pt", "n1", None) in planned.actions
    made.settle()
    assert made.label() is None
    assert "scheduling" not in made.status()


def test_a_label_that_somebody_changed_is_put_right() -> None:
    made = validated()
    made.apply(SetLabel("pt", "n1", "uid-n1", "Incompatible"))
    made.settle()
    assert made.label() == "Compatible"


def test_a_report_that_somebody_deleted_is_made_again_by_a_new_run() -> None:
    made = validated()
    made.gone("reports", "pt.n1")
    made.settle()
    assert made.label() == "Compatible", "no label goes because a report is missing"
    made.finish()
    made.settle()
    assert made.verdict() == ("Compatible", "")


def test_the_digest_of_a_configuration_is_marked() -> None:
    made = first_run()
    run = made.run_id()
    made.pod(
        "Succeeded",
        scheduled=NOW,
        image_id="sha256:" + "c" * 64,
        facts=terminated(builders.facts_report(run)),
        kernels=terminated(builders.kernels_report(run)),
    )
    made.settle()
    report = made.report()
    assert report is not None
    assert report.result is not None
    assert report.result.image_digest == "config@sha256:" + "c" * 64
    assert report.result.platform == "linux/amd64"
