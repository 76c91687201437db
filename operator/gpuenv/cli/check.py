"""``gpuenv check``: the very probe that runs in pods, on this machine, and the same judgement of what it finds."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from gpuenv.api import reasons
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, NodeFacts
from gpuenv.assess.model import Assessment, Check, Status, Verdict, decide
from gpuenv.assess.report import facts_from_reports
from gpuenv.cli import output
from gpuenv.cli.explain import EXIT_CODES, Answer, BadInput, read_environment
from gpuenv.controller.bundle import build_zipapp
from gpuenv.knowledge import load

USAGE_ERROR: Final = 2
_PYTHON_TOO_OLD: Final = 65
_CPU_WARNING: Final = "--device cpu: the kernels ran on the CPU. This is NO verdict on any GPU."
_STEP_STATUS: Final = {"Pass": Status.PASS, "Skipped": Status.SKIPPED}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the probe left: its reports by stage, its exit code, and its last words."""

    reports: dict[str, Any]
    code: int
    words: str


@click.command(epilog="Exit code: 0 Compatible, 1 Incompatible, 2 wrong usage, 3 Degraded, 4 Unknown.")
@click.option(
    "-f",
    "--file",
    "environment",
    metavar="FILE",
    help="A GPUEnvironment, for its expectations, checks, floors.",
)
@click.option(
    "--python", metavar="PATH", help="Interpreter to probe; this one if it has torch, else python3 on PATH."
)
@click.option(
    "--profile",
    type=click.Choice(["Off", "Quick", "Standard"]),
    help="Benchmarks: Quick takes 10 s a GPU, Standard 30 s; the environment's own, else Off.",
)
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu tries all kernels without a GPU; that is no verdict.",
)
@click.option(
    "--save",
    metavar="FILE",
    help="Keep the probe's report; gpuenv explain --report FILE judges it elsewhere.",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
)
def command(**given: Any) -> None:
    """Run the probe on this very machine, no cluster, and judge what it finds.

    \b
      gpuenv check
      gpuenv check -f environment.yaml --python /opt/venv/bin/python --profile Quick
    """
    try:
        spec = read_environment(given["environment"]) if given["environment"] else EnvironmentSpec(image="")
        interpreter = _interpreter(given["python"] or spec.probe.python)
        profile = given["profile"] or (spec.profile if given["environment"] else "Off")
        if given["save"]:
            _save(given["save"], {})  # a place that cannot be written to is told now, not after minutes
        outcome = _probe(interpreter, spec, profile, given["device"])
        if given["save"]:
            _save(given["save"], outcome.reports)
    except BadInput as error:
        click.echo(f"gpuenv check: {error}", err=True)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)
    answer = _judge(outcome, spec, given["device"], interpreter)
    click.echo(output.FORMS[given["form"]]([answer], True), nl=False)
    if given["device"] == "cpu":
        click.secho(_CPU_WARNING, fg="red", bold=True, err=True)
    sys.exit(EXIT_CODES[answer.assessment.verdict])


def _interpreter(given: str | None) -> str:
    """The interpreter to probe. Raises BadInput when it cannot be run."""
    if given is None:
        if importlib.util.find_spec("torch") is not None:
            return sys.executable
        return shutil.which("python3") or sys.executable
    found = shutil.which(given)
    if found is None:
        kind = "is not executable" if Path(given).exists() else "does not exist"
        raise BadInput(f"--python: {given} {kind}; give the path of a Python interpreter")
    return found


def _probe(interpreter: str, spec: EnvironmentSpec, profile: str, device: str) -> Outcome:
    """Runs the probe with progress on standard error. Raises BadInput when ``interpreter`` is none."""
    checks = [
        {"name": check.name, "command": check.command, "timeoutSeconds": check.timeout_seconds}
        for check in spec.checks
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
    env |= dict(spec.probe.env)
    env |= {
        "GPUENV_RUN": "check",
        "GPUENV_COMPILE": "1" if spec.expect.compile else "0",
        "GPUENV_IMPORTS": json.dumps(spec.expect.imports),
        "GPUENV_CHECKS": json.dumps(checks),
    }
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as directory:
        archive = Path(directory) / "gpuenv-probe.pyz"
        archive.write_bytes(build_zipapp())
        words = Path(directory) / "stderr"
        arguments = [interpreter, str(archive), "all", "--json", "--device", device, "--profile", profile]
        with words.open("w+", encoding="utf-8", errors="replace") as errors:
            try:
                process = subprocess.Popen(
                    arguments, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
                )
            except OSError as error:
                raise BadInput(f"--python: {interpreter} cannot be started: {error.strerror}") from None
            with process:
                assert process.stdout is not None
                reports = _follow(process.stdout)
            errors.seek(0)
            return Outcome(reports, process.returncode, errors.read().strip())


def _follow(lines: Iterator[str]) -> dict[str, Any]:
    """The reports out of the probe's events; what begins and what is done shows meanwhile."""
    reports: dict[str, Any] = {}
    for line in lines:
        try:
            event = json.loads(line)
            kind, stage = event["event"], event["stage"]
        except (ValueError, KeyError, TypeError):
            continue  # whatever a sitecustomize prints
        if kind == "start":
            _show_activity(f"{event['activity']} ...")
        elif kind == "report":
            reports[stage] = event["report"]
    _show_activity("")
    return reports


def _show_activity(text: str) -> None:
    """One line that is overwritten, on a terminal only."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r{text[:width].ljust(width)}\r", nl=False, err=True)


def _save(path: str, reports: dict[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"--save: {path}: {error.strerror}; give a file in a directory you can write to"
        ) from None


def _judge(outcome: Outcome, spec: EnvironmentSpec, device: str, interpreter: str) -> Answer:
    facts = facts_from_reports(outcome.reports.get("facts"), outcome.reports.get("kernels"), NodeFacts())
    if not outcome.reports:
        return Answer("", facts, _no_report(outcome, interpreter))
    if device == "cpu":
        return Answer("", facts, _of_the_cpu(facts))
    return Answer("", facts, assess(facts, spec.expect, spec.floors, load()))


def _no_report(outcome: Outcome, interpreter: str) -> Assessment:
    """The interpreter ran, but no report came: too old, or something else in its way."""
    last = (outcome.words.splitlines() or [f"exit code {outcome.code}"])[-1]
    if outcome.code == _PYTHON_TOO_OLD:
        cure = "Probe an interpreter of Python 3.8 or newer with --python."
        return decide([Check("probe", Status.UNKNOWN, reasons.PythonTooOld, last, cure)])
    message = f"{interpreter} ended with code {outcome.code}: {last}"
    cure = f"Try {interpreter} -c 'import sys', and give a working interpreter with --python."
    return decide([Check("probe", Status.UNKNOWN, reasons.ProbeCrashed, message, cure)])


def _of_the_cpu(facts: Facts) -> Assessment:
    """Every kernel by itself, under one check that keeps this from being a verdict."""
    checks = [
        Check(
            f"kernel-{step.name}{'-' + step.dtype if step.dtype else ''}",
            _STEP_STATUS.get(step.status, Status.WARN),
            "" if step.status in _STEP_STATUS else reasons.KernelFailed,
            step.detail or (f"{step.error.name}: {step.error.message}" if step.error else step.status),
        )
        for step in facts.steps
    ]
    cure = "Run gpuenv check without --device cpu on a machine with a GPU."
    leading = Check("kernels", Status.UNKNOWN, reasons.KernelsNotRun, "no kernel ran on any GPU", cure)
    ordered = decide([leading, *checks]).checks
    return Assessment(Verdict.UNKNOWN, leading.reason, leading.message, ordered)
