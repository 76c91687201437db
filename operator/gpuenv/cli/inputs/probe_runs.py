"""Running the probe on this very machine: its time, its progress, and whatever it leaves, however it ends."""

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
from gpuenv.cli.explain import BadInput
from gpuenv.controller.bundle import build_zipapp

FIRST_GPU_SECONDS: Final = 300
"""What the probe gives its kernels stage by itself: one GPU, no figures."""
_NEXT_GPU_SECONDS: Final = 120
"""Kernels on one more GPU: torch is imported in a process of its own, from a cold disk perhaps."""
_FIGURES_SECONDS: Final = {"Off": 0, "Quick": 10 + 50, "Standard": 30 + 50}
"""Figures of one GPU: the profile's time, the import of torch once more, and the making of the inputs."""
_IMPORT_SECONDS: Final = 180
"""The probe's own limit for one module of ``expect.imports``."""
_MOST_SECONDS: Final = 86400
"""The longest deadline that the probe takes."""
START_SECONDS: Final = 60.0
"""From starting an interpreter to its first word: a cold image on a network disk is slow."""
_GRACE_SECONDS: Final = 10.0
"""For a probe that was interrupted to end its workers; it takes 3 to give up on one stuck in the kernel."""
_LATE_SECONDS: Final = 1.0
_ASK: Final = "print('gpuenv' + str(6 * 7))"
_ANSWER: Final = "gpuenv42"
"""Computed, so that a program that merely repeats its arguments does not pass for Python."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the probe left: reports by stage, how it ended, and its last words on standard error.

    ``code`` is negative for a signal. ``interrupted``: by Ctrl-C, so that the reports are partial.
    """

    reports: dict[str, Any]
    code: int
    words: str
    interrupted: bool = False


def deadline_seconds(spec: EnvironmentSpec, profile: str, gpus: int) -> int:
    """Seconds a stage gets where the environment does not say: enough for everything that has a limit itself."""
    seconds = FIRST_GPU_SECONDS + (gpus - 1) * _NEXT_GPU_SECONDS + gpus * _FIGURES_SECONDS[profile]
    seconds += len(spec.expect.imports) * _IMPORT_SECONDS
    seconds += sum(check.timeout_seconds for check in spec.checks)
    return min(seconds, _MOST_SECONDS)


def gpu_count(devices: Path = Path("/dev")) -> int:
    """How many GPUs there may be, by their device nodes; 1 where the platform (WSL) has none a GPU."""
    try:
        return max(1, sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in devices.iterdir()))
    except OSError:
        return 1


def environment(spec: EnvironmentSpec, deadline: int) -> dict[str, str]:
    """The variables of the probe: this process's, the specification's, and what the operator would set."""
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
    """Raises BadInput for a program that is no Python, of whatever version.

    Without ``site`` (-S), so that what an image hangs in there is left to the probe; without -I, which
    Python 2.7 does not know: it is for the probe to say that it is too old.
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
    """An exit code in words; 128 and a signal's number is how a shell tells of a signal."""
    number = -code if code < 0 else code - 128 if 128 < code < 128 + signal.NSIG else 0
    try:
        return f"signal {number} ({signal.Signals(number).name})" if number else f"exit code {code}"
    except ValueError:
        return f"signal {number}"


def run(interpreter: str, env: Mapping[str, str], profile: str, device: str) -> Outcome:
    """Runs both stages with progress on standard error. Raises BadInput when ``interpreter`` cannot be started."""
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
        archive, out = Path(name) / "gpuenv-probe.pyz", Path(name) / "reports.json"
        archive.write_bytes(build_zipapp())
        arguments = [interpreter, str(archive), "all", "--json", "--out", str(out)]
        arguments += ["--device", device, "--profile", profile]
        with (Path(name) / "stderr").open("w+b") as errors:
            process = _start(arguments, env, errors)
            interrupted = _wait(process)
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace").strip()
        return Outcome(read_reports(out), process.returncode, words, interrupted)


def _start(arguments: list[str], env: Mapping[str, str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            arguments, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
    except OSError as error:
        raise BadInput(f"--python: {arguments[0]} cannot be started: {error.strerror}") from None


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Shows what the probe is at until it has ended; True when Ctrl-C ended it."""
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
    """Whole lines as they come. A daemon that an image starts may hold the pipe open for ever: nobody waits for it."""
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
    """What a line of the probe says has begun; None for all else, such as what a sitecustomize prints."""
    try:
        event = json.loads(line)
        return f"{event['activity']} ..." if event["event"] == "start" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Lets the probe end in good order; a second Ctrl-C ends it at once.

    A terminal sends the signal to the probe too; the same signal twice does no harm.
    """
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def show_activity(text: str | None) -> None:
    """One line that is overwritten, on a terminal only."""
    if text is None or not sys.stderr.isatty():
        return
    # Standard error's own terminal: standard output may go elsewhere, and then its width is a guess.
    columns = os.get_terminal_size(sys.stderr.fileno()).columns or shutil.get_terminal_size().columns
    click.echo(f"\r{text[: columns - 1].ljust(columns - 1)}\r", nl=False, err=True)


def read_reports(out: Path) -> dict[str, Any]:
    """The reports as of the last step. The probe writes before it cuts to length, so something may follow them."""
    try:
        value, _ = json.JSONDecoder().raw_decode(out.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
