"""Measure how long the operator takes to its first plan in a large settled cluster, and the memory it has then.

The baseline of the time is the least that any client needs: to list the same objects in pages and to decode their JSON.
That of the memory is a Python process that has imported the operator's modules and done nothing.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.harness.large_fleet import LargeFleet, large_fleet
from tests.bench.harness.options import Options
from tests.bench.harness.processes import cpu_seconds, memory_mib
from tests.bench.harness.rows import Row
from tests.support.operator_process import OperatorProcess
from tests.support.wait import wait_until_async

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller.kube.kinds import KINDS, NODES, REPORTS, Scope
from gpuenv.plan.settings import Settings

GOAL_RATIO = 3.0
GOAL_MIB = 150.0
PATIENCE_SECONDS = 1800.0
POLL_SECONDS = 0.1
PLANS = "gpuenv_plan_duration_seconds_count"
"""The metric that counts the operator's plans."""
LIST = """
import asyncio, sys, time
from gpuenv.controller.kube.client import Kube

async def main():
    async with await Kube.from_environment(sys.argv[1]) as kube:
        began = time.monotonic()
        for path in sys.argv[2:]:
            async for page in kube.pages(path):
                pass
        print(time.monotonic() - began)

asyncio.run(main())
"""
"""A program that lists everything, decodes it, keeps nothing and prints the seconds that it took."""
IMPORTS = """
import gpuenv.controller.run
from pathlib import Path
print(next(l.split()[1] for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS")))
"""
"""A program that prints the KiB of memory that it has after it has imported the operator."""


def run(options: Options) -> list[Row]:
    """Return the rows for a fleet of this size."""
    return asyncio.run(_run(options))


async def _run(options: Options) -> list[Row]:
    async with large_fleet(options) as fleet:
        reports = options.nodes * options.environments
        size = [
            len(json.dumps(fleet.cluster.admin.get(path)["items"][0])) / 1000
            for path in (f"{NODES}?limit=1", f"{REPORTS}?limit=1")
        ]
        where = f"{options.nodes:,} nodes of {size[0]:.1f} kB, {reports:,} reports of {size[1]:.1f} kB"
        before = listed(fleet)
        began = time.monotonic()
        operator = OperatorProcess(fleet.cluster)
        await until_first_plan(operator)
        start = time.monotonic() - began
        held, most, cpu = (
            memory_mib(operator.pid), memory_mib(operator.pid, "VmHWM"), cpu_seconds(operator.pid),
        )  # fmt: skip
        operator.stop()
        baseline = min(before, listed(fleet))
        imports = imported_mib()
    return [
        Row("start, until the first plan", start, "s", where, baseline, GOAL_RATIO),
        Row("CPU of the start", cpu, "s", where),
        Row("memory at the first plan, above the imports", held - imports, "MiB", where, goal=GOAL_MIB),
        Row("memory until the first plan, at most", most, "MiB", f"{where}; imports {imports:.0f} MiB"),
    ]


async def until_first_plan(operator: OperatorProcess) -> None:
    """Wait until the operator has made a plan. Only the metrics server is asked, which needs no API server."""

    async def planned() -> bool:
        assert operator.exit_code is None, operator.tail()
        lines = (await asyncio.to_thread(operator.page, "metrics"))[1].splitlines()
        return any(line.startswith(PLANS) and float(line.split()[-1]) > 0 for line in lines)

    await wait_until_async(planned, operator.tail, timeout=PATIENCE_SECONDS, interval=POLL_SECONDS)


def listed(fleet: LargeFleet) -> float:
    """Return how many seconds a client needs that lists and decodes all objects that the operator watches."""
    scope = Scope(Settings().probe_namespace)
    rights = fleet.cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    return float(_printed([LIST, str(rights), *(scope.path(kind) for kind in KINDS)]))


def imported_mib() -> float:
    """Return the memory of a process that has imported the operator, in MiB."""
    return int(_printed([IMPORTS])) / 1024


def _printed(arguments: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-c", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
