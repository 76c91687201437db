"""Runs the probe on this machine, with a deadline and progress on the terminal, and reads the probe reports."""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import click

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.cli.shared.errors import BadInput
from gpuenv.controller.bundle import build_zipapp

FIRST_GPU_SECONDS: Final = 300
"""Time limit in seconds for the kernels on the first GPU. The probe has the same default limit for a stage."""
_NEXT_GPU_SECONDS: Final = 120
"""Time limit in seconds for the kernels on each further GPU, for which another process imports torch."""
_BENCHMARK_SECONDS: Final = {"None": 0, "Quick": 10 + 50, "Standard": 30 + 50}
"""Maps each benchmark profile to the time limit in seconds for the benchmarks on one GPU.

In each sum, the first number is for the benchmarks, the second for importing torch again and making the inputs.
"""
_IMPORT_SECONDS: Final = 180
"""Time limit in seconds for the import of each module of ``checks.imports``. The probe has the same limit."""
_MOST_SECONDS: Final = 86400
"""The longest deadline of a stage that the probe accepts, in seconds."""
START_SECONDS: Final = 60.0
"""Time limit in seconds for the start of a Python interpreter, which is slow from a network disk."""
_GRACE_SECONDS: Final = 10.0
"""Seconds that an interrupted probe has to end, before it is killed.

The probe itself waits up to 3 s for a worker process that a system call keeps from ending.
"""
_CGROUP_CHARACTERS: Final = 65536
"""How much of the list of control groups is read."""
_LATE_SECONDS: Final = 1.0
"""Seconds during which the output of the probe is still read after the probe has ended."""
_ASK: Final = "print('gpuenv' + str(6 * 7))"
"""Python code by which :func:`require_python` tests a program: a Python interpreter prints ``gpuenv42``."""
_ANSWER: Final = "gpuenv42"
"""What a Python interpreter prints when it runs the code :data:`_ASK`.

The code computes this text and does not contain it. So a program that only prints its arguments does not print it.
"""


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """The probe reports, the exit code and the error output of a probe that ran on this machine."""

    reports: dict[str, Any]
    """Maps the name of each stage to its probe report, which is partial or missing if the probe was killed."""
    code: int
    """The exit code of the probe. If a signal ended it, the code is the negative number of the signal."""
    stderr: str
    interrupted: bool = False
    """Whether Ctrl-C ended the probe."""


def deadline_seconds(spec: EnvironmentSpec, profile: str, gpus: int) -> int:
    """Return the deadline of each stage in seconds, for an environment that does not set ``runSeconds``.

    It is the sum of the time limits of everything that the kernels stage does, and at most :data:`_MOST_SECONDS`.
    """
    seconds = FIRST_GPU_SECONDS + (gpus - 1) * _NEXT_GPU_SECONDS + gpus * _BENCHMARK_SECONDS[profile]
    seconds += len(spec.checks.imports) * _IMPORT_SECONDS
    seconds += sum(check.timeout_seconds for check in spec.checks.commands)
    return min(seconds, _MOST_SECONDS)


def gpu_count(devices: Path = Path("/dev")) -> int:
    """Return the number of GPUs that have a device file ``/dev/nvidia<number>``, but at least 1.

    On WSL, GPUs have no such device files, so the number is always 1 there.
    """
    try:
        return max(1, sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in devices.iterdir()))
    except OSError:
        return 1


def in_container(root: Path = Path("/"), env: Mapping[str, str] = os.environ) -> bool:
    """Return whether this machine is a container, by the files and variables of container runtimes.

    ``root`` is the directory that stands for the root of the file system.
    """
    if any((root / name).exists() for name in (".dockerenv", "run/.containerenv", ".singularity.d")):
        return True
    if "KUBERNETES_SERVICE_HOST" in env or env.get("container"):
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text(encoding="utf-8", errors="replace")[:_CGROUP_CHARACTERS]
    except OSError:
        return False
    return any(word in groups for word in ("docker", "kubepods", "containerd", "libpod", "crio", "/lxc"))


