"""Starts operators for the soak test within milliseconds: it imports the operator once and forks each one.

Usage: ``launcher.py SOCKET [VERSION]``. The harness sends requests to the socket and receives events, both JSON objects,
one per line:

* ``{"start": NAME, "arguments": [...], "log": PATH, "clock": PATH}`` forks an operator with these command-line arguments.
  The event ``{"started": NAME, "pid": PID}`` follows.
* ``{"ended": NAME, "pid": PID, "code": CODE}`` is sent when an operator has ended. CODE is its exit code, or the negative
  number of the signal that killed it.

The clock file holds one double: the seconds by which the wall clock of this operator is ahead. Its monotonic clock stays
right. With VERSION, the operators take themselves for that version of gpuenv.
"""

import gc
import json
import mmap
import os
import selectors
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
OFFSET = struct.Struct("d")

_true_time = time.time
_clock: mmap.mmap | None = None


def _shifted_time() -> float:
    return _true_time() + (OFFSET.unpack_from(_clock)[0] if _clock is not None else 0.0)


def _import_operator(version: str) -> None:
    """Import all modules of the operator, with the shifted clock and, if it is not "", with this version."""
    # Some modules of the operator keep the function as a default argument, so it is replaced before they are imported.
    time.time = _shifted_time
    import gpuenv  # noqa: PLC0415 - after the clock, see above

    if version:
        gpuenv.__version__ = version
    import gpuenv.cli  # noqa: PLC0415 - after the version, which others import by name
    import gpuenv.cli.operator  # noqa: PLC0415 - after the clock and the version
    import gpuenv.controller.run  # noqa: PLC0415 - after the clock and the version


class Launcher:
    """Forks operators at the harness's request, and reports their ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._running: dict[int, str] = {}

    def serve(self) -> None:
        """Handle requests until the harness closes the connection."""
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            while True:
                if selector.select(POLL_SECONDS):
                    data = self._connection.recv(65536)
                    if not data:
                        return
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        self._start(json.loads(line))
                self._reap()

    def _start(self, request: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            _become_operator(request, self._connection)
        self._running[pid] = request["start"]
        self._send({"started": request["start"], "pid": pid})

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._send({"ended": self._running.pop(pid), "pid": pid, "code": code})

    def _send(self, event: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(event).encode() + b"\n")


def _become_operator(request: dict[str, Any], connection: socket.socket) -> None:
    """Run ``gpuenv operator`` in this forked process, and end the process with its exit code."""
    from gpuenv.cli import main  # noqa: PLC0415 - imported before the fork, after the clock
    from gpuenv_sandbox.control_plane.supervisor import die_with_parent  # noqa: PLC0415 - of no use before the fork

    global _clock  # noqa: PLW0603 - the function that replaces time.time has no arguments
    code = 1
    try:
        die_with_parent()
        connection.close()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        with Path(request["clock"]).open("rb") as clock:
            _clock = mmap.mmap(clock.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
        main(args=["operator", *request["arguments"]], prog_name="gpuenv")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import the operator, connect to the harness, and serve it until it closes the connection."""
    path, version = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    _import_operator(version)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        Launcher(connection).serve()


if __name__ == "__main__":
    main()
