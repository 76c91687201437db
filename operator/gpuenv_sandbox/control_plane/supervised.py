"""Starts processes that end when this Python process ends.

They are children of a supervisor process, which runs :mod:`gpuenv_sandbox.control_plane.supervisor`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gpuenv_sandbox.control_plane import supervisor

START_SECONDS: Final = 60.0
TAIL_LINES: Final = 3
TAIL_BYTES: Final = 8192


class ProcessError(Exception):
    """A supervised process could not be started, or has ended unexpectedly.

    The message says why the process could not be started, or contains the end of its log.
    """


class Supervised:
    """A group of processes that share one temporary directory and end together.

    :meth:`stop` ends all processes and deletes the directory. The same happens if this Python process ends without
    calling it, even by SIGKILL. Each process has a name of the caller's choice. All methods are thread-safe.
    """

    def __init__(self, prefix: str = "gpuenv-") -> None:
        self.directory: Final = Path(tempfile.mkdtemp(prefix=prefix))
        self.logs: Final = self.directory / "logs"
        self.logs.mkdir()
        self._changed = threading.Condition()
        self._pids: dict[str, int] = {}
        self._exits: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach this process only; the supervisor ends after it
        )
        threading.Thread(target=self._listen, name="supervisor-events", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        grace: float = 0.0,
    ) -> int:
        """Start a process whose output goes to ``logs/<name>.log``, and return its process id.

        ``env`` is the whole environment of the process; None passes on that of this Python process. ``grace`` is the
        seconds between SIGTERM and SIGKILL when the process is ended. With 0, SIGKILL is sent at once, which is right
        for a process that keeps its state in the temporary directory. Raises :class:`ProcessError` if the process
        cannot be started.
        """
        with self._changed:
            for table in (self._pids, self._exits, self._failures):
                table.pop(name, None)
            self._send(
                {
                    "start": name,
                    "argv": [os.fspath(argument) for argument in argv],
                    "env": dict(os.environ if env is None else env),
                    "log": str(self.log(name)),
                    "grace": grace,
                }
            )
            self._changed.wait_for(lambda: name in self._pids or name in self._failures, START_SECONDS)
            if name not in self._pids:
                raise ProcessError(f"cannot start {name}: {self._failures.get(name, 'no answer')}")
            return self._pids[name]

    def end(self, name: str, timeout: float = 120.0) -> None:
        """End the process ``name``, and wait at most ``timeout`` seconds until it has ended."""
        with self._changed:
            self._send({"stop": name})
            self._changed.wait_for(lambda: name in self._exits, timeout)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of all processes that run, by their names."""
        with self._changed:
            return {name: pid for name, pid in self._pids.items() if name not in self._exits}

    def exit_code(self, name: str) -> int | None:
        """Return a process's exit code, or None while the process runs.

        If a signal ended the process, the code is the negative number of the signal.
        """
        with self._changed:
            return self._exits.get(name)

    def check(self, names: Sequence[str]) -> None:
        """Raise :class:`ProcessError` if one of the processes ``names`` has ended, with the end of its log."""
        for name in names:
            code = self.exit_code(name)
            if code is not None:
                raise ProcessError(f"{name} ended with code {code}: {self.tail(name)}")

    def tail(self, name: str) -> str:
        """Return the last three lines of a process's log that are not empty, joined to one line."""
        try:
            text = self.log(name).read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-TAIL_LINES:]) or "(it wrote nothing)"

    def stop(self) -> None:
        """End all processes and delete the directory. Does nothing if :meth:`stop` was called before."""
        if self._supervisor.stdin is not None and not self._supervisor.stdin.closed:
            self._supervisor.stdin.close()
        self._supervisor.wait()
        # The supervisor has deleted the directory, unless it was killed.
        shutil.rmtree(self.directory, ignore_errors=True)

    def _send(self, request: dict[str, Any]) -> None:
        pipe = self._supervisor.stdin
        if pipe is None or pipe.closed:
            raise ProcessError("the sandbox has been stopped")
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise ProcessError("the supervisor of the sandbox's processes has died") from error

    def _listen(self) -> None:
        pipe = self._supervisor.stdout
        assert pipe is not None
        for line in pipe:
            event = json.loads(line)
            with self._changed:
                if "started" in event:
                    self._pids[event["started"]] = event["pid"]
                elif "failed" in event:
                    self._failures[event["failed"]] = event["error"]
                elif "exited" in event:
                    self._exits[event["exited"]] = event["code"]
                self._changed.notify_all()
        pipe.close()
