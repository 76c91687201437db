"""Runs the probe on this machine: how long it may take, its progress on the terminal, and the report it leaves."""

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

from gpuenv.api.environment import EnvironmentSpec
from gpuenv.cli.errors import BadInput
from gpuenv.controller.bundle import build_zipapp

FIRST_GPU_SECONDS: Final = 300
"""Kernels on one GPU, without benchmarks: the probe's own default for a stage."""
_NEXT_GPU_SECONDS: Final = 120
"""Kernels on one more GPU: another process imports torch, perhaps from a cold disk."""
_BENCHMARK_SECONDS: Final = {"Off": 0, "Quick": 10 + 50, "Standard": 30 + 50}
"""Benchmarks on one GPU, by profile: the benchmarks, importing torch once more, and making the inputs."""
_IMPORT_SECONDS: Final = 180
"""The probe's own limit for one module of ``expect.imports``."""
_MOST_SECONDS: Final = 86400
"""The longest deadline that the probe accepts."""
START_SECONDS: Final = 60.0
"""How long an interpreter may take to start. A cold image on a network disk is slow."""
_GRACE_SECONDS: Final = 10.0
"""How long an interrupted probe may take to end its workers. It gives up on a worker stuck in the kernel after 3 s."""
_LATE_SECONDS: Final = 1.0
"""How long output is still read after the probe has ended."""
_ASK: Final = "print('gpuenv' + str(6 * 7))"
_ANSWER: Final = "gpuenv42"
"""Python's answer to the code above. It is computed, so that a program that repeats its arguments does not pass."""


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """A run of the probe that has ended."""

    reports: dict[str, Any]
    """The report of each stage; partial or empty when the probe was killed."""
    code: int
    """The exit code; negative for a signal."""
    stderr: str
    interrupted: bool = False
    """Ctrl-C ended the run."""


def deadline_seconds(spec: EnvironmentSpec, profile: str, gpus: int) -> int:
    """Return the seconds for a stage of an environment that sets none: the sum of all limits within the stage."""
    seconds = FIRST_GPU_SECONDS + (gpus - 1) * _NEXT_GPU_SECONDS + gpus * _BENCHMARK_SECONDS[profile]
    seconds += len(spec.expect.imports) * _IMPORT_SECONDS
    seconds += sum(check.timeout_seconds for check in spec.checks)
    return min(seconds, _MOST_SECONDS)


def gpu_count(devices: Path = Path("/dev")) -> int:
    """Return how many GPUs have a device node. On WSL, where no GPU has its own, it is 1."""
    try:
        return max(1, sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in devices.iterdir()))
    except OSError:
        return 1


def environment(spec: EnvironmentSpec, deadline: int) -> dict[str, str]:
    """Return the probe's environment variables: this process's, the specification's, and those of a probe pod."""
    checks = [
        {"name": check.name, "command": check.command, "timeoutSeconds": check.timeout_seconds}
        for check in spec.checks
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
    return (
        env
        | dict(spec.probe.env)
        | {
            "GPUENV_RUN": "check",
            "GPUENV_DEADLINE_SECONDS": str(deadline),
            "GPUENV_COMPILE": "1" if spec.expect.compile else "0",
            "GPUENV_IMPORTS": json.dumps(spec.expect.imports),
            "GPUENV_CHECKS": json.dumps(checks),
        }
    )


def require_python(interpreter: str, env: Mapping[str, str], limit: float = START_SECONDS) -> None:
    """Raise BadInput if a program is no Python interpreter. Any version of Python will do.

    ``-S`` skips ``site``: code that an image runs there is for the probe to report. ``-I`` is left out because
    Python 2.7 does not know it, and the probe itself says that such a Python is too old.
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
    """Describe an exit code. Shells report a signal as 128 plus its number."""
    number = -code if code < 0 else code - 128 if 128 < code < 128 + signal.NSIG else 0
    try:
        return f"signal {number} ({signal.Signals(number).name})" if number else f"exit code {code}"
    except ValueError:
        return f"signal {number}"


def run(interpreter: str, env: Mapping[str, str], profile: str, device: str) -> ProbeRun:
    """Run both stages, with progress on standard error. Raises BadInput when the interpreter cannot be started."""
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
        archive, out = Path(name) / "gpuenv-probe.pyz", Path(name) / "reports.json"
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
    """Show the probe's present step until the probe has ended. Return whether Ctrl-C ended it."""
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
    """Yield whole lines as they come, until the probe has ended.

    A daemon that the image starts may hold the pipe open for ever, so the end of the pipe is not waited for.
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
    """Return the step that a line of the probe announces; None for any other line, such as an image's own output."""
    try:
        event = json.loads(line)
        return f"{event['activity']} ..." if event["event"] == "start" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ask the probe to end in good order. A second Ctrl-C kills it.

    A terminal sends Ctrl-C to the probe, too; it does no harm that the probe gets the signal twice.
    """
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def show_activity(text: str | None) -> None:
    """Show a step on a line that the next step overwrites. Without a terminal, show nothing."""
    if text is None or not sys.stderr.isatty():
        return
    # The width of standard error's own terminal: standard output may be a file, whose width would be a guess.
    columns = os.get_terminal_size(sys.stderr.fileno()).columns or shutil.get_terminal_size().columns
    click.echo(f"\r{text[: columns - 1].ljust(columns - 1)}\r", nl=False, err=True)


def read_reports(out: Path) -> dict[str, Any]:
    """Return the reports as of the last step.

    The probe overwrites the file and then truncates it. A probe killed in between leaves the end of a longer,
    older report behind the new one.
    """
    try:
        value, _ = json.JSONDecoder().raw_decode(out.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
