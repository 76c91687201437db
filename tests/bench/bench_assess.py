"""Measure the speed of the assessment: ``gpuenv explain`` as a whole, building the tables, and the engine alone.

Run it with ``python tests/bench/bench_assess.py``. The exit code is 1 if a figure misses its budget.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, NodeFacts, TorchFacts
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.probe_document import join_reports
from gpuenv.assess.sources.probe_facts import facts_from_document
from gpuenv.knowledge import load
from gpuenv.knowledge.files import packaged_tables
from gpuenv.knowledge.load import build

EXPLAIN_BUDGET_MS = 150.0
ASSESSMENTS_PER_SECOND = 5_000.0
RUNS = 20
COMMAND = (
    sys.executable, "-m", "gpuenv", "explain",
    "--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "Tesla V100-SXM2-16GB",
)  # fmt: skip

FLAGS = Facts(
    source="flags",
    torch=TorchFacts(version="2.11.0+cu130", cuda="13.0"),
    driver=DriverFacts(version="535.104.05"),
    gpus=(Gpu(product="Tesla V100-SXM2-16GB"),),
)
FACTS_DOC = {
    "stage": "facts", "complete": True,
    "driver": {"version": "570.124.06", "cudaVersion": 12080, "cuInit": 0, "deviceCount": 8},
    "gpus": [{"index": n, "product": "NVIDIA H100 80GB HBM3", "computeCapability": "9.0", "memoryMiB": 81559} for n in range(8)],
    "torch": {"version": "2.9.1+cu128", "cuda": "12.8", "cudnn": 91002, "archFlags": ["sm_70", "sm_80", "sm_90", "sm_100"]},
}  # fmt: skip
KERNELS_DOC = {
    "stage": "kernels", "complete": True,
    "steps": [
        {"name": name, "gpu": n, "dtype": dtype, "status": "Pass"}
        for n in range(8) for name in ("alloc", "matmul", "conv", "attention", "train") for dtype in ("fp32", "bf16", "fp16")
    ],
}  # fmt: skip
DUMP = (
    "PyTorch version: 2.4.0+cu124\nCUDA used to build PyTorch: 12.4\nIs CUDA available: True\n"
    "GPU models and configuration: GPU 0: NVIDIA A100-PCIE-40GB\nNvidia driver version: 550.107.02\n"
)


def rate(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Return how many times per second ``work`` runs."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return count / spent


def main() -> int:
    """Print the figures, and return 1 if one of them misses its budget."""
    knowledge = load()
    document = join_reports(FACTS_DOC, KERNELS_DOC)
    eight = facts_from_document(document, NodeFacts(name="n", driver_version="570.124.06"))
    walls = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL)
        walls.append(1000 * (time.perf_counter() - start))
    tables = packaged_tables()
    figures = {
        "gpuenv explain, wall, median ms": statistics.median(walls),
        "gpuenv explain, wall, least ms": min(walls),
        "building the tables, ms": 1000 / rate(lambda: build(tables), 1.0),
        "assessments of flags, one GPU, failing, per s": rate(lambda: assess(FLAGS, None, (), knowledge)),
        "assessments of a probe, eight GPUs, per s": rate(lambda: assess(eight, None, (), knowledge)),
        "joining the reports of eight GPUs, per s": rate(lambda: join_reports(FACTS_DOC, KERNELS_DOC)),
        "reading the facts of eight GPUs, per s": rate(lambda: facts_from_document(document, NodeFacts())),
        "reading a collect_env dump, per s": rate(lambda: read_collect_env(DUMP)),
    }
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for name, figure in figures.items():
        print(f"{figure:12,.1f}  {name}")
    slow = figures["gpuenv explain, wall, median ms"] > EXPLAIN_BUDGET_MS
    weak = (
        min(figure for name, figure in figures.items() if name.startswith("assessments"))
        < ASSESSMENTS_PER_SECOND
    )
    return 1 if slow or weak else 0


if __name__ == "__main__":
    sys.exit(main())
