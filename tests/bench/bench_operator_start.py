"""Measure how long the operator takes to start in a large cluster on a real API server, and its memory and CPU.

Run it with ``python tests/bench/bench_operator_start.py [NODES]``. The exit code is 1 if a figure misses its budget.
The time is from the start of the process until ``/readyz`` succeeds. The nodes are about as large as with real
kubelets and GPU Feature Discovery, and each has two reports, as after two validations. The environments select no
node, so that the operator writes nothing during the measurement.
"""

import asyncio
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.builders import environment
from tests.support.operator_process import operator
from tests.support.started_worlds import validated
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import fleet_client
from gpuenv_sandbox.scenario.read import read_scenario
from gpuenv_sandbox.session import Session

COUNT = 5_000
NAMES = ("first", "second")
START_SECONDS_BUDGET = 30.0
MEMORY_MIB_BUDGET = 450.0
SETTLE_SECONDS = 20.0


def node(number: int) -> dict[str, Any]:
    """Return a node with about as many labels, annotations and images as a real one."""
    labels = {f"nvidia.com/gpu.feature-{index}": "v" * 20 for index in range(40)}
    annotations = {f"annotation-{index}": "x" * 200 for index in range(15)}
    images = [{"names": ["registry.example.com/" + "x" * 60], "sizeBytes": 1} for _ in range(20)]
    status = {
        "capacity": {"cpu": "64", "nvidia.com/gpu": "8"},
        "allocatable": {"cpu": "64", "nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "images": images,
    }
    metadata = {"name": f"node-{number}", "labels": labels, "annotations": annotations}
    return {"metadata": metadata, "status": status}


def report(name: str, number: int) -> dict[str, Any]:
    """Return the node report of one environment and node, without its status."""
    node = f"node-{number}"
    labels = {names.LABEL_ENVIRONMENT: name, names.LABEL_NODE: node}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.REPORT_KIND,
        "metadata": {"name": names.report_name(name, node), "labels": labels},
        "spec": {"environmentName": name, "nodeName": node, "nodeUID": node},
    }


async def write_report(kube: Kube, body: dict[str, Any], status: dict[str, Any]) -> None:
    """Create a node report and write its status."""
    await kube.create(REPORTS, body)
    whole = {"op": "add", "path": "/status", "value": status}
    await kube.json_patch(f"{REPORTS}/{body['metadata']['name']}/status", [whole])


async def fill(cluster: ControlPlane, count: int) -> None:
    """Create ``count`` nodes, the environments and their node reports."""
    status = validated().get("reports", "pt.n1")["status"]
    async with await fleet_client(str(cluster.admin_kubeconfig)) as kube:
        await asyncio.gather(*(kube.create(NODES, node(number)) for number in range(count)))
        for name in NAMES:
            nothing = {"matchLabels": {"selects": "nothing"}}
            await kube.create(ENVIRONMENTS, environment(name, suspend=True, nodes={"selector": nothing}))
            bodies = (report(name, number) for number in range(count))
            await asyncio.gather(*(write_report(kube, body, status) for body in bodies))


def memory_mib(pid: int, field: str) -> float:
    """Return a memory figure of a process in MiB; ``field`` is its name in /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(count: int) -> int:
    """Print the figures for ``count`` nodes, and return 1 if one of them misses its budget."""
    with ControlPlane(controllers=False) as cluster:
        Session(cluster, read_scenario(), lambda _: None).install()
        asyncio.run(fill(cluster, count))
        size = len(json.dumps(cluster.admin.get(f"{NODES}/node-0"))) / 1000
        reported = len(json.dumps(cluster.admin.get(f"{REPORTS}/first.node-0"))) / 1000
        began = time.monotonic()
        with operator(cluster) as running:
            wait_until(running.is_ready, running.tail)
            start = time.monotonic() - began
            # Wait for Kopf's own list and the sweep that follows it.
            settled = time.monotonic() + SETTLE_SECONDS
            wait_until(lambda: time.monotonic() > settled, timeout=SETTLE_SECONDS + 5)
            peak, now, cpu = (
                memory_mib(running.pid, "VmHWM"),
                memory_mib(running.pid, "VmRSS"),
                cpu_seconds(running.pid),
            )
            began = time.monotonic()
            running.stop()
            end = time.monotonic() - began
    print(
        f"{platform.python_version()}, {os.cpu_count()} CPUs, {count} nodes of {size:.1f} kB and "
        f"{len(NAMES) * count} reports of {reported:.1f} kB on a real API server"
    )
    print(f"ready after             {start:8.1f} s     (budget {START_SECONDS_BUDGET:g})")
    print(f"memory, most            {peak:8.0f} MiB   (budget {MEMORY_MIB_BUDGET:g})")
    print(f"memory, then            {now:8.0f} MiB")
    print(f"CPU, first {SETTLE_SECONDS:g} s         {cpu:8.1f} s")
    print(f"stopped within          {end:8.1f} s")
    return int(start > START_SECONDS_BUDGET or peak > MEMORY_MIB_BUDGET)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
