"""The parent: runs a stage, keeps the report, writes the termination message after every step.

It loads neither torch nor libcuda nor NVML, so nothing of the image or the driver can hang or kill it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable, NamedTuple

from gpuenv_probe import codec
from gpuenv_probe.facts import container, notes
from gpuenv_probe.processes import commands, workers
from gpuenv_probe.processes.commands import UserCheck
from gpuenv_probe.processes.supervisor import Clock, Ended, Supervisor, worker_command
from gpuenv_probe.processes.worker import Partial

DEFAULT_DEADLINES = {"facts": 120.0, "kernels": 300.0}
"""Seconds a stage may take when nobody says otherwise."""
_RESERVE = 2.0
"""Seconds kept before the deadline for ending in good order."""
_BENCH_START = 20.0
"""Seconds for importing torch once more, and for making the inputs."""
_KEYS = {"steps": ("name", "gpu", "dtype"), "commands": ("name",), "benchmarks": ("kernel", "gpu", "dtype")}
"""What tells the rows of a table apart: a row that comes again takes the place of the first."""


class Options(NamedTuple):
    """What one run of the probe was asked for; ``deadline`` in seconds a stage."""

    stages: tuple[str, ...]
    run: str = ""
    termination_log: str | None = None
    deadline: float | None = None
    device: str = "cuda"
    profile: str = "Off"
    sharing: str = ""
    compile: bool = False
    imports: list[str] = []  # noqa: RUF012 - never changed in place
    checks: list[UserCheck] = []  # noqa: RUF012 - never changed in place
    out: str | None = None
    json: bool = False


class Stage:
    """One stage's report as it grows, and everybody who wants to see it."""

    def __init__(self, name: str, options: Options, earlier: dict[str, Any]) -> None:
        self.name = name
        self.options = options
        self.earlier = earlier
        self.report: dict[str, Any] = {
            "schema": codec.SCHEMA,
            "stage": name,
            "run": options.run,
            "complete": False,
            "ended": "starting",
        }
        self.control: dict[str, Any] = {}
        self.activity = ""

    def start(self, activity: str) -> None:
        """A step begins: should everything be killed now, the report says during what."""
        self.activity = activity
        self.report["ended"] = f"during {activity}"
        self.publish()
        if self.options.json:
            _print_json(event="start", stage=self.name, activity=activity)

    def add(self, partial: Partial) -> None:
        """A step has ended: its piece goes into the report."""
        partial = dict(partial)
        self.control.update(partial.pop("control", {}))
        merge(self.report, partial)
        self.publish()
        if self.options.json:
            _print_json(event="partial", stage=self.name, partial=partial)
        else:
            for line in describe(partial):
                print(line, flush=True)

    def end(self, why: str | None) -> None:
        """The stage is over: complete when ``why`` is None."""
        self.report["complete"] = why is None
        self.report.pop("ended", None)
        if why is not None:
            self.report["ended"] = why
        self.publish()
        if self.options.json:
            _print_json(event="report", stage=self.name, report=codec.normalise(self.report))
        elif why is not None:
            print(f"{self.name}: ended early: {why}", flush=True)

    def publish(self) -> None:
        """Writes the termination message and the output file, whatever is known so far."""
        if self.options.termination_log:
            overwrite(self.options.termination_log, codec.encode(self.report))
        if self.options.out:
            reports = {**self.earlier, self.name: codec.normalise(self.report)}
            overwrite(self.options.out, json.dumps(reports, indent=1) + "\n")


def run(options: Options) -> int:
    """Runs the stages asked for; 0, because a report was written, whatever it says."""
    reports: dict[str, Any] = {}
    for name in options.stages:
        seconds = options.deadline or DEFAULT_DEADLINES[name]
        clock = Clock(max(seconds - _RESERVE, seconds / 2))
        clock.listen()
        stage = Stage(name, options, reports)
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


def _supervisor(stage: Stage, clock: Clock, where: str = "") -> Supervisor:
    archive = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Supervisor(
        clock,
        worker_command(archive),
        on_start=lambda key: stage.start(f"{key}{where}"),
        on_partial=stage.add,
    )


def _facts(stage: Stage, clock: Clock) -> None:
    stage.add({"container": {**container.facts(), "notes": notes.find()}})
    for kind in ("raw", "torch"):
        _supervisor(stage, clock).run(kind, workers.steps_of(kind, {}), {})


def _kernels(stage: Stage, clock: Clock) -> None:
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
        _supervisor(stage, clock).run("imports", workers.steps_of("imports", job), job)
    for check in options.checks:
        clock.check()
        stage.start(f"check {check.name}")
        stage.add({"commands": [commands.run(check, clock)]})
    if options.profile != "Off":
        for gpu in range(count):
            _benchmark(stage, clock, {**job, "gpu": gpu})


