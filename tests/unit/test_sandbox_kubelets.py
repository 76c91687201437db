"""The simulated kubelets at the level of their requests: which ones the life and the deletion of a pod take."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gpuenv_sandbox.fleet.kubelets import Kubelets
from gpuenv_sandbox.scenario.read import parse_scenario

Raw = dict[str, Any]
POD = "/api/v1/namespaces/probes/pods/one"
PACE = dict.fromkeys(("setup", "pull", "facts", "kernels"), 0.001)


class StubKube:
    """Stands in for both clients: events come from the queue ``events``, and ``calls`` lists the writes."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Raw] = asyncio.Queue()
        self.calls: list[tuple[str, str]] = []
        self.phases: list[str] = []
        self.changed = asyncio.Event()

    async def pages(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Raw]:
        yield {"metadata": {"resourceVersion": "1"}, "items": []}

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Raw]:
        while True:
            yield await self.events.get()

    async def strategic_patch(self, path: str, body: Raw) -> None:
        self.phases.append(body["status"]["phase"])
        self._called("PATCH", path)

    async def remove_pod(self, path: str, uid: str) -> None:
        self._called("DELETE", path)

    def _called(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        self.changed.set()

    async def until(self, phase: str) -> None:
        """Wait until this phase was reported last."""
        while self.phases[-1:] != [phase]:
            self.changed.clear()
            await self.changed.wait()

    async def see(self, kind: str, **metadata: Any) -> None:
        """Deliver an event, and let the kubelets do what follows from it at once."""
        await self.events.put({"type": kind, "object": probe_pod(**metadata)})
        for _ in range(20):
            await asyncio.sleep(0)


def probe_pod(*, hang: bool = False, **metadata: Any) -> Raw:
    """Return a bound probe pod. With ``hang`` it runs no probe, and so until it is deleted."""

    def container(stage: str) -> Raw:
        command = ["sleep"] if hang else ["python3", "/opt/gpuenv/gpuenv-probe.pyz", stage]
        return {"name": stage, "image": "torch:1", "command": command}

    return {
        "metadata": {"name": "one", "namespace": "probes", "uid": "u1", "resourceVersion": "2", **metadata},
        "spec": {
            "nodeName": "n1",
            "initContainers": [container("facts")],
            "containers": [container("kernels")],
        },
    }


@pytest.fixture
async def kube() -> AsyncIterator[StubKube]:
    """The client of kubelets that run."""
    nodes = [{"name": "n1", "product": "Tesla T4", "driver": "570.124.06"}]
    scenario = parse_scenario({"pace": PACE, "nodes": nodes}, Path("test.yaml"))
    stub: Any = StubKube()
    kubelets = Kubelets(stub, stub, scenario, {node.name: node for node in scenario.nodes}.get)
    running = asyncio.create_task(kubelets.run())
    yield stub
    running.cancel()


def deleted(seconds: int, **more: Any) -> Raw:
    """Return what the API server adds to a pod whose deletion was requested."""
    return {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": seconds, **more}


async def test_a_pod_that_has_ended_is_removed_without_its_kubelet(kube: StubKube) -> None:
    await kube.see("ADDED")
    await kube.until("Succeeded")
    written = list(kube.calls)
    # The API server delivers both events, because it stores the timestamp before it removes the pod.
    await kube.see("MODIFIED", **deleted(0))
    await kube.see("DELETED", **deleted(0))
    assert kube.calls == written


async def test_a_running_pod_ends_and_is_removed_by_its_kubelet(kube: StubKube) -> None:
    await kube.see("ADDED", hang=True)
    await kube.until("Running")
    await kube.see("MODIFIED", hang=True, **deleted(30))
    await kube.until("Failed")
    assert kube.calls[-1] == ("DELETE", POD)


async def test_a_pod_that_was_removed_by_force_gets_no_status(kube: StubKube) -> None:
    await kube.see("ADDED", hang=True)
    await kube.until("Running")
    written = list(kube.calls)
    await kube.see("MODIFIED", hang=True, **deleted(0))
    await kube.see("DELETED", hang=True, **deleted(0))
    assert kube.calls == written


async def test_a_pod_that_a_finalizer_keeps_ends_all_the_same(kube: StubKube) -> None:
    await kube.see("ADDED", hang=True)
    await kube.until("Running")
    await kube.see("MODIFIED", hang=True, **deleted(0, finalizers=["example.com/mine"]))
    await kube.until("Failed")
    assert kube.calls[-1] == ("PATCH", f"{POD}/status")
