"""Simulates a fleet of nodes, which register with an API server, renew their Leases, and run pods."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.fleet import heartbeats, node_objects
from gpuenv_sandbox.fleet.kubelets import Kubelets
from gpuenv_sandbox.fleet.list_watch import follow
from gpuenv_sandbox.fleet.status_writer import StatusWriter
from gpuenv_sandbox.fleet.times import micro_now, now
from gpuenv_sandbox.scenario.model import Scenario, SimulatedImage, SimulatedNode

PATIENCE_SECONDS: Final = 120.0
"""Seconds to wait for an object that the control plane creates by itself, such as the namespace of Leases."""
IN_FLIGHT: Final = 64
OURS: Final = {"labelSelector": node_objects.LABEL_SIMULATED}


class Fleet:
    """All simulated nodes of a scenario, which exist on an API server and run pods there.

    Used as an asynchronous context manager: entering it creates the nodes and starts the simulation, and leaving it
    stops the simulation. The client ``kube`` needs full permissions and should not limit writes (see
    :func:`fleet_client`).
    """

    def __init__(self, kube: Kube, scenario: Scenario) -> None:
        self._kube = kube
        self.scenario = scenario
        self._nodes = {node.name: node for node in scenario.nodes}
        self._boots = dict.fromkeys(self._nodes, 0)
        self._writer = StatusWriter(kube)
        self._kubelets = Kubelets(kube, self._writer, scenario, self._nodes.get)
        self._tasks: list[asyncio.Task[None]] = []
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._join()
        await self._resources.enter_async_context(self._writer)
        self._tasks = [
            asyncio.create_task(task)
            for task in (
                self._kubelets.run(),
                heartbeats.send(self._writer, list(self._nodes)),
                self._listen(),
            )
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resources.aclose()

    def node(self, name: str) -> SimulatedNode:
        """Return the current state of the node called ``name``."""
        return self._nodes[name]

    def check(self) -> None:
        """If a background task of the fleet has failed, raise its exception."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def change(self, name: str, *, reboot: bool = False, **changes: Any) -> SimulatedNode:
        """Change fields of a simulated node and its Node object, and return its new state.

        ``changes`` are fields of :class:`SimulatedNode`, such as ``driver="580.95.05"`` or ``fault=None``. Probe pods
        that started before the change are not affected, except that they end if the old fault kept them from ending.
        ``reboot=True`` gives the node a new boot id, as on a real machine, which is rebooted for a new driver.
        """
        old, new = self._nodes[name], replace(self._nodes[name], **changes)
        self._boots[name] += reboot
        body = node_objects.node(new, now(), self._boots[name])
        gone = node_objects.labels(old).keys() - node_objects.labels(new).keys()
        labels = {**dict.fromkeys(gone), **node_objects.labels(new)}
        path = f"/api/v1/nodes/{name}"
        metadata = {"labels": labels, "annotations": {node_objects.ANNOTATION_FAULT: new.fault}}
        change = {"metadata": metadata, "spec": {"unschedulable": new.cordoned or None}}
        await self._kube.merge_patch(path, change)
        self._set(new)
        kept = {field: body["status"][field] for field in ("capacity", "allocatable", "nodeInfo")}
        await self._kube.merge_patch(f"{path}/status", {"status": kept})
        return new

    def push(self, reference: str, image: SimulatedImage) -> None:
        """Replace the content of the image with the name ``reference``, as a push to its tag does."""
        self.scenario = replace(self.scenario, images=((reference, image), *self.scenario.images))
        self._kubelets.scenario = self.scenario

    async def _listen(self) -> None:
        """Follow the Node objects, and change a simulated node when a user has edited its Node object."""
        async for present, found in follow(self._kube, "/api/v1/nodes", OURS):
            old = self._nodes.get(found["metadata"]["name"])
            if present and old is not None:
                self._set(node_objects.as_edited(old, found))

    def _set(self, node: SimulatedNode) -> None:
        old, self._nodes[node.name] = self._nodes[node.name], node
        if node.fault is not old.fault:
            self._kubelets.cure(node.name)

    async def _join(self) -> None:
        await self._namespaces()
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def join(node: SimulatedNode) -> None:
            async with slots:
                body = node_objects.node(node, now())
                await self._kube.create("/api/v1/nodes", body)
                # An admission plug-in has tainted the node as not ready. The node controller removes this taint from
                # ready nodes, but that takes minutes if there are thousands of new nodes.
                taints = {"spec": {"taints": body["spec"].get("taints")}}
                await self._kube.merge_patch(f"/api/v1/nodes/{node.name}", taints)
                await self._kube.create(heartbeats.leases(), node_objects.lease(node.name, micro_now()))
                if node.in_use:
                    path = f"/api/v1/namespaces/{node_objects.OTHERS_NAMESPACE}/pods"
                    await self._kube.create(path, node_objects.others_pod(node))

        await asyncio.gather(*map(join, self._nodes.values()))

    async def _namespaces(self) -> None:
        await _appears(self._kube, f"/api/v1/namespaces/{node_objects.LEASE_NAMESPACE}")
        if any(node.in_use for node in self._nodes.values()):
            name = node_objects.OTHERS_NAMESPACE
            try:
                await self._kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
            except ApiError as error:
                if error.status != 409:
                    raise
            await _appears(self._kube, f"/api/v1/namespaces/{name}/serviceaccounts/default")


async def fleet_client(kubeconfig: str) -> Kube:
    """Return a client that does not limit its writes per second, because all simulated nodes share it."""
    return await Kube.from_environment(kubeconfig, writes_per_second=0, max_in_flight=IN_FLIGHT)


async def _appears(kube: Kube, path: str) -> None:
    """Wait until the object at ``path`` exists, which the control plane creates by itself.

    Raises ApiError if it does not exist after ``PATIENCE_SECONDS``.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            await kube.get(path)
        except ApiError as error:
            if error.status != 404 or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return
