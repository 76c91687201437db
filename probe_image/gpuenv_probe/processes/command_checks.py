"""The user's own checks: each in a process group of its own, with its own limit; its last lines are kept."""

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
"""Characters of output that are kept."""
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class CommandCheck(NamedTuple):
    """One of ``spec.checks``: exit code 0 within ``timeout`` seconds passes."""

    name: str
    command: list[str]
    timeout: float = 60.0


def run(check: CommandCheck, clock: Clock) -> dict[str, Any]:
    """Runs one check to its end or its limit; what could not be started ends as a shell would say it.

    Raises Ended when the stage ends before: then nothing can be said of the check.
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
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _wait(process, 2.0)
    if process.stdout is not None:
        process.stdout.close()
