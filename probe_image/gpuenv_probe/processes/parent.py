"""The parent: runs a stage, keeps the report, writes the termination message after every step.

It loads neither torch nor libcuda nor NVML, so nothing of the image or the driver can hang or kill it.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from gpuenv_probe import codec
from gpuenv_probe.facts import container, insecure_settings
from gpuenv_probe.options import Options
from gpuenv_probe.processes import command_checks, worker_kinds, wrong_results
from gpuenv_probe.processes.stage_report import StageReport
from gpuenv_probe.processes.supervisor import Clock, Ended, Supervisor, worker_command
from gpuenv_probe.step import Partial

DEFAULT_DEADLINES = {"facts": 120.0, "kernels": 300.0}
"""Seconds a stage may take when nobody says otherwise."""
_RESERVE = 2.0
"""Seconds kept before the deadline for ending in good order."""
_BENCH_START = 20.0
"""Seconds for importing torch once more, and for making the inputs."""


def run(options: Options) -> int:
    """Runs the stages asked for; 0, because a report was written, whatever it says."""
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
    archive = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Supervisor(
        clock,
        worker_command(archive),
        on_start=lambda key: stage.start(f"{key}{where}"),
        on_partial=stage.add,
    )


def _facts(stage: StageReport, clock: Clock) -> None:
    stage.add({"container": {**container.facts(), "notes": insecure_settings.find()}})
    for kind in ("driver", "torch"):
        _supervisor(stage, clock).run(kind, worker_kinds.steps_of(kind, {}), {})


def _kernels(stage: StageReport, clock: Clock) -> None:
    options = stage.options
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
        # A worker whose CUDA no longer starts counts none, and its GPUs are there all the same.
        count = max(count, int(stage.control.get("gpuCount", 0)))
        gpu += 1
    if options.imports:
        _supervisor(stage, clock).run("imports", worker_kinds.steps_of("imports", job), job)
    for check in options.checks:
        clock.check()
        stage.start(f"check {check.name}")
        stage.add({"commands": [command_checks.run(check, clock)]})
    if options.profile != "Off":
        for gpu in range(count):
            _benchmark(stage, clock, {**job, "gpu": gpu})


def _benchmark(stage: StageReport, clock: Clock, job: dict[str, Any]) -> None:
    """Figures come last and only when there is time: a verdict never waits for them."""
    from gpuenv_probe.benchmarks import steps as benchmarks

    if clock.left() < benchmarks.PROFILES[job["profile"]][2] + _BENCH_START:
        stage.add(benchmarks.skipped(job["gpu"], f"only {clock.left():.0f} s are left of the stage's time"))
        return
    _supervisor(stage, clock, f" on GPU {job['gpu']}").run(
        "benchmarks", worker_kinds.steps_of("benchmarks", job), job
    )


def _run_gpu(stage: StageReport, clock: Clock, job: dict[str, Any]) -> None:
    """All kernels on one GPU. A wrong result counts only when a fresh worker finds it again; until then it is
    told as unconfirmed, for the stage may end before.
    """
    steps = worker_kinds.steps_of("kernels", job)
    supervisor = _supervisor(stage, clock, f" on GPU {job['gpu']}")
    doubtful: list[dict[str, Any]] = []

    def note(partial: Partial) -> None:
        rows = partial.get("steps", [])
        wrong = [row for row in rows if row["status"] == "Wrong"]
        doubtful.extend(wrong)
        told = [wrong_results.unconfirmed(row, "not confirmed yet") if row in wrong else row for row in rows]
        stage.add({**partial, "steps": told} if wrong else partial)

    supervisor.on_partial = note
    supervisor.run("kernels", steps, job)
    for first in doubtful:
        second: list[dict[str, Any]] = []
        supervisor.on_partial = _collector(second)
        supervisor.run("kernels", steps, {**job, "only": [wrong_results.step_key(first)]})
        stage.add({"steps": [wrong_results.confirmed(first, second)]})


def _collector(rows: list[dict[str, Any]]) -> Callable[[Partial], None]:
    def collect(partial: Partial) -> None:
        rows.extend(partial.get("steps", ()))

    return collect
