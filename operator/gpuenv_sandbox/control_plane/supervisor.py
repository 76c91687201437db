"""Runs the processes of a sandbox as its children, and ends them when its own parent process ends.

This module runs as a separate process (``python -I supervisor.py DIRECTORY``). Its parent writes requests to its
standard input and reads events from its standard output. Both are JSON objects, one per line:

* The request ``{"start": NAME, "argv": [...], "env": {...}, "log": PATH, "grace": SECONDS}`` starts a process. The
  event ``{"started": NAME, "pid": PID}`` or ``{"failed": NAME, "error": TEXT}`` follows.
* The request ``{"stop": NAME}`` ends one process.
* The event ``{"exited": NAME, "code": CODE}`` is sent when a process has ended. CODE is its exit code, or the negative
  number of the signal that killed it.

When standard input closes, the parent has died or has closed it on purpose. Every process is then ended (SIGTERM, then
SIGKILL after its grace), the newest first, and DIRECTORY is deleted. The kernel closes the pipe even if the parent is
killed by SIGKILL. PR_SET_PDEATHSIG cannot replace this: it sends its signal already when the *thread* that started the
process ends (https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html). It is used only for the case that the
supervisor itself is killed.
"""

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
POLL_SECONDS: Final = 0.2
LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Make the kernel kill the calling process when the supervisor dies.

    This function runs in each new child process, between fork and exec.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Processes:
    """The supervisor's running child processes, in the order in which they were started."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}

    def handle(self, request: dict[str, Any]) -> None:
        if "start" in request:
            self.start(request)
        elif "stop" in request and request["stop"] in self.running:
            self.end([request["stop"]])

    def start(self, request: dict[str, Any]) -> None:
        name = request["start"]
        try:
            with Path(request["log"]).open("ab") as log:
                child = subprocess.Popen(
                    request["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=request["env"],
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread only, so it is safe
                )
        except OSError as error:
            emit({"failed": name, "error": str(error)})
            return
        self.running[name] = (child, float(request["grace"]))
        emit({"started": name, "pid": child.pid})

    def reap(self) -> None:
        for name, (child, _) in list(self.running.items()):
            code = child.poll()
            if code is not None:
                del self.running[name]
                signal_group(child, signal.SIGKILL)
                emit({"exited": name, "code": code})

    def end(self, names: list[str]) -> None:
        for name in names:
            child, grace = self.running[name]
            if grace > 0:
                signal_group(child, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(grace)
            signal_group(child, signal.SIGKILL)
            child.wait()
        self.reap()


def signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    """Send the signal ``number`` to the child's whole process group, which includes the child's own children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def emit(event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the reader may have died
        os.write(1, json.dumps(event).encode() + b"\n")


def serve(processes: Processes) -> None:
    """Handle the parent's requests, and send an event for each ended process, until standard input closes."""
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            if selector.select(POLL_SECONDS):
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    processes.handle(json.loads(line))
            processes.reap()


def remove(directory: Path) -> None:
    """Delete a directory, in several attempts for up to 5 s, because a dying process may still write to it."""
    deadline = time.monotonic() + 5
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    directory = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # An empty handler is used instead of SIG_IGN, which every child would inherit.
        signal.signal(number, lambda *_: None)
    processes = Processes()
    try:
        serve(processes)
    finally:
        processes.end(list(reversed(processes.running)))
        remove(directory)


if __name__ == "__main__":
    main()
