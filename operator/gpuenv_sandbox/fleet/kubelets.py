"""Simulates the kubelets of all nodes, with one shared watch on pods and one task per pod."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.fleet.list_watch import follow
from gpuenv_sandbox.fleet.pod_life import PodLife
from gpuenv_sandbox.fleet.status_writer import StatusWriter
from gpuenv_sandbox.fleet.times import now
from gpuenv_sandbox.scenario.model import Fault, Scenario, SimulatedNode

Object = dict[str, Any]

logger = logging.getLogger(__name__)

PODS: Final = "/api/v1/pods"
BOUND: Final = {"fieldSelector": "spec.nodeName!="}
GONE: Final = frozenset({404, 409, 422})
"""HTTP status codes which mean that the pod of a failed write is gone, or that a new pod has its name."""


class _Orders:
    """Signals to the task that simulates one pod.

    A signal is sent when a user or controller requests the pod's deletion, and when the fault of its node is removed.
    """

    def __init__(self) -> None:
        self.delete: Final = asyncio.Event()
        self.grace = 0.0
        self.kept = False
        """Whether a finalizer keeps the pod, so that it still exists when nothing of it runs any more."""
        self.cured: Final = asyncio.Event()
        """Set when the node's fault has been removed or replaced, so that it no longer keeps the pod from ending."""

    def see(self, pod: Object) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            self.grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self.kept = bool(pod["metadata"].get("finalizers"))
            self.delete.set()


class Kubelets:
    """Simulates the kubelets of all nodes of a fleet.

    ``node`` is a function that returns the current state of the simulated node with a given name, or None if no
    simulated node has the name. A ``scenario`` that is replaced counts for pods that start later.
    """

    def __init__(
        self,
        kube: Kube,
        writer: StatusWriter,
        scenario: Scenario,
        node: Callable[[str], SimulatedNode | None],
    ) -> None:
        self._kube, self._writer, self.scenario, self._node = kube, writer, scenario, node
        self._orders: dict[str, _Orders] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._nodes: dict[str, str] = {}
        self._pulled: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Simulate all pods that are bound to simulated nodes, until this coroutine is cancelled."""
        try:
            async for present, pod in follow(self._kube, PODS, BOUND):
                if present:
                    self._see(pod)
                else:
                    self._forget(pod["metadata"]["uid"])
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def cure(self, node: str) -> None:
        """Let the pods on a node end if the node's fault has kept them from ending.

        The caller has removed or replaced the fault of the node called ``node``.
        """
        for uid, name in self._nodes.items():
            if name == node and uid in self._orders:
                self._orders[uid].cured.set()

    def _see(self, pod: Object) -> None:
        uid, node = pod["metadata"]["uid"], self._node(pod["spec"]["nodeName"])
        if node is None:
            return
        if uid not in self._orders:
            self._orders[uid] = _Orders()
            self._nodes[uid] = node.name
            self._tasks[uid] = asyncio.create_task(self._play(pod, node, self._orders[uid]))
        self._orders[uid].see(pod)

    def _forget(self, uid: str) -> None:
        self._orders.pop(uid, None)
        self._nodes.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    async def _play(self, pod: Object, node: SimulatedNode, orders: _Orders) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        reference = pod["spec"]["containers"][0]["image"]
        image = self.scenario.contents(reference)
        life = PodLife(pod, node, image, pace=self.scenario.pace, clock=now)
        try:
            if await self._live(life, pod, path, orders, pulled=(node.name, reference) in self._pulled):
                self._pulled.add((node.name, reference))
            await orders.delete.wait()
            await self._end(life, pod, path, orders)
        except ApiError as error:
            if error.status not in GONE:
                logger.warning("simulated node %s, pod %s: %s", node.name, metadata["name"], error)

    async def _live(self, life: PodLife, pod: Object, path: str, orders: _Orders, *, pulled: bool) -> bool:
        """Simulate a pod until it ends, exceeds ``activeDeadlineSeconds`` or is to be deleted.

        ``pulled`` says whether the pod's image is already on the node. Return whether the pod has found or pulled it.
        """
        limit = pod["spec"].get("activeDeadlineSeconds")
        try:
            async with asyncio.timeout(limit):
                await self._beats(life, pod, path, orders, pulled=pulled)
                if not life.ended:
                    await orders.delete.wait()
        except TimeoutError:
            if life.fault is Fault.PROBE_STUCK:  # a pod fails only after its processes have ended
                await orders.cured.wait()
            words = "Pod was active on the node longer than the specified deadline"
            await self._report(path, pod, life.killed(reason="DeadlineExceeded", message=words))
        return life.pulled

    async def _beats(self, life: PodLife, pod: Object, path: str, orders: _Orders, *, pulled: bool) -> None:
        """Write the pod's statuses to the API server one after another, until the pod ends or is to be deleted.

        A status that the next one follows without a pause is not written, as with a real kubelet. ``pulled`` says
        whether the pod's image is already on the node.
        """
        unwritten: Object | None = None
        for beat in life.beats(pulled=pulled):
            if not isinstance(beat, float):
                unwritten = beat
            elif beat > 0:
                if unwritten is not None:
                    await self._report(path, pod, unwritten)
                    unwritten = None
                await _pause(beat, orders.delete)
            if orders.delete.is_set():
                return
        if unwritten is not None:
            await self._report(path, pod, unwritten)

    async def _end(self, life: PodLife, pod: Object, path: str, orders: _Orders) -> None:
        if life.deaf:
            if life.fault is Fault.PROBE_STUCK:
                await orders.cured.wait()
            else:
                await asyncio.sleep(orders.grace)
        # Without a grace period, the API server itself removes the pod, at once or with its last finalizer. That is so
        # for each pod that has ended before its deletion.
        removed = orders.grace == 0
        if not life.ended and (orders.kept or not removed):
            await self._report(path, pod, life.killed())
        if not removed:
            await self._writer.remove_pod(path, pod["metadata"]["uid"])

    async def _report(self, path: str, pod: Object, status: Object) -> None:
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        await self._writer.strategic_patch(f"{path}/status", body)


async def _pause(seconds: float, until: asyncio.Event) -> None:
    """Wait until the event ``until`` is set, but at most for ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return
