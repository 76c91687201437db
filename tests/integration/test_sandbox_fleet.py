"""Simulated nodes joined to a real control plane: scheduled to, run on, told to stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.unique import unique
from tests.support.wait import wait_until_async

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_probe import codec
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import Fleet, fleet_client
from gpuenv_sandbox.fleet.times import now
from gpuenv_sandbox.scenario.model import Fault
from gpuenv_sandbox.scenario.read import parse_scenario

T4 = {"product": "Tesla T4", "driver": "570.124.06"}
L4 = {"product": "NVIDIA L4", "gpus": 2, "driver": "570.124.06"}
PACE = {"setup": 0.05, "pull": 0.1, "facts": 0.05, "kernels": 0.1}


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncIterator[Kube]:
    async with await fleet_client(str(control_plane.admin_kubeconfig)) as client:
        yield client


@asynccontextmanager
async def one_node(kube: Kube, **fields: Any) -> AsyncIterator[tuple[Fleet, str]]:
    """A fleet of one, and the name of its node, which no other test has."""
    name = unique("sim")
    scenario = parse_scenario({"pace": PACE, "nodes": [{"name": name, **fields}]}, Path("test.yaml"))
    async with Fleet(kube, scenario) as fleet:
        yield fleet, name
        fleet.check()
    await kube.delete(f"/api/v1/nodes/{name}")


def probe_pod(node: str, grace: int = 1, deadline: int | None = None) -> dict[str, Any]:
    def container(stage: str) -> dict[str, Any]:
        return {
            "name": stage,
            "image": "pytorch/pytorch:2.9.1",
            "command": ["python3", "/opt/gpuenv/gpuenv-probe.pyz", stage],
            "env": [{"name": "GPUENV_RUN", "value": "r1"}],
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }

    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace,
        "affinity": {"nodeAffinity": required},
        "initContainers": [container("facts")],
        "containers": [container("kernels")],
    }
    if deadline:
        spec["activeDeadlineSeconds"] = deadline
    return {"metadata": {"name": f"probe-{node}"}, "spec": spec}


class Pods:
    """The probe pods of one test."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube, self.path = kube, f"/api/v1/namespaces/{namespace}/pods"

    async def create(self, node: str, **more: Any) -> None:
        await self.kube.create(self.path, probe_pod(node, **more))

    async def get(self, node: str) -> Any:
        return await self.kube.get(f"{self.path}/probe-{node}")

    async def until_phase(self, node: str, phase: str) -> Any:
        async def reached() -> Any:
            pod = await self.get(node)
            return pod if pod["status"]["phase"] == phase else None

        return await wait_until_async(reached, lambda: self.get(node))

    async def gone(self, node: str) -> bool:
        try:
            await self.get(node)
        except ApiError as error:
            return error.status == 404
        return False

    async def delete(self, node: str) -> None:
        await self.kube.delete(f"{self.path}/probe-{node}")


@pytest.fixture
def pods(kube: Kube, namespace: str) -> Pods:
    return Pods(kube, namespace)


async def test_a_node_becomes_ready_and_untainted(kube: Kube) -> None:
    async with one_node(kube, **L4) as (_, name):

        async def untainted() -> bool:
            return not (await kube.get(f"/api/v1/nodes/{name}"))["spec"].get("taints")

        await wait_until_async(untainted, lambda: kube.get(f"/api/v1/nodes/{name}"))


async def test_a_probe_pod_is_scheduled_runs_and_goes(kube: Kube, pods: Pods) -> None:
    async with one_node(kube, **L4) as (_, name):
        await pods.create(name)
        status = (await pods.until_phase(name, "Succeeded"))["status"]
        states = {
            entry["name"]: entry["state"]["terminated"]
            for entry in status["containerStatuses"] + status["initContainerStatuses"]
        }
        assert codec.decode(states["facts"]["message"])["gpus"][0]["product"] == "NVIDIA L4"
        assert codec.decode(states["kernels"]["message"])["complete"] is True
        conditions = {row["type"]: row["status"] for row in status["conditions"]}
        assert (conditions["PodScheduled"], conditions["PodReadyToStartContainers"]) == ("True", "True")
        await pods.delete(name)
        await wait_until_async(lambda: pods.gone(name))


async def test_a_full_node_is_left_alone(kube: Kube, pods: Pods) -> None:
    async with one_node(kube, **T4, gpus=4, inUse=4) as (_, name):
        await pods.create(name)

        async def refused() -> bool:
            # Before, the scheduler may still complain about the taint of a node that has just registered.
            rows = (await pods.get(name))["status"].get("conditions", [])
            return any("Insufficient nvidia.com/gpu" in row.get("message", "") for row in rows)

        await wait_until_async(refused, lambda: pods.get(name))

        async def others() -> Any:
            return (await kube.get(f"/api/v1/namespaces/team-a/pods/train-{name}"))["status"]["phase"]

        async def undisturbed() -> bool:
            return bool(await others() == "Running")

        await wait_until_async(undisturbed, others)


async def test_a_stuck_pod_outlives_its_deletion_until_the_node_is_cured(kube: Kube, pods: Pods) -> None:
    async with one_node(kube, **T4, fault="probeStuck") as (fleet, name):
        await pods.create(name)
        await pods.until_phase(name, "Running")
        await pods.delete(name)

        async def overdue() -> bool:
            # The deletion timestamp lies in the future by the grace period.
            return bool((await pods.get(name))["metadata"]["deletionTimestamp"] < now())

        await wait_until_async(overdue)
        assert not await pods.gone(name)
        await fleet.change(name, fault=None)
        await wait_until_async(lambda: pods.gone(name))


async def test_a_hanging_pod_meets_its_deadline(kube: Kube, pods: Pods) -> None:
    async with one_node(kube, **T4, fault="probeHangs") as (_, name):
        await pods.create(name, deadline=2)
        pod = await pods.until_phase(name, "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_people_change_nodes_with_kubectl(kube: Kube) -> None:
    async with one_node(kube, **L4) as (fleet, name):

        async def edit(annotation: str, driver: str) -> None:
            metadata = {
                "annotations": {"sandbox.gpuenv.dev/fault": annotation},
                "labels": {"nvidia.com/cuda.driver-version.full": driver},
            }
            await kube.merge_patch(f"/api/v1/nodes/{name}", {"metadata": metadata})

        def seen() -> tuple[str, Fault | None]:
            return fleet.node(name).driver, fleet.node(name).fault

        await edit("uvmMissing", "535.104.05")
        await wait_until_async(lambda: seen() == ("535.104.05", Fault.UVM_MISSING), seen)
        await edit("", "no-driver")
        await wait_until_async(lambda: seen() == ("535.104.05", None), seen)


async def test_a_node_changes(kube: Kube) -> None:
    async with one_node(kube, **L4) as (fleet, name):
        before = await kube.get(f"/api/v1/nodes/{name}")
        await fleet.change(name, driver="580.95.05", advertised=0, fault=Fault.SLOW, reboot=True)
        after = await kube.get(f"/api/v1/nodes/{name}")
        assert after["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"] == "580.95.05"
        assert after["status"]["allocatable"]["nvidia.com/gpu"] == "0"
        assert after["status"]["capacity"]["nvidia.com/gpu"] == "2"
        assert after["status"]["nodeInfo"]["bootID"] != before["status"]["nodeInfo"]["bootID"]
        assert (fleet.node(name).driver, fleet.node(name).fault) == ("580.95.05", Fault.SLOW)
