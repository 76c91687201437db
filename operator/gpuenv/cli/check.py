"""``gpuenv check``: runs the probe on this machine instead of in a pod, and assesses the probe reports."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, NodeFacts, Stage, StepStatus
from gpuenv.assess.model import Assessment, Check, Status, Verdict, decide
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.cli.inputs import local_probe
from gpuenv.cli.inputs.environment_file import read_environment
from gpuenv.cli.inputs.local_probe import ProbeRun
from gpuenv.cli.output import formats
from gpuenv.cli.output.answer import Answer
from gpuenv.cli.output.places import CHECK, in_place, without_environment
from gpuenv.cli.shared import exit_codes
from gpuenv.cli.shared.errors import BadInput, Interrupted
from gpuenv.cli.shared.forms import Form
from gpuenv.knowledge import load
from gpuenv.plan.run.ended_pod import PYTHON_TOO_OLD

_CPU_WARNING = "--device cpu: the kernels ran on the CPU. This is NO verdict on any GPU."
_STEP_STATUS = {StepStatus.PASS: Status.PASS, StepStatus.SKIPPED: Status.SKIPPED}


@click.command(epilog=f"{exit_codes.HELP}.")
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
    type=click.Choice(["None", "Quick", "Standard"]),
    help="Benchmarks: Quick takes 10 s a GPU, Standard 30 s; the environment's own, else None.",
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
@formats.option
def command(
    *,
    environment: str | None,
    python: str | None,
    profile: str | None,
    device: str,
    save: str | None,
    form: str,
) -> int:
    """Run the probe on this very machine, no cluster, and judge what it finds.

    \b
      gpuenv check
      gpuenv check -f environment.yaml --python /opt/venv/bin/python --profile Quick
    """
    try:
        spec, run_seconds = EnvironmentSpec(image=""), None
        if environment:
            spec, run_seconds = read_environment(environment)
        interpreter = _interpreter(python or spec.probe.python)
        benchmarks = profile or (spec.profile if environment else "None")
        if benchmarks == "None" and spec.floors:
            raise BadInput(
                f"--profile None measures nothing, and {environment} has floors; give Quick or Standard"
            )
        seconds = run_seconds or local_probe.deadline_seconds(spec, benchmarks, local_probe.gpu_count())
        variables = local_probe.environment(spec, seconds)
        local_probe.require_python(interpreter, variables)
        if save:
            _save(save, {})  # fails now, and not after minutes, if the file cannot be written
        run = local_probe.run(interpreter, variables, benchmarks, device)
        if save:
            _save(save, run.reports)  # also if the reports are partial
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    if run.interrupted:
        kept = f"; what was known by then is in {save}" if save else ""
        raise Interrupted(f"interrupted{kept}")
    answer = _answer(run, spec, device, interpreter)
    if not environment:
        answer = replace(answer, assessment=without_environment(answer.assessment))
    click.echo(formats.FORMATS[Form(form)]([answer], True), nl=False)
    if device == "cpu":
        click.secho(_CPU_WARNING, fg="red", bold=True, err=True)
    return exit_codes.of_worst([answer.assessment.verdict])


def _interpreter(given: str | None) -> str:
    """Return the path of the Python interpreter to probe: the given one, or the default.

    The default is the interpreter that runs gpuenv if it has torch, else ``python3`` on PATH. Raises BadInput if the
    given interpreter does not exist.
    """
    if given is None:
        if importlib.util.find_spec("torch") is not None:
            return sys.executable
        return shutil.which("python3") or sys.executable
    found = shutil.which(given)
    if found is None:
        kind = "is not executable" if Path(given).exists() else "does not exist"
        raise BadInput(f"--python: {given} {kind}; give the path of a Python interpreter")
    return found


def _save(path: str, reports: dict[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"--save: {path}: {error.strerror}; give a file in a directory you can write to"
        ) from None


def _answer(run: ProbeRun, spec: EnvironmentSpec, device: str, interpreter: str) -> Answer:
    document = join_reports(run.reports.get(Stage.FACTS), run.reports.get(Stage.KERNELS))
    facts = facts_from_document(document, NodeFacts())
    if not local_probe.in_container():
        # Root on a machine is no setting of a container, and cures are those of a machine.
        facts = replace(
            facts,
            container=replace(facts.container, uid=None),
            node=replace(facts.node, signs=("bare-metal",)),
        )
    if not run.reports:
        return Answer("", facts, _without_report(run, interpreter))
    found = (
        _of_the_cpu(facts)
        if device == "cpu"
        else in_place(assess(facts, spec.expect, spec.floors, load(), tried=spec.checks), CHECK)
    )
    if run.code != 0:
        found = decide([_crash(run), *found.checks])
    return Answer("", facts, found)


def _without_report(run: ProbeRun, interpreter: str) -> Assessment:
    """Return the assessment if the probe ended without a probe report. The verdict is Unknown.

    Either the version of Python is too old for the probe, or the interpreter failed for another reason.
    """
    how = local_probe.how_it_ended(run.code)
    last = _last_words(run)
    if run.code == PYTHON_TOO_OLD:
        other = Remedy(Action.PROVIDE_FACTS, "Probe an interpreter of Python 3.8 or newer with --python.")
        return decide([Check(check_names.PROBE, Status.UNKNOWN, reasons.PythonTooOld, last or how, (other,))])
    message = f"{interpreter} ended with {how}" + (f": {last}" if last else "")
    words = f"Try {interpreter} -c 'import sys', and give a working interpreter with --python."
    remedies = (Remedy(Action.INVESTIGATE, words),)
    return decide([Check(check_names.PROBE, Status.UNKNOWN, reasons.ProbeCrashed, message, remedies)])


def _crash(run: ProbeRun) -> Check:
    """Return the check that says that the probe failed or was killed, and during which step, if that is known."""
    last = _last_words(run)
    stages = [run.reports.get(name) or {} for name in (Stage.KERNELS, Stage.FACTS)]
    where = next((str(stage["ended"]) for stage in stages if stage.get("ended")), "")
    message = f"the probe ended with {local_probe.how_it_ended(run.code)}" + (f" {where}" if where else "")
    look = Remedy(
        Action.INVESTIGATE,
        "Look at the environment's own checks, and for the out-of-memory killer in the kernel log; "
        "then run it again.",
    )
    words = message + (f": {last}" if last else "")
    return Check(check_names.PROBE, Status.UNKNOWN, reasons.ProbeCrashed, words, (look,))


def _last_words(run: ProbeRun) -> str:
    return run.stderr.splitlines()[-1].strip()[:400] if run.stderr else ""


def _of_the_cpu(facts: Facts) -> Assessment:
    """Return the assessment for ``--device cpu``, with a check for each kernel that the probe ran on the CPU.

    The verdict is Unknown, because no kernel ran on a GPU.
    """
    checks = [
        Check(
            check_names.KERNEL.of(step.name, step.dtype),
            _STEP_STATUS.get(step.status, Status.WARN),
            "" if step.status in _STEP_STATUS else reasons.KernelFailed,
            step.detail or (f"{step.error.name}: {step.error.message}" if step.error else step.status),
        )
        for step in facts.steps
    ]
    again = Remedy(Action.REVALIDATE, "Run gpuenv check without --device cpu on a machine with a GPU.")
    leading = Check(
        check_names.KERNELS, Status.UNKNOWN, reasons.KernelsNotRun, "no kernel ran on any GPU", (again,)
    )
    ordered = decide([leading, *checks]).checks
    return Assessment(Verdict.UNKNOWN, leading.reason, leading.message, ordered)
