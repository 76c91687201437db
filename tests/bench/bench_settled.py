"""Measure what the operator costs while nothing happens in a large cluster but the nodes' heartbeats.

As real kubelets do, each node writes its status every five minutes, with a new time in each condition. Its Lease, which
a kubelet renews every ten seconds, is left out: the operator watches no Lease, as the audit log shows.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable

from tests.bench.bench_start import until_first_plan
from tests.bench.harness.audit import Request
from tests.bench.harness.large_fleet import LargeFleet, large_fleet
from tests.bench.harness.options import Options
from tests.bench.harness.processes import cpu_seconds, memory_mib
from tests.bench.harness.rows import Row
from tests.support.operator_process import OperatorProcess

from gpuenv.controller.kube.kinds import NODES
from gpuenv_sandbox.fleet import node_objects
from gpuenv_sandbox.fleet.heartbeats import STATUS_SECONDS, spread
from gpuenv_sandbox.fleet.times import now

GOAL_PERCENT = 2.0
QUIET_SECONDS = 20
"""The operator is settled after so many seconds without a request but those for its Lease."""
PATIENCE_SECONDS = 900
"""An operator that has not settled after so long never does."""
EXPECTED = frozenset({"watch", "list"})
"""Verbs of requests that follow from no change: watches that start again, and the lists of the sweep."""


def run(options: Options) -> list[Row]:
    """Return the rows for a fleet of this size, which is watched for ``options.minutes``."""
    return asyncio.run(_run(options))


async def _run(options: Options) -> list[Row]:
    async with large_fleet(options) as fleet:
        operator = OperatorProcess(fleet.cluster)
        await until_first_plan(operator)
        await _quiet(fleet)
        seconds = 60 * options.minutes
        position, before = fleet.log.size(), cpu_seconds(operator.pid)
        beats = await heartbeats(fleet, seconds)
        share = 100 * (cpu_seconds(operator.pid) - before) / seconds
        requests = fleet.log.since(position)
        memory = memory_mib(operator.pid)
        operator.stop()
    where = f"{options.nodes:,} nodes, {options.environments} environments, {options.minutes:g} min, {beats:,} heartbeats"
    kinds = Counter(request.kind for request in requests)
    return [
        Row("settled, CPU", share, "% of a core", where, goal=GOAL_PERCENT),
        Row(
            "settled, requests but watches, Lease and sweep",
            len(surplus(requests)),
            "requests",
            where,
            goal=0,
        ),
        *(
            Row(f"settled, requests: {kind}", count, "requests", where)
            for kind, count in sorted(kinds.items())
        ),
        Row("settled, memory", memory, "MiB", where),
    ]


def surplus(requests: Iterable[Request]) -> list[Request]:
    """Return the requests that a settled operator does not need: all but watches, its Lease and the sweep."""
    return [one for one in requests if one.verb not in EXPECTED and one.resource != "leases"]


async def heartbeats(fleet: LargeFleet, seconds: float) -> int:
    """Let each node report its status as often as a kubelet does, and return the number of reports."""
    count = 0

    async def beat(node: str) -> None:
        nonlocal count
        count += 1
        body = {"status": {"conditions": node_objects.heartbeat(now())}}
        await fleet.kube.strategic_patch(f"{NODES}/{node}/status", body)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await spread(fleet.nodes, STATUS_SECONDS, beat)
    return count


async def _quiet(fleet: LargeFleet) -> None:
    """Wait until the operator has sent no request but those for its Lease for some time.

    Before, it still lists everything, because the watches and the first sweep begin with a list each. Raises
    AssertionError if it goes on to send others.
    """
    position, quiet, last = fleet.log.size(), 0, ""
    end = time.monotonic() + PATIENCE_SECONDS
    while quiet < QUIET_SECONDS:
        assert time.monotonic() < end, f"the operator does not settle: {last}"
        await asyncio.sleep(1)
        found, position = fleet.log.read(position)
        others = [one.kind for one in found if one.resource != "leases"]
        quiet, last = (0, others[-1]) if others else (quiet + 1, last)
