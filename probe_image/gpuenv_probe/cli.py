"""The probe's command line and the environment variables with which the operator configures it.

Usage: ``gpuenv-probe.pyz facts|kernels|all [--device cuda|cpu] [--profile None|Quick|Standard] [--out FILE] [--json]``

Exit codes: 0 when a report was written, even if it reports failures; 64 for wrong usage; 65 when Python is too old;
70 for an internal error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Mapping, NoReturn

from gpuenv_probe import __version__
from gpuenv_probe.processes import worker, worker_kinds

if TYPE_CHECKING:
    from gpuenv_probe.options import Options
    from gpuenv_probe.processes.command_checks import CommandCheck

EX_USAGE = 64
EX_SOFTWARE = 70
_PROFILES = ("None", "Quick", "Standard")


class UsageError(Exception):
    """The command line or an environment variable is wrong.

    The message is one line that names the argument or variable and gives the allowed values.
    """


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError where argparse would print the error and exit with code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def main(arguments: list[str]) -> int:
    """Run the probe, or one of its worker processes, and return the exit code."""
    try:
        if arguments[:1] == ["worker"]:
            return _run_worker(arguments[1:])
        from gpuenv_probe.processes import parent

        return parent.run(parse(arguments, os.environ))
    except UsageError as error:
        print(f"gpuenv-probe: {error}", file=sys.stderr)
        return EX_USAGE
    except Exception:
        traceback.print_exc()
        return EX_SOFTWARE


def parse(arguments: list[str], env: Mapping[str, str]) -> Options:
    """Return the options of one run of the probe, from its arguments and environment variables.

    An argument takes precedence over the environment variable for the same option. Raises UsageError if an argument or
    variable has a wrong value.
    """
    from gpuenv_probe import options

    parser = _Parser(
        prog="gpuenv-probe", description="Reports what a PyTorch image and its GPUs can do together."
    )
    parser.add_argument("stage", choices=("facts", "kernels", "all"))
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu exercises the kernels only"
    )
    parser.add_argument("--profile", choices=_PROFILES, default=env.get("GPUENV_PROFILE") or "None")
    parser.add_argument(
        "--out", metavar="FILE", help="write the whole reports as JSON to FILE after every step"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line an event instead of text")
    parser.add_argument("--version", action="version", version=f"gpuenv-probe {__version__}")
    parsed = parser.parse_args(arguments)
    if parsed.profile not in _PROFILES:
        raise UsageError(f"GPUENV_PROFILE is {parsed.profile!r}; it is one of {', '.join(_PROFILES)}")
    return options.Options(
        stages=("facts", "kernels") if parsed.stage == "all" else (parsed.stage,),
        run=env.get("GPUENV_RUN", ""),
        termination_log=env.get("GPUENV_TERMINATION_LOG") or None,
        deadline=_seconds(env, "GPUENV_DEADLINE_SECONDS"),
        device=parsed.device,
        profile=parsed.profile,
        sharing=env.get("GPUENV_SHARING", ""),
        compile=env.get("GPUENV_COMPILE", "0") not in ("", "0"),
        imports=_imports(env),
        checks=_checks(env),
        out=parsed.out,
        json=parsed.json,
    )


def _run_worker(arguments: list[str]) -> int:
    """Run this process as a worker. The worker ends the process itself after its last step.

    The parent process passed three arguments: the kind of worker, its job (a JSON object with the parameters of its
    steps), and the number of the file descriptor for its results. Raises UsageError if they are wrong.
    """
    try:
        kind, job_text, descriptor_text = arguments
        job: dict[str, Any] = json.loads(job_text)
        descriptor = worker.descriptor_from(descriptor_text)
        steps = worker_kinds.steps_of(kind, job)
    except (ValueError, KeyError) as error:
        raise UsageError(f"a worker is started by the probe itself: {error}") from None
    return worker.main(steps, job, descriptor)


def _seconds(env: Mapping[str, str], name: str) -> float | None:
    text = env.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise UsageError(f"{name} is {text!r}; it is a number of seconds from 1 to 86400")
    return seconds


def _parse_list(env: Mapping[str, str], name: str) -> list[Any]:
    text = env.get(name)
    if not text:
        return []
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise UsageError(f"{name} is no JSON list: {text[:60]!r}")
    return value


def _imports(env: Mapping[str, str]) -> list[str]:
    names = _parse_list(env, "GPUENV_IMPORTS")
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"GPUENV_IMPORTS names {name!r}, which is no module name")
    return names


def _checks(env: Mapping[str, str]) -> list[CommandCheck]:
    from gpuenv_probe.processes import command_checks

    checks = []
    for entry in _parse_list(env, "GPUENV_CHECKS"):
        try:
            command = [str(word) for word in entry["command"]]
            check = command_checks.CommandCheck(
                str(entry["name"]), command, float(entry.get("timeoutSeconds", 60))
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            command = []
        if not command:
            raise UsageError(
                'GPUENV_CHECKS entries look like {"name": ..., "command": [...], "timeoutSeconds": 60}'
            )
        checks.append(check)
    return checks
