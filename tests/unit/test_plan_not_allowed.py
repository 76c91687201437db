"""Environments that the administrator's limits do not allow: no pod, a condition that says why, and what recovers them."""

from typing import Any

import pytest
from tests.support.builders import NOW, running
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.world import World

from gpuenv.api import reasons
from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.objects.times import show_time

KATA: dict[str, Any] = {"runtimeClassName": "kata"}
CONDITIONS = {
    "Accepted": "False",
    "Ready": "False",
    "Compatible": "Unknown",
    "Consistent": "Unknown",
    "Published": "Unknown",
    "Stalled": "True",
}


def restarted(world: World, limits: Limits) -> None:
    """Let the operator start anew with other limits, and carry out what it decides."""
    world.settings = type(world.settings)(config_map=world.settings.config_map, limits=limits)
    world.restart()
    world.settle()


def assert_not_allowed(world: World, words: str, environment: str = "pt") -> None:
    """Check that all conditions and the first problem say why the environment is not allowed."""
    for condition, status in CONDITIONS.items():
        assert world.condition(condition, environment) == (status, reasons.NotAllowed)
    status = world.status(environment)
    assert {one["message"] for one in status["conditions"]} == {status["problems"][0]["message"]}
    assert status["problems"][0]["reason"] == reasons.NotAllowed
    assert status["problems"][0]["message"].startswith(words)
    assert [one["reason"] for one in status["problems"]].count(reasons.NotAllowed) == 1


def test_no_pod_is_created_and_the_field_is_named() -> None:
    world = fleet(2, probe=KATA)
    world.settle()
    assert_not_allowed(
        world, "spec.probe.runtimeClassName: kata is not allowed (allowed: nvidia, nvidia-cdi, nvidia-legacy)"
    )
    assert "limits.runtimeClassNames in the chart's values" in world.status()["problems"][0]["message"]
    assert not world.objects("pods")
    assert not world.objects("reports")
    assert world.label(node="n00") is None
    assert [(event.type, event.reason) for event in world.events] == [("Warning", reasons.NotAllowed)]


def test_no_report_is_written_about_nodes_that_lack_a_device_that_is_not_allowed() -> None:
    """One environment for a device that no node has would otherwise mean a report and a label on each of its nodes."""
    world = fleet(2, probe={"device": {"resourceName": "devices.kubevirt.io/kvm"}})
    world.settle()
    assert_not_allowed(world, "spec.probe.device.resourceName")
    assert not world.objects("reports")


def test_several_violations_are_named_and_the_rest_is_counted() -> None:
    keys = [f"example.com/{number}" for number in range(5)]
    world = first_run(probe={"podAnnotations": dict.fromkeys(keys, "x")})
    message = world.status()["problems"][0]["message"]
    assert all(key in message for key in keys[:3])
    assert message.endswith(" | and 2 more")
    assert "\n" not in message


def test_its_running_pods_are_deleted() -> None:
    world = first_run()
    world.pod("Running", scheduled=NOW, sandbox=NOW, facts=running(NOW))
    world.environment(probe=KATA)
    world.settle()
    assert [raw for raw in world.objects("pods").values() if "deletionTimestamp" not in raw["metadata"]] == []
    assert_not_allowed(world, "spec.probe.runtimeClassName")


def test_it_recovers_at_once_when_it_is_changed() -> None:
    world = fleet(1, probe=KATA)
    world.settle()
    world.environment()
    world.settle()
    assert world.condition("Accepted") == ("True", reasons.SpecAccepted)
    world.finish_all()
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    assert world.condition("Stalled") == ("False", reasons.SpecAccepted)
    assert "problems" not in world.status()


def test_it_recovers_when_the_operator_starts_with_other_limits() -> None:
    world = fleet(1, probe=KATA)
    world.settle()
    restarted(world, Limits(runtime_class_names=("kata",)))
    assert world.condition("Accepted") == ("True", reasons.SpecAccepted)
    assert world.pod_of(node="n00")["spec"]["runtimeClassName"] == "kata"
    restarted(world, Limits())
    assert_not_allowed(world, "spec.probe.runtimeClassName")
    assert not world.live_pods()


# ---- earlier verdicts ------------------------------------------------------------------------------------


def test_a_verdict_whose_evidence_is_current_stays() -> None:
    """Tighter limits say nothing about the image: it ran on this node, in its present state."""
    world = validated()
    before = world.get("reports", "pt.n1")["status"]
    restarted(world, Limits(images=("registry.example.com/*",)))
    assert_not_allowed(world, "spec.image: pytorch/pytorch:2.9.1")
    assert world.label() == "Compatible"
    assert world.get("reports", "pt.n1")["status"] == before
    assert world.status()["summary"]["compatible"] == 1
    world.step(30 * 86400)
    assert not world.objects("pods"), "its age makes no run due"


