"""A control plane with simulated nodes and an operator, of which validations are measured."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.harness import audit
from tests.bench.harness.audit import AuditLog, Request
from tests.bench.harness.bare_client import Work
from tests.bench.harness.processes import CpuMeter, memory_mib
from tests.support.builders import environment
from tests.support.operator_process import ENVIRONMENTS, PACE, PROBES, REPORTS, T4, OperatorProcess
from tests.support.wait import wait_until_async

from gpuenv import __version__
from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller.kube.kinds import PROBE_SELECTOR
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import Fleet, fleet_client
from gpuenv_sandbox.observer import unsettled
from gpuenv_sandbox.scenario.model import Scenario, SimulatedImage
from gpuenv_sandbox.scenario.read import parse_scenario, read_scenario
from gpuenv_sandbox.session import Session

Object = dict[str, Any]

ENVIRONMENT = "bench"
WITHOUT_CUDA = "registry.example/torch:2.9.1-cpu"
"""An image without CUDA, with which no node is compatible."""
PATIENCE_SECONDS = 3600.0
POLL_SECONDS = 0.5
STEADY_POLLS = 4
"""How many times in a row the environment must be found settled."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of validations of all nodes: the requests of the client, and the CPU seconds of each process.

    ``elapsed`` is the time in seconds from the change that caused the round until all was settled.
    """

    requests: list[Request]
    cpu: dict[str, float]
    elapsed: float

    @property
    def seconds(self) -> float:
        """The time from the first probe pod until the last label."""
        return audit.seconds(self.requests)


def scenario(count: int) -> Scenario:
    """Return ``count`` nodes with one GPU each. No name is the beginning of another one."""
    nodes = [{"name": f"bench-{number:05}", **T4} for number in range(count)]
    parsed = parse_scenario({"pace": PACE, "nodes": nodes}, Path("bench.yaml"))
    return replace(parsed, images=((WITHOUT_CUDA, SimulatedImage(torch="2.9.1+cpu", cuda=None)),))


class FleetRun:
    """An operator beside a fleet of simulated nodes. Use :func:`fleet_run` to start one."""

    def __init__(
        self, cluster: ControlPlane, log: AuditLog, fleet: Fleet, joined: float, samples: Path | None
    ) -> None:
        self.cluster = cluster
        self.fleet = fleet
        self.joined = joined
        """The seconds in which all nodes have joined."""
        self.count = len(fleet.scenario.nodes)
        self._log = log
        python = ["-m", "gpuenv"]
        if samples:
            python = ["-m", "tests.bench.harness.sampled_operator", str(samples)]
        # No limit but the machine: every node has a place for a probe pod at once.
        flags = [f"--max-probes={self.count}", "--writes-per-second=0"]
        self.operator = OperatorProcess(cluster, *flags, python=python)
        self._sampled = samples is not None

    async def ready(self) -> None:
        """Wait until the operator works."""
        await wait_until_async(self.operator.is_ready, self.operator.tail)

    async def rest(self, seconds: float) -> dict[str, float]:
        """Return the share of a core that each process uses while nothing happens but heartbeats."""
        meter = CpuMeter(self._pids())
        await asyncio.sleep(seconds)
        return {name: spent / seconds for name, spent in meter.spent().items()}

    async def validate(self) -> Measured:
        """Create the environment, which selects all nodes, and measure until it is settled."""
        if self._sampled:
            self.operator.signal(signal.SIGUSR1)
        body = environment(ENVIRONMENT, strategy__maxConcurrent=self.count)
        return await self._measured(lambda: self.cluster.admin.create(ENVIRONMENTS, body))

    async def revalidate(self, demand: str) -> Measured:
        """Request another run on all nodes, and measure until the environment is settled.

        ``demand`` is the value of the annotation that requests it.
        """
        change = {"metadata": {"annotations": {names.ANNOTATION_REVALIDATE: demand}}}
        return await self._measured(lambda: self.cluster.admin.merge(f"{ENVIRONMENTS}/{ENVIRONMENT}", change))

    async def change_image(self) -> Measured:
        """Change the image to one without CUDA, and measure until the environment is settled."""
        change = {"spec": {"image": WITHOUT_CUDA}}
        return await self._measured(lambda: self.cluster.admin.merge(f"{ENVIRONMENTS}/{ENVIRONMENT}", change))

    async def repair_image(self) -> Measured:
        """Push an image with CUDA to the tag that had none, request another run, and measure it."""
        self.fleet.push(WITHOUT_CUDA, SimulatedImage())
        return await self.revalidate("repaired")

    def memory_mib(self) -> float:
        """Return the operator's largest resident memory so far."""
        return memory_mib(self.operator.pid, "VmHWM")

    async def bare_client(self, model: "Model") -> Measured:
        """Measure a client that makes the same writes on the same nodes and decides nothing.

        ``model`` is what the operator has written about one node. The operator must have ended.
        """
        position = self._log.size()
        rights = self.cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
        work = model.work(self.cluster, rights, [node.name for node in self.fleet.scenario.nodes])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.harness.bare_client", stdin=asyncio.subprocess.PIPE
        )
        meter = CpuMeter(self._pids())
        before = os.times()
        await process.communicate(work.dump().encode())
        after = os.times()
        if process.returncode != 0:
            raise RuntimeError(f"the bare client ended with {process.returncode}")
        used = (after.children_user - before.children_user) + (after.children_system - before.children_system)
        cpu = meter.spent() | {"bare client": used}
        return Measured(self._log.since(position), cpu, after.elapsed - before.elapsed)

    async def validate_with_model(self) -> tuple[Measured, "Model"]:
        """Do the same as :meth:`validate`, and return what the operator has written about one node too."""
        measuring = asyncio.create_task(self.validate())
        path = f"{PROBES}?limit=1"
        pods = await wait_until_async(lambda: self._admin(path)["items"], interval=0.05)
        measured = await measuring
        node = pods[0]["metadata"]["annotations"][names.ANNOTATION_NODE]
        return measured, Model(
            node, pods[0], self._admin(f"{REPORTS}/{names.report_name(ENVIRONMENT, node)}")
        )

    def _admin(self, path: str) -> Any:
        return self.cluster.admin.get(path)

    async def _measured(self, start: Any) -> Measured:
        position, meter, began = self._log.size(), CpuMeter(self._pids()), time.monotonic()
        await asyncio.to_thread(start)
        await self._settled(position)
        elapsed, cpu = time.monotonic() - began, meter.spent()
        return Measured(self._log.since(position), cpu, elapsed)

    def _pids(self) -> dict[str, int]:
        found = {
            ("operator" if name == self.operator.name else name): pid
            for name, pid in self.cluster.processes.pids.items()
        }
        return found | {"simulated nodes": os.getpid()}

    async def _settled(self, position: int) -> None:
        """Wait until each node has had a run since ``position`` of the audit log, and the environment is settled.

        The environment's status alone cannot tell: it stays as it is until the first runs have started.
        """
        steady, ended = 0, 0
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while steady < STEADY_POLLS:
            await asyncio.sleep(POLL_SECONDS)
            self.fleet.check()
            assert self.operator.exit_code is None, self.operator.tail()
            new, position = self._log.read(position)
            ended += sum(one.kind == "delete pods" and one.code < 400 for one in new)
            settled = ended >= self.count and await asyncio.to_thread(self._is_settled)
            steady = steady + 1 if settled else 0
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"not settled after {PATIENCE_SECONDS:g} s: {ended} runs have ended")

    def _is_settled(self) -> bool:
        found = self._admin(f"{ENVIRONMENTS}/{ENVIRONMENT}")
        status = found.get("status") or {}
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        return current and status["summary"]["selected"] == self.count and not unsettled(found)


