"""Measure what the most expensive probe reports cost, from the termination messages to the status that is written.

Run it with ``python tests/bench/bench_hostile.py``. The reports are those of ``tests/support/hostile.py``, compared with an
honest ones of one, eight and sixteen GPUs. The exit code is 1 if a report takes more than its share of time or memory.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import hostile
from tests.support.judging import forget_texts, judged, size

MAX_RATIO = 1.5
"""How much more time a report may take than the honest one of the largest node."""
MAX_MB = 5.0
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


def main() -> int:
    """Print a line for each report, and return 1 if one of them misses its budget."""
    reports = {f"honest, {gpus} GPUs": hostile.honest(gpus) for gpus in (1, 8, 16)}
    reports |= {name: hostile.worst(name) for name in hostile.WORST}
    usual = least_ms(lambda: judged(reports["honest, 16 GPUs"]))
    missed = False
    print("      ms  ratio     MB  stored bytes  checks")
    for name, texts in reports.items():
        document, found = judged(texts)
        took, held = least_ms(lambda texts=texts: judged(texts)), peak_mb(lambda texts=texts: judged(texts))  # type: ignore[misc]  # a default binds it
        missed |= took > MAX_RATIO * usual or held > MAX_MB
        print(
            f"{took:8.2f} {took / usual:6.2f} {held:6.2f} {size(document):13} {len(found.checks):7}  {name}"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
