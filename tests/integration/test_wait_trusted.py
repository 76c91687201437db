"""Waiting for the answer to what was just asked, with ``gpuenv wait`` and with kubectl alone, on simulated nodes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.support.cluster import Kubectl
from tests.support.operator_process import (
    T4,
    OperatorProcess,
    apply,
    nodes,
    operator,
    report,
    started,
    until_labelled,
)
from tests.support.wait import PATIENCE, PATIENTLY, finished

from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import Fleet
from gpuenv_sandbox.scenario.model import Fault

ROUNDS = 5
NODES = 14


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


@pytest.fixture(scope="module")
def running(plane: ControlPlane) -> Iterator[OperatorProcess]:
    with operator(plane) as one:
        yield one


@dataclass
class Rig:
    """A fleet of simulated nodes that are all compatible with one environment."""

    plane: ControlPlane
    fleet: Fleet
    nodes: list[str]
    environment: str

    async def gpuenv(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command of gpuenv about the environment. Return its exit code, its output and its error messages."""
        where = ["--kubeconfig", str(self.plane.admin_kubeconfig)]
        line = [sys.executable, "-m", "gpuenv", command, self.environment, *arguments, *where]
        done = await asyncio.to_thread(finished, line)
        return done.returncode, done.stdout, done.stderr

    async def wait(self) -> tuple[int, str]:
        """Return the exit code and the answer of ``gpuenv wait``."""
        code, text, _ = await self.gpuenv("wait", "--timeout", f"{PATIENCE:.0f}")
        return code, text.removeprefix(f"{self.environment}: ").strip()

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(Kubectl(self.plane), *arguments)

    def verdict(self, node: str) -> str:
        return str(report(self.plane, self.environment, node)["status"]["verdict"])


@asynccontextmanager
async def rig(plane: ControlPlane, running: OperatorProcess, count: int) -> AsyncIterator[Rig]:
    async with nodes(plane, *[T4] * count) as (fleet, found):
        environment = apply(plane, found)
        await until_labelled(plane, environment, found, "Compatible", running)
        one = Rig(plane, fleet, found, environment)
        assert await one.wait() == (0, f"{count}/{count} compatible")
        yield one


async def test_gpuenv_wait_gives_no_older_answer(plane: ControlPlane, running: OperatorProcess) -> None:
    good, bad = (
        (0, f"{NODES}/{NODES} compatible"),
        (1, f"{NODES - 1}/{NODES} compatible; UvmMissing on 1 node"),
    )
    async with rig(plane, running, NODES) as one:
        for number in range(ROUNDS):
            node = one.nodes[number]
            for fault, answer in ((Fault.UVM_MISSING, bad), (None, good)):
                await one.fleet.change(node, fault=fault)
                assert (await one.gpuenv("revalidate", "--node", node))[0] == 0
                assert await one.wait() == answer
                assert one.verdict(node) == ("Incompatible" if fault else "Compatible")
        await one.fleet.change(one.nodes[0], fault=Fault.UVM_MISSING)
        assert (await one.gpuenv("revalidate"))[0] == 0
        assert await one.wait() == bad


async def test_kubectl_waits_for_the_value_of_an_annotation(
    plane: ControlPlane, running: OperatorProcess
) -> None:
    async with rig(plane, running, 3) as one:
        node = one.nodes[0]
        for number, (path, fault) in enumerate(
            [
                (f"gnr/{one.environment}.{node}", Fault.UVM_MISSING),
                (f"gnr/{one.environment}.{node}", None),
                (f"genv/{one.environment}", Fault.UVM_MISSING),
                (f"genv/{one.environment}", None),
            ]
        ):
            await one.fleet.change(node, fault=fault)
            await one.kubectl("annotate", "--overwrite", path, f"gpuenv.dev/revalidate=value {number}")
            observed = f"--for=jsonpath={{.status.observedRevalidate}}=value {number}"
            await one.kubectl("wait", PATIENTLY, observed, path)
            assert one.verdict(node) == ("Incompatible" if fault else "Compatible")


async def test_a_node_that_left_does_not_count(plane: ControlPlane, running: OperatorProcess) -> None:
    """Its report stays for five minutes. The API server itself tells which nodes the selector still matches."""
    async with rig(plane, running, 3) as one:
        gone = one.nodes[0]
        assert (await one.gpuenv("revalidate", "--node", one.nodes[1]))[0] == 0
        await one.kubectl("label", "--overwrite", f"node/{gone}", "kubernetes.io/hostname=elsewhere")
        await one.kubectl(
            "wait", PATIENTLY, "--for=jsonpath={.status.summary.selected}=2", f"genv/{one.environment}"
        )
        assert await one.wait() == (0, "2/2 compatible")
        assert one.verdict(gone) == "Compatible", "the report is still there"


async def test_a_node_where_no_run_can_start_is_named(plane: ControlPlane, running: OperatorProcess) -> None:
    async with rig(plane, running, 2) as one:
        held = one.nodes[0]
        await one.kubectl("cordon", held)
        assert (await one.gpuenv("revalidate"))[0] == 0
        words = f"1/2 compatible; no new answer from {held} (the node is cordoned)"
        assert await one.wait() == (4, words)
        await one.kubectl("uncordon", held)
        assert await one.wait() == (0, "2/2 compatible")
        await one.kubectl("cordon", held)
        assert (await one.gpuenv("revalidate", "--node", held))[0] == 0
        code, _, words = await one.gpuenv("wait", "--timeout", "1")
        assert code == 4
        assert f"a new run was asked for and is not answered yet: {held} (the node is cordoned)" in words
