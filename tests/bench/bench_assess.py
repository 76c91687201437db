"""Measure the speed of the assessment: ``gpuenv explain`` as a whole, building the tables, and the engine alone.

The fleet's size plays no part.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row
from tests.support.judging import forget_cures

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, NodeFacts, TorchFacts
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.knowledge import load
from gpuenv.knowledge.files import packaged_tables
from gpuenv.knowledge.load import build
from gpuenv.knowledge.model import Knowledge

GOAL_EXPLAIN_MS = 150.0
GOAL_ASSESSMENT_MS = 0.2
RUNS = 20
COMMAND = (
    sys.executable, "-m", "gpuenv", "explain",
    "--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "Tesla V100-SXM2-16GB",
)  # fmt: skip

COMPATIBLE = Facts(
    source="flags",
    torch=TorchFacts(version="2.9.1+cu128", cuda="12.8"),
    driver=DriverFacts(version="570.124.06"),
    gpus=(Gpu(product="NVIDIA H100 80GB HBM3"),),
)
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


def new_kind(knowledge: Knowledge) -> None:
    """Assess facts that fail as if no node of this kind had been assessed before."""
    forget_cures()
    assess(FLAGS, None, (), knowledge)


def each_ms(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Return how many milliseconds of CPU ``work`` takes."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        work()
        count += 1
    return 1000 * spent / count


def run(_: Options) -> list[Row]:
    """Return the rows."""
    knowledge = load()
    document = join_reports(FACTS_DOC, KERNELS_DOC)
    eight = facts_from_document(document, NodeFacts(name="n", driver_version="570.124.06"))
    walls = []
    for _number in range(RUNS):
        start = time.perf_counter()
        subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL)
        walls.append(1000 * (time.perf_counter() - start))
    tables = packaged_tables()
    one, many = "one GPU, failing", "eight GPUs"
    return [
        Row("gpuenv explain, median", statistics.median(walls), "ms", f"{RUNS} runs", goal=GOAL_EXPLAIN_MS),
        Row("gpuenv explain, least", min(walls), "ms", f"{RUNS} runs"),
        Row("build the tables", each_ms(lambda: build(tables), 1.0), "ms of CPU", "all tables"),
        Row(
            "assess flags",
            each_ms(lambda: assess(COMPATIBLE, None, (), knowledge)),
            "ms of CPU",
            "one GPU, compatible",
            goal=GOAL_ASSESSMENT_MS,
        ),
        Row(
            "assess flags",
            each_ms(lambda: assess(FLAGS, None, (), knowledge)),
            "ms of CPU",
            one,
            goal=GOAL_ASSESSMENT_MS,
        ),
        Row("assess flags, search for cures", each_ms(lambda: new_kind(knowledge)), "ms of CPU", one),
        Row(
            "assess a probe",
            each_ms(lambda: assess(eight, None, (), knowledge)),
            "ms of CPU",
            many,
            goal=GOAL_ASSESSMENT_MS,
        ),
        Row(
            "join two probe reports", each_ms(lambda: join_reports(FACTS_DOC, KERNELS_DOC)), "ms of CPU", many
        ),
        Row("read facts", each_ms(lambda: facts_from_document(document, NodeFacts())), "ms of CPU", many),
        Row("read a collect_env dump", each_ms(lambda: read_collect_env(DUMP)), "ms of CPU", "one dump"),
    ]