@pytest.mark.parametrize("change", ["image", "node"])
def test_a_verdict_whose_evidence_is_not_current_becomes_unknown(change: str) -> None:
    world = validated()
    if change == "image":
        world.environment(image="pytorch/pytorch:2.8.0", probe=KATA)
    else:
        world.environment(imagePullSecrets=[{"name": "other"}])
        world.node(boot="boot-2")
    world.settle()
    assert_not_allowed(world, "spec.")
    assert world.label() == "Unknown"
    assert world.verdict() == ("Unknown", reasons.Stale)
    assert not world.objects("pods")


def test_expectations_are_compared_with_the_stored_facts() -> None:
    world = validated()
    world.environment(imagePullSecrets=[{"name": "other"}], expect={"pytorch": "==2.8.*"})
    world.settle()
    assert_not_allowed(world, "spec.imagePullSecrets[0]")
    assert world.label() == "Incompatible"
    problems = [one["reason"] for one in world.status()["problems"]]
    assert problems == [reasons.NotAllowed, reasons.ExpectationMismatch]


def test_nodes_that_it_no_longer_selects_are_left() -> None:
    world = validated()
    selector = {"matchLabels": {"pool": "b"}}
    world.environment(imagePullSecrets=[{"name": "other"}], nodes={"selector": selector})
    world.settle()
    world.step(301)
    world.settle()
    assert world.label() is None
    assert not world.objects("reports")


# ---- the number of environments --------------------------------------------------------------------------


def several(created: dict[str, int], most: int, *groups: Group) -> World:
    """Return a world with a node and these environments, created so many seconds after the beginning."""
    world = World(limits=Limits(max_environments=most, groups=groups))
    world.node()
    for name, seconds in created.items():
        world.environment(name, suspend=True)
        created_at = show_time(NOW + seconds)
        world.change(
            "environments", name, lambda raw, at=created_at: raw["metadata"].update(creationTimestamp=at)
        )
    world.settle()
    return world


def accepted(world: World) -> set[str]:
    """Return the names of the environments that are accepted."""
    return {name for name in world.objects("environments") if world.condition("Accepted", name)[0] == "True"}


def test_the_oldest_environments_are_served() -> None:
    world = several({"a": 3, "b": 1, "c": 2, "d": 1}, most=2)
    assert accepted(world) == {"b", "d"}
    assert_not_allowed(
        world, "there are 2 other environments already, which is all that limits.maxEnvironments allows", "a"
    )


def test_a_place_becomes_free_with_a_deletion() -> None:
    world = several({"a": 3, "b": 1, "c": 2}, most=2)
    world.delete("environments", "b")
    world.settle()
    assert accepted(world) == {"a", "c"}


def test_those_that_are_served_stay() -> None:
    """One that is created in the same second may have a smaller name, and one that is corrected may be older."""
    world = several({"b": 1, "c": 1}, most=2)
    world.environment("a", suspend=True)
    world.change(
        "environments", "a", lambda raw: raw["metadata"].update(creationTimestamp=show_time(NOW - 9))
    )
    world.settle()
    assert accepted(world) == {"b", "c"}
    restarted(world, Limits(max_environments=2))
    assert accepted(world) == {"b", "c"}


def test_environments_that_are_refused_anyway_take_no_place() -> None:
    world = several({"b": 3}, most=1)
    world.environment("a", image="no-tag")
    world.environment("c", probe=KATA)
    world.settle()
    assert accepted(world) == {"b"}
    assert world.condition("Accepted", "a") == ("False", reasons.SpecInvalid)
    assert_not_allowed(world, "spec.probe.runtimeClassName", "c")


def test_a_group_has_its_own_number_and_fills_no_place_of_others() -> None:
    group = Group("team", ("t-*",), max_environments=2)
    world = several({"t-a": 1, "t-b": 2, "t-c": 3, "a": 4, "b": 5, "c": 6}, 2, group)
    assert accepted(world) == {"t-a", "t-b", "a", "b"}
    assert_not_allowed(
        world,
        "there are 2 other environments of the group team already, which is all that maxEnvironments of team in "
        "limits.groups allows; delete one",
        "t-c",
    )
    assert_not_allowed(world, "there are 2 other environments already", "c")


def test_a_group_without_a_number_counts_with_all_others() -> None:
    world = several({"t-a": 1, "a": 2, "t-b": 3}, 2, Group("team", ("t-*",)))
    assert accepted(world) == {"t-a", "a"}


# ---- defaults of the pod ---------------------------------------------------------------------------------


def test_the_defaults_of_a_probe_pod_are_within_the_limits() -> None:
    """An administrator who allows less than the defaults need not have every environment changed."""
    most = {"cpu": "2", "memory": "128Mi", "ephemeral-storage": "1Gi"}
    world = World(limits=Limits(max_resources=most))
    world.environment(checks={"features": ["Compile"]})
    world.node()
    world.settle()
    pod = world.pod_of()["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["limits"] == most | {"nvidia.com/gpu": "1"}
        assert container["resources"]["requests"]["memory"] == "128Mi"
    (scratch,) = [one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one]
    assert scratch["sizeLimit"] == "1Gi"
