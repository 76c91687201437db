"""``gpuenv check``: the very probe that runs in pods, on this machine, and the same judgement of what it finds."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import click

from gpuenv.api import reasons
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, NodeFacts
from gpuenv.assess.model import Assessment, Check, Status, Verdict, decide
from gpuenv.assess.sources.probe_report import facts_from_reports
from gpuenv.cli import output
from gpuenv.cli.explain import EXIT_CODES, Answer, BadInput, read_environment
from gpuenv.cli.inputs import probe_runs
from gpuenv.cli.inputs.probe_runs import Outcome
from gpuenv.knowledge import load

USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130
"""128 and SIGINT, as of a shell."""
_PYTHON_TOO_OLD: Final = 65
_CPU_WARNING: Final = "--device cpu: the kernels ran on the CPU. This is NO verdict on any GPU."
_STEP_STATUS: Final = {"Pass": Status.PASS, "Skipped": Status.SKIPPED}


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
        spec, run_seconds = EnvironmentSpec(image=""), None
        if given["environment"]:
            spec, run_seconds = read_environment(given["environment"])
        interpreter = _interpreter(given["python"] or spec.probe.python)
        outcome = _probe(given, spec, run_seconds, interpreter)
    except BadInput as error:
        click.echo(f"gpuenv check: {error}", err=True)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if outcome.interrupted:
        kept = f"; what was known by then is in {given['save']}" if given["save"] else ""
        click.echo(f"gpuenv check: interrupted{kept}", err=True)
        sys.exit(INTERRUPTED)
    answer = _judge(outcome, spec, given["device"], interpreter)
    click.echo(output.FORMS[given["form"]]([answer], True), nl=False)
    if given["device"] == "cpu":
        click.secho(_CPU_WARNING, fg="red", bold=True, err=True)
    sys.exit(EXIT_CODES[answer.assessment.verdict])


def _interpreter(given: str | None) -> str:
    """The program to probe. Raises BadInput when there is none of that name."""
    if given is None:
        if importlib.util.find_spec("torch") is not None:
            return sys.executable
        return shutil.which("python3") or sys.executable
    found = shutil.which(given)
    if found is None:
        kind = "is not executable" if Path(given).exists() else "does not exist"
        raise BadInput(f"--python: {given} {kind}; give the path of a Python interpreter")
    return found


def _probe(given: dict[str, Any], spec: EnvironmentSpec, run_seconds: int | None, python: str) -> Outcome:
    """Runs the probe and saves what it left. Raises BadInput; a report that is partial is saved too."""
    profile = given["profile"] or (spec.profile if given["environment"] else "Off")
    deadline = run_seconds or probe_runs.deadline_seconds(spec, profile, probe_runs.gpu_count())
    env = probe_runs.environment(spec, deadline)
    probe_runs.require_python(python, env)
    if given["save"]:
        _save(given["save"], {})  # a place that cannot be written to is told now, not after minutes
    outcome = probe_runs.run(python, env, profile, given["device"])
    if given["save"]:
        _save(given["save"], outcome.reports)
    return outcome


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
    found = _of_the_cpu(facts) if device == "cpu" else assess(facts, spec.expect, spec.floors, load())
    if outcome.code != 0:
        found = decide([_crashed(outcome), *found.checks])
    return Answer("", facts, found)


def _no_report(outcome: Outcome, interpreter: str) -> Assessment:
    """The interpreter ran, but no report came: too old, or something else in its way."""
    how = probe_runs.how_it_ended(outcome.code)
    last = _last_words(outcome)
    if outcome.code == _PYTHON_TOO_OLD:
        cure = "Probe an interpreter of Python 3.8 or newer with --python."
        return decide([Check("probe", Status.UNKNOWN, reasons.PythonTooOld, last or how, cure)])
    message = f"{interpreter} ended with {how}" + (f": {last}" if last else "")
    cure = f"Try {interpreter} -c 'import sys', and give a working interpreter with --python."
    return decide([Check("probe", Status.UNKNOWN, reasons.ProbeCrashed, message, cure)])


def _crashed(outcome: Outcome) -> Check:
    """The probe's parent was ended from outside, or failed; its reports tell how far it came."""
    last = _last_words(outcome)
    stages = [outcome.reports.get(name) or {} for name in ("kernels", "facts")]
    where = next((str(stage["ended"]) for stage in stages if stage.get("ended")), "")
    message = f"the probe ended with {probe_runs.how_it_ended(outcome.code)}" + (f" {where}" if where else "")
    cure = "Look at the environment's own checks, and for the out-of-memory killer in the kernel log; then run it again."
    return Check("probe", Status.UNKNOWN, reasons.ProbeCrashed, message + (f": {last}" if last else ""), cure)


def _last_words(outcome: Outcome) -> str:
    return outcome.words.splitlines()[-1].strip()[:400] if outcome.words else ""


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
