"""Measure the probe's own overhead: the time of both stages without torch and without a GPU, and the parent's memory.

The fleet's size plays no part. The driver libraries are those of ``tests/fake_cuda``, so that the NVML bindings are
loaded from the zip application, as on a real node.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row

from gpuenv.controller.bundle import build_zipapp

SOURCES = Path(__file__).parents[1] / "fake_cuda"
GOAL_SECONDS = 1.0
GOAL_PARENT_MB = 60.0
RUNS = 15


def one_run(archive: Path, libraries: Path, directory: Path) -> tuple[float, float]:
    """Return the seconds of both stages, and the parent's peak memory in MB (VmHWM, polled until it ends)."""
    env = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": str(libraries),
        "GPUENV_TERMINATION_LOG": str(directory / "log"),
    }
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-S", str(archive), "all"], env=env, stdout=subprocess.DEVNULL
    )
    peak = 0.0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            continue
        high = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        peak = max([peak, *(int(kib) / 1000 for kib in high)])
        try:
            process.wait(0.005)
        except subprocess.TimeoutExpired:
            continue
    if process.returncode != 0:
        raise RuntimeError(f"the probe ended with {process.returncode}")
    return time.perf_counter() - begun, peak


def compile_libraries(directory: Path) -> Path:
    """Compile the fake driver libraries with their build script."""
    subprocess.run(
        [sys.executable, "-m", "tests.fake_cuda.build", str(directory)], cwd=SOURCES.parents[1], check=True
    )
    return directory


def run(_: Options) -> list[Row]:
    """Return the rows."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        archive = directory / "gpuenv-probe.pyz"
        archive.write_bytes(build_zipapp())
        libraries = compile_libraries(directory / "lib")
        # The first run fills the caches of files.
        runs = [one_run(archive, libraries, directory) for _number in range(RUNS + 1)][1:]
    seconds = [run[0] for run in runs]
    where = f"both stages, no torch, {RUNS} runs"
    return [
        Row("probe, median", statistics.median(seconds), "s", where, goal=GOAL_SECONDS),
        Row("probe, slowest", max(seconds), "s", where),
        Row(
            "probe, memory of the parent at most",
            max(run[1] for run in runs),
            "MB",
            where,
            goal=GOAL_PARENT_MB,
        ),
    ]
