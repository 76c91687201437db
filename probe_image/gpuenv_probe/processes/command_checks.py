"""Runs the commands of ``spec.checks.commands``, each in its own process group and with its own time limit."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import Any, NamedTuple

from gpuenv_probe.processes.supervisor import Clock

TAIL = 400
"""The number of characters at the end of a command's output that are kept."""
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class CommandCheck(NamedTuple):
    """One command of ``spec.checks.commands``. It passes if it exits with code 0 within ``timeout`` seconds."""

    name: str
    command: list[str]
    timeout: float = 60.0


def run(check: CommandCheck, clock: Clock) -> dict[str, Any]:
    """Run one command until it ends or its time limit has passed, and return its row of the probe report.

    A command that cannot be started gets the exit code that a shell would give it: 127 if it is not found, 126 if it is
    not executable. Raises Ended if the stage has to end before the command does; the command check then has no row.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
    try:
        process = subprocess.Popen(
            check.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        return {"name": check.name, "exitCode": code, "tail": f"{check.command[0]}: {error.strerror}"}
    output = _follow(process, time.monotonic() + check.timeout, clock)
    status = process.poll()
    if status is None and (clock.signal or clock.left() <= 0):
        _end(process)
        clock.check()
    result: dict[str, Any] = {"name": check.name}
    if status is None:
        result["timedOut"] = True
    elif status < 0:
        result["signal"] = -status
    else:
        result["exitCode"] = status
    _end(process)
    text = output.decode("utf-8", "replace").strip()
    if text:
        result["tail"] = text[-TAIL:]
    return result


def _follow(process: subprocess.Popen[bytes], until: float, clock: Clock) -> bytes:
    """Read a command's output until the command ends or its time is over; return the last part of the output.

    Its time is over at ``until`` (a time of ``time.monotonic``), at the stage's deadline, or when the probe gets a
    signal. The command is not killed here.
    """
    assert process.stdout is not None
    tail = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < min(until, clock.deadline) and not clock.signal:
            ended = process.poll() is not None
            if not selector.get_map():
                _wait(process, 0.1)
            elif selector.select(0 if ended else 0.1):
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    selector.unregister(process.stdout)
                tail = (tail + data)[-4 * TAIL :]
                continue
            if ended:
                break
    return tail


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and the child processes that it left running, which are in the same process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _wait(process, 2.0)
    if process.stdout is not None:
        process.stdout.close()
