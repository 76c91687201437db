"""The cluster of the soak test: a real control plane, simulated machines that change, and several environments."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tests.soak.operators import Operators
from tests.soak.proxy import Proxy
from tests.soak.truth import Machine, Truth
from tests.support import builders

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet import node_objects
from gpuenv_sandbox.fleet.simulation import Fleet
from gpuenv_sandbox.fleet.times import now
from gpuenv_sandbox.scenario.read import parse_scenario, read_scenario
from gpuenv_sandbox.session import Session

Object = dict[str, Any]

NODES = "/api/v1/nodes"
ENVIRONMENTS = f"/apis/{names.API_VERSION}/{names.ENVIRONMENT_PLURAL}"
REPORTS = f"/apis/{names.API_VERSION}/{names.REPORT_PLURAL}"
PODS = f"/api/v1/namespaces/{names.PROBE_NAMESPACE}/pods"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{names.OPERATOR_NAMESPACE}/leases/{names.OPERATOR}"

MAX_PROBES = 6
FLAGS = (
    f"--max-probes {MAX_PROBES} --retry-seconds 1 --stuck-seconds 20 --sweep-seconds 10 --metrics-bind-address 0"
    # The faults of one round may break half of the machines.
    " --mass-change-percent 0"
).split()
"""The operator's flags: small clocks, so that minutes of the test are like days of a cluster."""
TIMEOUTS = {"schedulingSeconds": 30, "setupSeconds": 20, "pullSeconds": 20, "runSeconds": 5}
PERIOD_SECONDS = 60
KINDS = (
    {"product": "NVIDIA A100-SXM4-80GB", "gpus": 8, "driver": "580.95.05"},
    {"product": "Tesla T4", "driver": "570.124.06"},
    {"product": "NVIDIA H100 80GB HBM3", "gpus": 8, "driver": "580.95.05"},
    {"product": "NVIDIA L4", "driver": "550.54.15"},
    {"product": "NVIDIA A10", "driver": "580.95.05", "fault": "uvmMissing"},
    {"product": "NVIDIA L40S", "gpus": 4, "driver": "580.95.05"},
    {"product": "Tesla T4", "driver": "580.95.05", "fault": "probeCrashes"},
)
"""The machines at the start, repeated until there are enough."""
ARCHS = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
SPARES = 3
PATIENCE_SECONDS = 120.0
RETRY_SECONDS = 0.3


class PatientKube(Kube):
    """The harness's own client, directly at the API server: an outage that the harness makes is not its problem."""

    async def _call(self, *arguments: Any, **options: Any) -> Any:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                return await super()._call(*arguments, **options)
            except ApiError as error:
                if not error.transient or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def environment_specs() -> dict[str, Object]:
    """Return the environments at the start."""
    common: Object = {"probe": {"timeouts": TIMEOUTS}}
    period = {"revalidationPeriodSeconds": PERIOD_SECONDS}
    return {
        "first": common
        | {
            "image": "example/torch:cuda12",
            "strategy": period | {"maxConcurrent": 4},
            "publish": {"nodeCondition": "Measured"},
        },
        "second": common | {"image": "example/torch:cuda13", "strategy": period | {"maxConcurrent": 3}},
        "third": common
        | {
            "image": "example/torch:cuda12",
            "strategy": period | {"maxConcurrent": 2},
            "nodes": {"selector": {"matchLabels": {"pool": "odd"}}},
            "expect": {"driver": ">=560"},
        },
    }


