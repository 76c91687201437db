"""Measure a fleet's validations on a real control plane: time, CPU of each process, and writes at the API server.

All nodes have a place for a probe pod at once. The time is compared with that of a bare client, which makes the same
writes through the same scheduler in the same run. The writes are counted in the API server's audit log.
"""

import asyncio
from collections.abc import Iterator

from tests.bench.harness import audit
from tests.bench.harness.fleet_run import FleetRun, Measured, fleet_run
from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row

MS = 1000
GOAL_RATIO = 1.3
GOAL_CPU_MS = 10.0
GOAL_FIRST, GOAL_LATER, GOAL_KEPT = 5.0, 4.0, 3.0
REST_SECONDS = 10.0
"""How long the fleet is measured while nothing happens but heartbeats."""
LATER_UP_TO = 1_000
"""The largest fleet of which later runs are measured too: their writes do not depend on the fleet's size."""


def run(options: Options) -> list[Row]:
    """Return the rows for ``options.nodes`` nodes."""
    return asyncio.run(_run(options.nodes))


async def _run(count: int) -> list[Row]:
    where = f"{count:,} nodes"
    async with fleet_run(count) as fleet:
        await fleet.ready()
        resting = await fleet.rest(REST_SECONDS)
        first, model = await fleet.validate_with_model()
        rows = await _later_runs(fleet, where) if count <= LATER_UP_TO else []
        memory, joined = fleet.memory_mib(), fleet.joined
        fleet.operator.stop()
        bare = await fleet.bare_client(model)
    return [
        Row("validate, first pod until last label", first.seconds, "s", where, bare.seconds, GOAL_RATIO),
        _cpu("CPU of the operator per validation", first, where, count),
        Row("CPU of the bare client per validation", MS * bare.cpu["bare client"] / count, "ms", where),
        Row("memory of the operator, at most", memory, "MiB", where),
        _writes("writes per validation, the first time", first, where, count, GOAL_FIRST),
        *rows,
        Row("sandbox, all nodes join", joined, "s", where),
        Row("sandbox, from an environment until it is settled", first.elapsed, "s", where),
        *_processes(first, bare, where, count),
        *(
            Row(f"sandbox at rest, CPU: {name}", 100 * share, "% of a core", where)
            for name, share in sorted(resting.items(), key=lambda item: -item[1])
        ),
        *_requests(first, where),
    ]


async def _later_runs(fleet: FleetRun, where: str) -> list[Row]:
    """Return the rows of runs on nodes that have results already."""
    kept = await fleet.revalidate("again")
    image = await fleet.change_image()
    changed = await fleet.repair_image()
    return [
        _cpu("CPU of the operator per validation again", kept, where, fleet.count),
        _writes("writes per validation, another label", changed, where, fleet.count, GOAL_LATER),
        _writes("writes per validation, the same label", kept, where, fleet.count, GOAL_KEPT),
        _writes("writes per validation, another image", image, where, fleet.count),
    ]


def _cpu(bench: str, measured: Measured, where: str, count: int) -> Row:
    return Row(bench, MS * measured.cpu["operator"] / count, "ms", where, goal=GOAL_CPU_MS)


def _writes(bench: str, measured: Measured, where: str, count: int, goal: float | None = None) -> Row:
    counted = audit.writes(measured.requests)
    kinds = ", ".join(f"{kind} {found / count:.2f}" for kind, found in sorted(counted.items()))
    return Row(bench, counted.total() / count, "requests", f"{where}: {kinds}", goal=goal)


def _requests(measured: Measured, where: str) -> Iterator[Row]:
    """Yield a row for each kind of request that does not belong to one validation."""
    for kind, found in sorted(audit.others(measured.requests).items()):
        yield Row(f"requests of a first run: {kind}", found, "requests", where)


def _processes(measured: Measured, bare: Measured, where: str, count: int) -> Iterator[Row]:
    for name, spent in sorted(measured.cpu.items(), key=lambda item: -item[1]):
        if name != "operator":
            yield Row(
                f"CPU per validation: {name}", MS * spent / count, "ms", where, MS * bare.cpu[name] / count
            )
