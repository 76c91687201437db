"""Drives worker processes from outside: deadlines, crashes, rubbish, restarts. Loads neither torch nor CUDA
nor NVML.

Every worker runs in a session of its own, so that it can be killed with everything it started. A worker that
does not go away after SIGKILL sits inside the kernel (a driver call): it is named, left behind, and nothing
else is tried.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from gpuenv_probe import failures
from gpuenv_probe.step import Partial, Step

START_LIMIT = 60.0
"""Seconds from starting the interpreter to its first line; a cold image on a network disk is slow."""
_LAST_WORDS = 8192
_STACK = re.compile(r"^(?:Fatal Python error|Current thread|Thread 0x|Stack \(most recent)", re.MULTILINE)
"""Where faulthandler's report begins: https://docs.python.org/3/library/faulthandler.html"""
_LINE_LIMIT = 256 * 1024
_KILL_GRACE = 3.0


class Ended(Exception):
    """The stage has to end now; the text says why in the report's words.

    ``from_outside``: a signal or the deadline ended it, whatever was being done.
    """

    def __init__(self, why: str, from_outside: bool = False) -> None:
        super().__init__(why)
        self.from_outside = from_outside


class Clock:
    """The stage's deadline and the pipe through which signals wake the waiting parent."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.signal: str | None = None
        self.wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self.wake_reader, False)

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT end the stage in good order."""
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number).name.lower()

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raises Ended once a signal arrived or the deadline passed."""
        if self.signal:
            raise Ended(self.signal, from_outside=True)
        if self.left() <= 0:
            raise Ended("deadline", from_outside=True)


class Worker:
    """One worker process and its two pipes: the protocol's lines, and whatever it prints."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        reader, writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*command, str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,
                env=env,
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        assert self.process.stdout is not None
        self.lines_fd = reader
        self.output_fd = self.process.stdout.fileno()
        self._partial = b""
        self._output = b""

    def take_lines(self) -> list[dict[str, Any]] | None:
        """The whole lines that have arrived, as far as the worker itself wrote them; None at the end."""
        data = _read(self.lines_fd)
        if not data:
            return None
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _LINE_LIMIT:
            self._partial = b""
        return [
            line for line in map(_parse, whole) if line is not None and line.get("pid") == self.process.pid
        ]

    def take_output(self) -> bool:
        """Reads what was printed, keeps its end; False at the end of the pipe."""
        data = _read(self.output_fd)
        self._output = (self._output + data)[-_LAST_WORDS:]
        return bool(data)

    def last_words(self) -> str:
        """The last lines the worker printed, and the innermost frames of its Python stack if it left one."""
        text = self._output.decode("utf-8", "replace")
        found = _STACK.search(text)
        words = text[: found.start()] if found else text
        words = "\n".join(line for line in words.splitlines() if line.strip())
        if found is None:
            return words[-failures.MESSAGE_LENGTH :]
        half = failures.MESSAGE_LENGTH // 2
        return f"{words[-half:]}\n{text[found.start() :][:half]}".strip()

    def kill(self) -> bool:
        """Ends the worker and all it started; False when it does not die: it sits inside the kernel."""
        _signal_group(self.process.pid, signal.SIGKILL)
        try:
            self.process.wait(_KILL_GRACE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Closes the pipes and ends the worker with what it may have left running."""
        self.kill()
        os.close(self.lines_fd)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Supervisor:
    """Runs the steps of one kind of worker to their end, with a new worker whenever one dies."""

    def __init__(
        self,
        clock: Clock,
        command: Callable[[str, dict[str, Any]], list[str]],
        on_start: Callable[[str], None],
        on_partial: Callable[[Partial], None],
    ) -> None:
        self.clock = clock
        self.command = command
        self.on_start = on_start
        self.on_partial = on_partial
        self.known: dict[str, Any] = {}
        """What the steps so far put under ``control``, and ``lostSeconds`` in steps that workers died in: each
        worker gets it, so that one that dies takes nothing along.
        """

    def _take(self, partial: Partial) -> None:
        self.known.update(partial.get("control", {}))
        self.on_partial(partial)

    def run(self, kind: str, steps: list[Step], job: dict[str, Any]) -> None:
        """All ``steps``, each once.

        Raises Ended at the stage's end, or when a worker cannot be started again.
        """
        by_key = {step.key: step for step in steps}
        wanted = {step.key for step in steps if not step.setup and step.key in job.get("only", by_key)}
        done: list[str] = []
        while True:
            self.clock.check()
            try:
                worker = Worker(self.command(kind, {**job, "skip": done, "known": self.known}))
            except OSError as error:
                self._take(steps[0].blame(failures.of_exception(error), "Crashed"))
                return
            try:
                again = self._drive(worker, by_key, steps[0], done)
            finally:
                worker.close()
            if not again or wanted <= set(done):
                return

    def _drive(self, worker: Worker, by_key: dict[str, Step], first: Step, done: list[str]) -> bool:
        """Follows one worker to its end; True when the rest of the steps needs another one."""
        current: str | None = None
        progress = False
        started, limit = time.monotonic(), START_LIMIT
        while True:
            lines, all_said = self._await_lines(worker, started + limit)
            for line in lines:
                if "start" in line:
                    current = str(line["start"])
                    started, limit = time.monotonic(), float(line.get("limit", 60.0))
                    self.on_start(current)
                elif "done" in line:
                    current = None
                    started, limit = time.monotonic(), START_LIMIT
                    if line["done"] not in done:
                        progress = True
                        done.append(str(line["done"]))
                        self._take(line.get("partial") or {})
                elif "end" in line:
                    return bool(line["end"] == "restart")
            over = time.monotonic() >= min(started + limit, self.clock.deadline)
            status = worker.process.poll()
            if not all_said and (status is not None or not over):
                continue  # a worker that is gone may have left lines behind
            if current is None and progress:
                self.clock.check()
                if status is not None:
                    return True
            step = by_key.get(current or "", first)
            if step.key in done:
                raise Ended(f"the worker did not come back after a crash, in {step.key}")
            done.append(step.key)
            self._blame(worker, step, status, time.monotonic() - started)
            return current is not None and not step.setup

    def _blame(self, worker: Worker, step: Step, status: int | None, seconds: float) -> None:
        """Reports the step a worker died in (``status`` says how), or one that is not done in time."""
        self.known["lostSeconds"] = self.known.get("lostSeconds", 0.0) + seconds
        if status is not None:
            self._take(step.blame(failures.of_exit(status, worker.last_words()), "Crashed"))
            return
        where = self._where_it_hangs(worker)
        dead = worker.kill()
        words = f"not done after {seconds:.0f} s{'' if dead else ', and SIGKILL fails'}; {where}"
        error = failures.failure("os", None, "TimedOut" if dead else "StuckInKernel", words.rstrip("; "))
        self._take(step.blame(error, "TimedOut"))
        if not dead:
            raise Ended(f"worker {worker.process.pid} is stuck in the kernel, in {step.key}")
        self.clock.check()

    def _await_lines(self, worker: Worker, until: float) -> tuple[list[dict[str, Any]], bool]:
        """Lines of the worker as soon as there are some, none at ``until``; True when no more will come."""
        with selectors.DefaultSelector() as selector:
            selector.register(worker.lines_fd, selectors.EVENT_READ)
            selector.register(worker.output_fd, selectors.EVENT_READ)
            selector.register(self.clock.wake_reader, selectors.EVENT_READ)
            while True:
                if self.clock.signal:
                    raise Ended(self.clock.signal, from_outside=True)
                ended = worker.process.poll() is not None
                until = min(until, self.clock.deadline)
                wait = 0.0 if ended else min(until - time.monotonic(), 0.2)
                ready = {key.fd for key, _ in selector.select(max(wait, 0.0))}
                if worker.output_fd in ready and not worker.take_output():
                    selector.unregister(worker.output_fd)
                lines = worker.take_lines() if worker.lines_fd in ready else []
                if lines is None:
                    selector.unregister(worker.lines_fd)
                all_said = ended and (lines is None or worker.lines_fd not in ready)
                if all_said:
                    self._drain(worker, selector)
                if lines or all_said or time.monotonic() >= until:
                    return lines or [], all_said

    def _where_it_hangs(self, worker: Worker) -> str:
        """What the worker printed last, its Python stack (by SIGUSR1) included, if it still answers."""
        _signal_group(worker.process.pid, signal.SIGUSR1)
        with selectors.DefaultSelector() as selector:
            selector.register(worker.output_fd, selectors.EVENT_READ)
            self._drain(worker, selector, patience=0.2)
        return worker.last_words()

    def _drain(self, worker: Worker, selector: selectors.BaseSelector, patience: float = 0.0) -> None:
        """Reads what is still to be had of the last words; children that print for ever are not waited for."""
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            ready = {key.fd for key, _ in selector.select(patience)}
            if worker.output_fd not in ready or not worker.take_output():
                return


def worker_command(archive: str) -> Callable[[str, dict[str, Any]], list[str]]:
    """How this very probe starts its workers: the same interpreter, the same archive."""

    def command(kind: str, job: dict[str, Any]) -> list[str]:
        return [sys.executable or "python3", archive, "worker", kind, json.dumps(job)]

    return command


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except (BlockingIOError, OSError):
        return b""


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
