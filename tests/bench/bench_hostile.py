"""Measure what the most expensive probe reports cost, from the termination messages to the status that is written.

The reports are those of ``tests/support/hostile.py``, compared with an honest one of sixteen GPUs. The fleet's size plays
no part.
"""

import time
import tracemalloc
from collections.abc import Callable

from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row
from tests.support import hostile
from tests.support.judging import forget_texts, judged, size

GOAL_RATIO = 1.5
"""How much more time a report may take than the honest one of the largest node."""
GOAL_MB = 5.0
RUNS = 10


def least_ms(work: Callable[[], object]) -> float:
    """Return the least CPU time of ``work`` in milliseconds, with nothing about its texts in the cache."""
    found = []
    for _ in range(RUNS):
        forget_texts()
        start = time.thread_time()
        work()
        found.append(1000 * (time.thread_time() - start))
    return min(found)


def peak_mb(work: Callable[[], object]) -> float:
    """Return the memory that ``work`` allocates at most, in megabytes."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def run(_: Options) -> list[Row]:
    """Return two rows for each report, its time and its memory."""
    reports = {f"honest, {gpus} GPUs": hostile.honest(gpus) for gpus in (1, 8, 16)}
    reports |= {name: hostile.worst(name) for name in hostile.WORST}
    usual = least_ms(lambda: judged(reports["honest, 16 GPUs"]))
    rows = []
    for name, texts in reports.items():
        document, found = judged(texts)
        took, held = least_ms(lambda texts=texts: judged(texts)), peak_mb(lambda texts=texts: judged(texts))  # type: ignore[misc]  # a default binds it
        where = f"{name}: {size(document):,} bytes stored, {len(found.checks)} checks"
        rows += [
            Row("judge a report", took, "ms of CPU", where, usual, GOAL_RATIO),
            Row("judge a report, memory", held, "MB", where, goal=GOAL_MB),
        ]
    return rows