@dataclass(frozen=True, slots=True)
class Model:
    """What the operator has written about one node: the example that the bare client copies for all nodes."""

    node: str
    pod: Object
    report: Object

    def work(self, cluster: ControlPlane, rights: Path, nodes: Sequence[str]) -> Work:
        """Return the bare client's work. ``rights`` is the kubeconfig with whose token it writes."""
        stored, other = self.report, "bare"
        report = {
            "apiVersion": stored["apiVersion"],
            "kind": stored["kind"],
            "metadata": {
                "name": names.report_name(other, self.node),
                "labels": stored["metadata"]["labels"] | {names.LABEL_ENVIRONMENT: other},
            },
            "spec": stored["spec"] | {"environmentName": other},
            "status": stored["status"],
        }
        kept = {"labels", "annotations", "ownerReferences"}
        metadata = {key: value for key, value in self.pod["metadata"].items() if key in kept}
        spec = {key: value for key, value in self.pod["spec"].items() if key != "nodeName"}
        pod = {"metadata": metadata | {"name": f"{other}-{self.node}"}, "spec": spec}
        return Work(
            server=cluster.server,
            token=_token(rights),
            authority=str(cluster.authority.files.certificate),
            nodes=list(nodes),
            model=self.node,
            pods=PROBES,
            reports=REPORTS,
            selector=PROBE_SELECTOR,
            pod=json.dumps(pod),
            report=json.dumps(report),
            label=names.node_label(other),
            agent=f"{OPERATOR}/{__version__}",
        )


@asynccontextmanager
async def fleet_run(count: int, samples: Path | None = None) -> AsyncIterator[FleetRun]:
    """Yield a running operator beside ``count`` simulated nodes. It stops at the end.

    ``samples`` is the file into which the operator's stack samples are written at its end; None takes none.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = AuditLog(Path(directory))
        with ControlPlane(api_server_flags=log.flags) as cluster:
            await asyncio.to_thread(Session(cluster, read_scenario(), lambda _: None).install)
            async with await fleet_client(str(cluster.admin_kubeconfig)) as kube:
                began = time.monotonic()
                async with Fleet(kube, scenario(count)) as fleet:
                    yield FleetRun(cluster, log, fleet, time.monotonic() - began, samples)


def _token(kubeconfig: Path) -> str:
    """Return the bearer token in a kubeconfig file of the sandbox."""
    loaded = json.loads(kubeconfig.read_text(encoding="utf-8"))
    return str(loaded["users"][0]["user"]["token"])
