"""The benches, the sizes of their fleets, and how one of them is run."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import Final

from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row

BENCHES: Final[dict[str, tuple[int, ...]]] = {
    "plan": (5_000,),
    "assess": (1,),
    "hostile": (1,),
    "probe": (1,),
    "start": (5_000,),
    "settled": (5_000,),
    "validate": (1_000, 5_000),
    "profile": (1_000, 5_000),
}
"""The benches in the order in which they run, with their usual numbers of nodes.

Each is the function ``run`` of a module ``bench_NAME``.
"""


def measure(bench: str, options: Options) -> list[Row]:
    """Run a bench in a process of its own, so that it inherits no memory or caches, and return its rows."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, bench, options).result()


def _measure(bench: str, options: Options) -> list[Row]:
    rows: list[Row] = import_module(f"tests.bench.bench_{bench}").run(options)
    return rows
