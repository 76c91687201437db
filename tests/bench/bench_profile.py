"""Measure which parts of the operator the CPU time of a validation is spent in, by samples of its stack.

The samples cost a little CPU time themselves. The figure without them is that of ``bench_validate.py``.
"""

import asyncio
import pickle
import tempfile
from pathlib import Path

from tests.bench.harness import parts
from tests.bench.harness.fleet_run import Measured, fleet_run
from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row

MS = 1000
HOTTEST = 60


def run(options: Options) -> list[Row]:
    """Return one row for each part of the operator, and print the functions that cost most."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "samples.pickle"
        measured = asyncio.run(_run(options.nodes, file))
        samples = pickle.loads(file.read_bytes())
    for name, share in parts.hottest(samples, HOTTEST):
        print(f"{100 * share:5.1f} %  {name}")
    each = MS * measured.cpu["operator"] / options.nodes
    where = f"{options.nodes:,} nodes"
    return [
        Row(f"CPU per validation, sampled: {name}", each * share, "ms", f"{where}: {100 * share:.0f} %")
        for name, share in parts.shares(samples).items()
    ]


async def _run(count: int, file: Path) -> Measured:
    async with fleet_run(count, file) as fleet:
        await fleet.ready()
        measured = await fleet.validate()
        fleet.operator.stop()
        return measured
