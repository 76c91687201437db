"""The parent process: it runs the stages in worker processes, and writes the probe report after every step.

It loads neither torch nor libcuda nor NVML, so that no crash or hang in them can end it.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from gpuenv_probe import codec, statuses
from gpuenv_probe.facts import container, insecure_settings
from gpuenv_probe.options import Options
from gpuenv_probe.processes import command_checks, worker_kinds, wrong_results
from gpuenv_probe.processes.stage_report import StageReport
from gpuenv_probe.processes.supervisor import Clock, Ended, Supervisor, worker_command
from gpuenv_probe.step import Partial

DEFAULT_DEADLINES = {"facts": 120.0, "kernels": 300.0}
"""Seconds that each stage may take, by the stage's name, if the options give no deadline."""
_RESERVE = 2.0
"""Seconds by which a stage ends before its deadline, so that there is time to write the report."""
_BENCHMARK_START = 20.0
"""Seconds that a benchmark worker may need before its first measurement, to import torch and make the inputs."""


def run(options: Options) -> int:
    """Run the requested stages, write their probe reports, and return exit code 0.

    The exit code is 0 even if the reports contain failures: it says only that the reports were written.
    """
    reports: dict[str, Any] = {}
    for name in options.stages:
        seconds = options.deadline or DEFAULT_DEADLINES[name]
        clock = Clock(max(seconds - _RESERVE, seconds / 2))
        clock.listen()
        stage = StageReport(name, options, reports)
        stage.publish()
        why: str | None = None
        try:
            (_facts if name == "facts" else _kernels)(stage, clock)
        except Ended as ended:
            why = f"{ended} during {stage.activity}" if stage.activity and ended.from_outside else str(ended)
        if why is None and options.device == "cpu" and name == "kernels":
            why = "ran on the CPU: this is no verdict on any GPU"
        stage.end(why)
        reports[name] = codec.normalise(stage.report)
        if clock.signal:
            break
    return 0


def _supervisor(stage: StageReport, clock: Clock, where: str = "") -> Supervisor:
    """Return a supervisor that adds the partial reports of its steps to the probe report ``stage``.

    ``where``, such as " on GPU 0", is appended to the name of a step where the report says that the step has begun.
    """
    archive = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Supervisor(
        clock,
        worker_command(archive),
        on_start=lambda key: stage.start(f"{key}{where}"),
        on_partial=stage.add,
    )


def _facts(stage: StageReport, clock: Clock) -> None:
    """Collect the facts: about the container in this process; about driver and torch in worker processes."""
    stage.add({"container": {**container.facts(), "notes": insecure_settings.find()}})
    for kind in ("driver", "torch"):
        _supervisor(stage, clock).run(kind, worker_kinds.steps_of(kind, {}), {})


def _kernels(stage: StageReport, clock: Clock) -> None:
    """Run the kernels on every GPU, then import the modules to be checked, run the command checks and the benchmarks."""
    options = stage.options
    # The operator needs this fact to judge failed steps, and the report of the facts stage may be lost.
    stage.add({"container": {"rootReadOnly": container.root_read_only()}})
    job = {
        "device": options.device,
        "compile": options.compile,
        "imports": options.imports,
        "profile": options.profile,
        "sharing": options.sharing,
    }
    gpu, count = 0, 0
    while gpu == 0 or gpu < count:
        _run_gpu(stage, clock, {**job, "gpu": gpu})
        # A later worker counts 0 GPUs if its CUDA does not start. The highest count is the right one.
        count = max(count, int(stage.control.get("gpuCount", 0)))
        gpu += 1
    if options.imports:
        _supervisor(stage, clock).run("imports", worker_kinds.steps_of("imports", job), job)
    for check in options.checks:
        clock.check()
        stage.start(f"check {check.name}")
        stage.add({"commands": [command_checks.run(check, clock)]})
    if options.profile != "None":
        for gpu in range(count):
            _benchmark(stage, clock, {**job, "gpu": gpu})


def _benchmark(stage: StageReport, clock: Clock, job: dict[str, Any]) -> None:
    """Run the benchmarks of one GPU, or report them as not measured if too little of the stage's time is left.

    In the worker's ``job``, ``gpu`` is the CUDA index of the GPU, and ``profile`` is the benchmark profile.
    """
    from gpuenv_probe.benchmarks import causes
    from gpuenv_probe.benchmarks import steps as benchmarks

    if clock.left() < benchmarks.PROFILES[job["profile"]][2] + _BENCHMARK_START:
        words = f"only {clock.left():.0f} s are left of the stage's time"
        stage.add(benchmarks.skipped(job["gpu"], (causes.STAGE_TIME, words)))
        return
    _supervisor(stage, clock, f" on GPU {job['gpu']}").run(
        "benchmarks", worker_kinds.steps_of("benchmarks", job), job
    )


def _run_gpu(stage: StageReport, clock: Clock, job: dict[str, Any]) -> None:
    """Run all kernels on one GPU, and each step with a wrong result once more in a new worker process.

    In the worker's ``job``, ``gpu`` is the CUDA index of the GPU. A wrong result is reported as Unconfirmed until the
    step has run again, because the stage may end before that.
    """
    steps = worker_kinds.steps_of("kernels", job)
    supervisor = _supervisor(stage, clock, f" on GPU {job['gpu']}")
    to_confirm: list[dict[str, Any]] = []

    def add_unconfirmed(partial: Partial) -> None:
        rows = partial.get("steps", [])
        wrong = [row for row in rows if row["status"] == statuses.WRONG]
        to_confirm.extend(wrong)
        shown = [wrong_results.unconfirmed(row, "not confirmed yet") if row in wrong else row for row in rows]
        stage.add({**partial, "steps": shown} if wrong else partial)

    supervisor.on_partial = add_unconfirmed
    supervisor.run("kernels", steps, job)
    for first in to_confirm:
        second: list[dict[str, Any]] = []
        supervisor.on_partial = _collector(second)
        supervisor.run("kernels", steps, {**job, "only": [wrong_results.step_key(first)]})
        stage.add({"steps": [wrong_results.confirmed(first, second)]})


def _collector(rows: list[dict[str, Any]]) -> Callable[[Partial], None]:
    """Return a function that appends the kernel results in a partial report, its list ``steps``, to ``rows``."""

    def collect(partial: Partial) -> None:
        rows.extend(partial.get("steps", ()))

    return collect