class World:
    """Everything that a fault can act on."""

    def __init__(self, plane: ControlPlane, kube: Kube, fleet: Fleet, operators: Operators) -> None:
        self.plane, self.kube, self.fleet, self.operators = plane, kube, fleet, operators
        self.truth = Truth()
        self.proxies: dict[str, Proxy] = {}
        self.revalidate: set[str] = set()
        """Machines that have changed without a sign on their Node object. People have to ask for a new run there."""
        self.asked = 0
        self._machines = asyncio.Lock()
        self.control = asyncio.Lock()
        """Held while a component of the control plane is stopped, so that two faults do not cross."""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, node_count: int, breach: Callable[[str, str], None]) -> AsyncIterator[Self]:
        """Start the control plane, the machines, the environments and an operator behind a proxy."""
        async with contextlib.AsyncExitStack() as stack:
            plane = await asyncio.to_thread(ControlPlane().start)
            stack.callback(plane.stop)
            await asyncio.to_thread(Session(plane, read_scenario(), lambda _: None).install)
            kubeconfig = str(plane.admin_kubeconfig)
            kube = await stack.enter_async_context(
                await PatientKube.from_environment(kubeconfig, writes_per_second=0, max_in_flight=64)
            )
            fleet = await stack.enter_async_context(Fleet(kube, _scenario(node_count)))
            world = cls(plane, kube, fleet, Operators(plane, FLAGS, breach))
            await world._begin()
            key = plane.authority.issue("proxy", "proxy", hosts=["127.0.0.1"])
            for name in ("one", "two"):
                proxy = Proxy(plane.server, plane.authority.files.certificate, key)
                world.proxies[name] = await stack.enter_async_context(proxy.running())
            servers = {name: proxy.url for name, proxy in world.proxies.items()}
            await stack.enter_async_context(world.operators.running(servers))
            await world.operators.start("one")
            yield world

    async def _begin(self) -> None:
        """Record the machines, take the spare ones away, and create the environments."""
        for machine in self.fleet.scenario.nodes:
            found = await self.kube.get(f"{NODES}/{machine.name}")
            fault, uid = machine.fault or "", found["metadata"]["uid"]
            self.truth.machine(Machine(machine.name, machine.driver, fault, uid=uid, labels=machine.labels))
        for name in self.names():
            if name.startswith("spare"):
                await self.remove_node(name)
        for name, spec in environment_specs().items():
            await self.create_environment(name, spec)

    def names(self) -> list[str]:
        """Return the names of all machines that have Node objects now, in order."""
        return sorted(name for name, states in self.truth.machines.items() if states.now.uid)

    async def gone(self, path: str) -> None:
        """Ask for the deletion of an object, if it exists."""
        try:
            await self.kube.delete(path)
        except ApiError as error:
            if error.status != 404:
                raise

    # ---- machines ------------------------------------------------------------------------------------------

    async def change_node(self, name: str, *, reboot: bool, **changes: Any) -> bool:
        """Change a machine, with a reboot or without any sign of it on its Node object. Return False without a node."""
        async with self._machines:
            before = self.truth.machines[name].now
            if not before.uid:
                return False
            known = {key: value or "" for key, value in changes.items()}
            after = replace(before, boot=before.boot + reboot, **known)
            # While the change is under way, both states may be found.
            self.truth.machine(after)
            self.truth.machine(before)
            await self.fleet.change(name, reboot=reboot, **changes)
            self.truth.machine(after)
            if not reboot:
                self.revalidate.add(name)
            return True

    async def remove_node(self, name: str) -> None:
        """Delete a Node object. Its machine keeps its state."""
        async with self._machines:
            await self.gone(f"{NODES}/{name}")
            self.truth.machine(replace(self.truth.machines[name].now, uid=""))

    async def add_node(self, name: str) -> None:
        """Register a machine, whose Node object gets a new uid."""
        async with self._machines:
            machine, known = self.fleet.node(name), self.truth.machines[name].now
            body = node_objects.node(machine, now(), known.boot)
            body["metadata"]["annotations"] = {node_objects.ANNOTATION_FAULT: machine.fault or ""}
            created = await retried(lambda: self.kube.create(NODES, body))
            if created is None:
                created = await self.kube.get(f"{NODES}/{name}")
            self.truth.machine(replace(known, uid=created["metadata"]["uid"]))
            # As in the simulation: an admission plug-in has tainted the node, and the node controller takes its time.
            await self.kube.merge_patch(f"{NODES}/{name}", {"spec": {"taints": body["spec"].get("taints")}})

    # ---- environments --------------------------------------------------------------------------------------

    async def create_environment(self, name: str, spec: Object) -> None:
        """Create an environment, or replace the specification of the one that exists."""
        body = builders.environment(name)
        body["spec"] = spec
        if await retried(lambda: self.kube.create(ENVIRONMENTS, body)) is None:
            await self.kube.merge_patch(f"{ENVIRONMENTS}/{name}", {"spec": spec})
        self.truth.spec(name, spec)

    async def change_environment(self, name: str, change: Object) -> None:
        """Apply a merge patch to the specification of an environment."""
        found = await self.kube.merge_patch(f"{ENVIRONMENTS}/{name}", {"spec": change})
        self.truth.spec(name, found["spec"])

    # ---- the control plane ---------------------------------------------------------------------------------

    async def restart(self, *components: str, down: float) -> None:
        """Stop components of the control plane, and start them again with the same data after so many seconds."""
        async with self.control:
            processes = self.plane.processes
            commands = {name: _command(processes.pids[name]) for name in components}
            for name in components:
                await asyncio.to_thread(processes.end, name)
            await asyncio.sleep(down)
            for name, command in commands.items():
                await asyncio.to_thread(processes.start, name, command)
            await self.until_served()

    def component(self, name: str) -> int:
        """Return the process id of a component of the control plane."""
        return self.plane.processes.pids[name]

    async def until_served(self) -> None:
        """Wait until the API server is ready."""
        while True:
            try:
                await asyncio.to_thread(self.plane.admin.get, "/readyz")
            except Exception:
                await asyncio.sleep(0.1)
            else:
                return

    async def listed(self, path: str, selector: str = "") -> list[Object]:
        """Return all objects of a collection, ordered by name, directly from the API server."""
        query = {"labelSelector": selector} if selector else None
        found = [one async for page in self.kube.pages(path, query) for one in page["items"]]
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))


async def retried(write: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a creation returns, or None if the object exists, perhaps because an answer was lost."""
    try:
        return await write()
    except ApiError as error:
        if error.status != 409:
            raise
        return None


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def _scenario(node_count: int) -> Any:
    nodes = []
    for number in range(node_count + SPARES):
        name = f"node-{number:02}" if number < node_count else f"spare-{number - node_count}"
        labels = {"pool": "odd" if number % 2 else "even"}
        nodes.append({"name": name, "labels": labels, **KINDS[number % len(KINDS)]})
    images = {"example/torch:cuda13": {"torch": "2.9.1+cu130", "cuda": "13.0", "archs": ARCHS}}
    pace = {"setup": 0.05, "pull": 0.1, "facts": 0.05, "kernels": 0.1}
    return parse_scenario({"pace": pace, "nodes": nodes, "images": images}, Path("soak.yaml"))
