"""GPUs under another resource name: slices, shares, and the plug-ins of others."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import kinds
from tests.support.world import World

from gpuenv.api import reasons
from gpuenv.api.limits.limits import Limits
from gpuenv.api.spec.device import GPUDevice
from gpuenv.plan.actions import CreatePod

OTHERS = ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "example.com/gpu", "volcano.sh/vgpu-number"]
ALL = ["nvidia.com/gpu", *OTHERS]


def offering(resource: str, **node: Any) -> World:
    """One node that offers the resource, and an environment that asks for it."""
    world = World(limits=Limits(resource_names=(resource,)))
    world.environment(probe={"device": {"resourceName": resource}})
    world.node(resource=resource, **node)
    return world


def created(world: World) -> dict[str, Any]:
    (action,) = [action for action in world.plan().actions if isinstance(action, CreatePod)]
    return action.manifest["spec"]


def shown(world: World) -> tuple[str, str]:
    """Reason and message of the environment's only report."""
    report = world.report()
    assert report is not None
    return report.reason, report.message


@pytest.mark.parametrize("resource", ALL)
def test_the_pod_asks_for_the_resource_in_both_stages(resource: str) -> None:
    pod = created(offering(resource))
    for container in (*pod["initContainers"], *pod["containers"]):
        for kind in ("limits", "requests"):
            asked = {name: count for name, count in container["resources"][kind].items() if "/" in name}
            assert asked == {resource: "1"}


@pytest.mark.parametrize("resource", ALL)
def test_the_pod_tolerates_the_taint_of_gpu_nodes_and_that_of_its_own_resource(resource: str) -> None:
    keys = [item["key"] for item in created(offering(resource))["tolerations"]]
    assert keys == (["nvidia.com/gpu"] if resource == "nvidia.com/gpu" else ["nvidia.com/gpu", resource])
    assert all(item["operator"] == "Exists" for item in created(offering(resource))["tolerations"])


def unplaced(world: World, message: str) -> tuple[str, str]:
    world.settle()
    world.pod("Pending", unschedulable=message)
    world.now += 121
    world.settle()
    return shown(world)


@pytest.mark.parametrize("resource", ALL)
def test_taints_that_are_tolerated_are_not_blamed(resource: str) -> None:
    taints = [
        {"key": key, "value": "present", "effect": "NoSchedule"} for key in ("nvidia.com/gpu", resource)
    ]
    reason, message = unplaced(
        offering(resource, taints=taints), f"0/1 nodes are available: 1 Insufficient {resource}."
    )
    assert (reason, message.split(" of the node")[0]) == (reasons.GpusBusy, f"all {resource}")


def test_the_taint_of_another_resource_is_blamed() -> None:
    world = offering(
        "nvidia.com/gpu", taints=[{"key": "example.com/gpu", "value": "", "effect": "NoSchedule"}]
    )
    reason, message = unplaced(world, "0/1 nodes are available: 1 node(s) had untolerated taint.")
    assert reason == reasons.Unschedulable
    assert "has the taint example.com/gpu=" in message


@pytest.mark.parametrize("resource", ALL)
@pytest.mark.parametrize("end", [".", ", 1 Insufficient cpu.", ". preemption: 0/1 nodes are available.", ""])
def test_the_scheduler_names_the_resource(resource: str, end: str) -> None:
    world = offering(resource)
    assert unplaced(world, f"0/1 nodes are available: 1 Insufficient {resource}{end}")[0] == reasons.GpusBusy


@pytest.mark.parametrize("resource", OTHERS)
def test_the_lack_of_another_resource_is_not_the_lack_of_this_one(resource: str) -> None:
    reason, message = unplaced(
        offering("nvidia.com/gpu"), f"0/1 nodes are available: 1 Insufficient {resource}."
    )
    assert reason == reasons.Unschedulable
    assert "short of something other than nvidia.com/gpu" in message
    reason, message = unplaced(offering(resource), "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert reason == reasons.Unschedulable
    assert f"short of something other than {resource}" in message


def rejected(world: World, reason: str, message: str) -> tuple[str, str]:
    world.settle()
    world.pod("Failed", reason=reason, message=message)
    world.settle()
    return shown(world)


TAKEN = (
    "Pod was rejected: Allocate failed due to requested number of devices unavailable for {}. "
    "Requested: 1, Available: 0, which is unexpected"
)
FULL = "Pod was rejected: Node didn't have enough resource: {}, requested: 1, used: 8, capacity: 8"


@pytest.mark.parametrize("resource", ALL)
def test_the_kubelet_refuses_for_lack_of_the_resource(resource: str) -> None:
    assert rejected(offering(resource), f"OutOf{resource}", FULL.format(resource))[0] == reasons.GpusBusy
    found = rejected(offering(resource), "UnexpectedAdmissionError", TAKEN.format(resource))
    assert found == (reasons.GpusBusy, TAKEN.format(resource))


@pytest.mark.parametrize("resource", OTHERS)
def test_the_kubelet_refuses_for_lack_of_something_else(resource: str) -> None:
    for asked, lacking in ((resource, "nvidia.com/gpu"), ("nvidia.com/gpu", resource)):
        assert rejected(offering(asked), f"OutOf{lacking}", FULL.format(lacking))[0] == reasons.Unschedulable
        other = rejected(offering(asked), "UnexpectedAdmissionError", TAKEN.format(lacking))
        assert other[0] == reasons.SandboxFailed


@pytest.mark.parametrize("resource", ALL)
def test_a_node_that_offers_the_resource_is_selected_without_any_label(resource: str) -> None:
    world = World(limits=Limits(resource_names=(resource,)))
    world.environment(probe={"device": {"resourceName": resource}})
    raw = builders.node(resource=resource)
    raw["metadata"]["labels"] = {}
    world.put("nodes", raw)
    assert "CreatePod" in kinds(world.plan())


@pytest.mark.parametrize(("resource", "selected"), [(name, name.startswith("nvidia.com/")) for name in ALL])
def test_labels_of_nvidia_announce_devices_of_nvidias_plug_in_only(resource: str, selected: bool) -> None:
    world = World(limits=Limits(resource_names=(resource,)))
    world.environment(probe={"device": {"resourceName": resource}})
    world.node(gpus=None)
    world.settle()
    assert world.status()["summary"]["selected"] == int(selected)
    assert world.report() is None or f"does not advertise {resource} at all" in shown(world)[1]


@pytest.mark.parametrize("resource", ALL)
def test_a_plug_in_that_restarts_deselects_no_node_that_has_a_report(resource: str) -> None:
    world = offering(resource)
    world.settle()
    world.finish_all()
    world.node(gpus=None)
    world.settle()
    assert world.status()["summary"]["selected"] == 1
    assert world.label() == "Unknown"


def test_the_default_is_the_resource_of_nvidias_plug_in() -> None:
    assert GPUDevice() == GPUDevice("nvidia.com/gpu")
    assert GPUDevice().taint_keys == ("nvidia.com/gpu",)