def _benchmark(stage: Stage, clock: Clock, job: dict[str, Any]) -> None:
    """Figures come last and only when there is time: a verdict never waits for them."""
    from gpuenv_probe.benchmarks import bench

    if clock.left() < bench.PROFILES[job["profile"]][2] + _BENCH_START:
        stage.add(bench.skipped(job["gpu"], f"only {clock.left():.0f} s are left of the stage's time"))
        return
    _supervisor(stage, clock, f" on GPU {job['gpu']}").run("bench", workers.steps_of("bench", job), job)


def _run_gpu(stage: Stage, clock: Clock, job: dict[str, Any]) -> None:
    """All kernels on one GPU. A wrong result counts only when a fresh worker finds it again; until then it is
    told as unconfirmed, for the stage may end before.
    """
    steps = workers.steps_of("kernels", job)
    supervisor = _supervisor(stage, clock, f" on GPU {job['gpu']}")
    doubtful: list[dict[str, Any]] = []

    def note(partial: Partial) -> None:
        rows = partial.get("steps", [])
        wrong = [row for row in rows if row["status"] == "Wrong"]
        doubtful.extend(wrong)
        told = [workers.unconfirmed(row, "not confirmed yet") if row in wrong else row for row in rows]
        stage.add({**partial, "steps": told} if wrong else partial)

    supervisor.on_partial = note
    supervisor.run("kernels", steps, job)
    for first in doubtful:
        second: list[dict[str, Any]] = []
        supervisor.on_partial = _collector(second)
        supervisor.run("kernels", steps, {**job, "only": [workers.step_key(first)]})
        stage.add({"steps": [workers.confirmed(first, second)]})


def _collector(rows: list[dict[str, Any]]) -> Callable[[Partial], None]:
    def collect(partial: Partial) -> None:
        rows.extend(partial.get("steps", ()))

    return collect


def merge(report: dict[str, Any], partial: dict[str, Any]) -> None:
    """Adds a piece to ``report``: tables and lists grow, GPUs are matched by index, objects merge.

    The rest replaces, failures too: half of one and half of another would be no failure of anybody's.
    """
    for name, value in partial.items():
        known = report.get(name)
        if name in _KEYS:
            for row in value:
                _put(report.setdefault(name, []), row, _KEYS[name])
        elif name == "gpus":
            _merge_gpus(report.setdefault(name, []), value)
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(item for item in value if item not in known)
        elif isinstance(value, dict) and isinstance(known, dict) and "layer" not in value:
            merge(known, value)
        else:
            report[name] = value


def _put(table: list[dict[str, Any]], row: dict[str, Any], key: tuple[str, ...]) -> None:
    place = [row.get(name) for name in key]
    for number, known in enumerate(table):
        if [known.get(name) for name in key] == place:
            table[number] = row
            return
    table.append(row)


def _merge_gpus(gpus: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    by_index = {gpu["index"]: gpu for gpu in gpus}
    for gpu in more:
        if gpu["index"] in by_index:
            merge(by_index[gpu["index"]], gpu)
        else:
            gpus.append(gpu)


def describe(partial: Partial) -> list[str]:
    """One line a finding, for people who read the pod's log."""
    lines = []
    for step in partial.get("steps", ()):
        what = " ".join(str(step[name]) for name in ("name", "dtype") if step.get(name))
        why = (step.get("error") or {}).get("message", "") or step.get("detail", "")
        lines.append(f"GPU {step.get('gpu', 0)}: {what}: {step['status']} {why}".rstrip())
    for row in partial.get("benchmarks", ()):
        figure = f"{row['median']} {row['unit']}" if row.get("median") is not None else row.get("detail", "")
        lines.append(f"GPU {row.get('gpu', 0)}: {row['kernel']} {row.get('dtype', '')}: {figure}")
    names = [name for name in ("container", "driver", "torch", "commands", "gpus") if partial.get(name)]
    return lines + [f"{name}: {json.dumps(partial[name])}" for name in names]


def overwrite(path: str, text: str) -> None:
    """Puts ``text`` in place of the file's content without ever leaving it empty.

    The termination log is a mount of its own: it cannot be replaced by a rename. Written first and cut to
    length after, it holds a whole report at every moment (the codec ignores what follows a report's end).
    """
    data = text.encode("utf-8")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        print(f"gpuenv-probe: cannot write {path}: {error.strerror}", file=sys.stderr)
        return
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    except OSError as error:
        print(f"gpuenv-probe: cannot write {path}: {error.strerror}", file=sys.stderr)
    finally:
        os.close(descriptor)


def _print_json(**event: Any) -> None:
    print(json.dumps(event), flush=True)