def environment(spec: EnvironmentSpec, deadline: int) -> dict[str, str]:
    """Return the environment variables for the probe.

    They are the variables of this process, those of ``spec.probe.env``, and those that configure the probe
    (``GPUENV_...``), as in a probe pod.
    """
    checks = [
        {"name": check.name, "command": check.command, "timeoutSeconds": check.timeout_seconds}
        for check in spec.checks.commands
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
    return (
        env
        | dict(spec.probe.env)
        | {
            "GPUENV_RUN": "check",
            "GPUENV_DEADLINE_SECONDS": str(deadline),
            "GPUENV_COMPILE": "1" if spec.checks.compile else "0",
            "GPUENV_IMPORTS": json.dumps(spec.checks.imports),
            "GPUENV_CHECKS": json.dumps(checks),
        }
    )


def require_python(interpreter: str, env: Mapping[str, str], limit: float = START_SECONDS) -> None:
    """Raise BadInput if a program is no Python interpreter. Any version of Python is accepted.

    ``limit`` is the time limit in seconds. The program is called with ``-S``, which skips the module ``site``: an image
    may run its own code there, and if that code fails, the probe says so later. The program is not called with ``-I``,
    because Python 2.7 has no such option. If the version of Python is too old, the probe says so.
    """
    try:
        done = subprocess.run(
            [interpreter, "-S", "-c", _ASK],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except OSError as error:
        raise BadInput(f"--python: {interpreter} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _no_python(interpreter, f"no answer in {limit:g} s") from None
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        raise _no_python(interpreter, how_it_ended(done.returncode) + (f": {last[:200]}" if last else ""))
    if _ANSWER.encode() not in done.stdout:
        raise _no_python(interpreter, "it does not run Python code")


def _no_python(interpreter: str, why: str) -> BadInput:
    return BadInput(f"--python: {interpreter} is no Python interpreter ({why}); give the path of one")


def how_it_ended(code: int) -> str:
    """Return a description of an exit code, such as ``signal 9 (SIGKILL)`` or ``exit code 1``.

    Python reports a signal as its negative number, and shells report it as 128 plus its number.
    """
    number = -code if code < 0 else code - 128 if 128 < code < 128 + signal.NSIG else 0
    try:
        return f"signal {number} ({signal.Signals(number).name})" if number else f"exit code {code}"
    except ValueError:
        return f"signal {number}"


def run(interpreter: str, env: Mapping[str, str], profile: str, device: str) -> ProbeRun:
    """Run both stages of the probe, with progress on standard error.

    ``profile`` is a benchmark profile, and ``device`` is ``cuda`` or ``cpu``. Raises BadInput if the interpreter
    cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
        archive, out = Path(name) / names.PROBE_ARCHIVE, Path(name) / "reports.json"
        archive.write_bytes(build_zipapp())
        arguments = [interpreter, str(archive), "all", "--json", "--out", str(out)]
        arguments += ["--device", device, "--profile", profile]
        with (Path(name) / "stderr").open("w+b") as errors:
            process = _start(arguments, env, errors)
            interrupted = _wait(process)
            errors.seek(0)
            stderr = errors.read().decode("utf-8", "replace").strip()
        return ProbeRun(read_reports(out), process.returncode, stderr, interrupted)


def _start(arguments: list[str], env: Mapping[str, str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            arguments, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
    except OSError as error:
        raise BadInput(f"--python: {arguments[0]} cannot be started: {error.strerror}") from None


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Show the current step of the probe until the probe has ended. Return whether Ctrl-C ended it."""
    try:
        for line in _lines(process):
            show_activity(_activity(line))
        process.wait()
        show_activity("")
        return False
    except KeyboardInterrupt:
        show_activity("ending ...")
        _interrupt(process)
        show_activity("")
        return True
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield each complete line of the probe's output as soon as it is written, until the probe has ended.

    The function does not wait until the pipe is closed: a daemon that the image started may keep it open forever.
    """
    assert process.stdout is not None
    rest, until = b"", float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < until:
            ended = process.poll() is not None
            if ended and until == float("inf"):
                until = time.monotonic() + _LATE_SECONDS
            if selector.select(0 if ended else 0.2):
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    return
                *whole, rest = (rest + data).split(b"\n")
                yield from whole
            elif ended:
                return


def _activity(line: bytes) -> str | None:
    """Return words for the step that a line of the probe's output announces, or None for any other line."""
    try:
        event = json.loads(line)
        return f"{event['activity']} ..." if event["event"] == "start" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Send SIGINT to the probe and wait until it has ended. Kill it after a timeout or a second Ctrl-C.

    If the user pressed Ctrl-C, the terminal has already sent SIGINT to the probe. A second SIGINT does no harm.
    """
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def show_activity(text: str | None) -> None:
    """Show a text on standard error, in a line that the next text overwrites.

    Show nothing if standard error is no terminal, or if ``text`` is None. "" clears the line.
    """
    if text is None or not sys.stderr.isatty():
        return
    # Use the width of the terminal of standard error: standard output may be a file, which has no width.
    columns = os.get_terminal_size(sys.stderr.fileno()).columns or shutil.get_terminal_size().columns
    click.echo(f"\r{one_line(text, columns - 1).ljust(columns - 1)}\r", nl=False, err=True)


def read_reports(out: Path) -> dict[str, Any]:
    """Return the probe reports, by the name of the stage, in the file that the probe writes after each step.

    Return {} if the file cannot be read or contains no probe reports. The probe overwrites the file and then truncates
    it. If the probe is killed in between, the rest of a longer, older text follows after the reports, and is ignored.
    """
    try:
        value, _ = json.JSONDecoder().raw_decode(out.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
