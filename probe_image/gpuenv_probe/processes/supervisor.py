"""Starts worker processes, follows their steps, and replaces a worker that crashes or hangs.

This module runs in the parent process and loads neither torch nor CUDA nor NVML. Every worker runs in its own session,
so that it can be killed together with all processes that it started. A worker that survives SIGKILL is blocked in a
driver call inside the Linux kernel. The probe report then names the worker, and the stage ends, because any other
worker would probably block as well.
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

from gpuenv_probe import failures, statuses
from gpuenv_probe.step import Partial, Step

START_LIMIT = 60.0
"""Seconds that a worker may take to send its first line. Reading Python from a cold network disk is slow."""
_LAST_WORDS = 8192
"""The number of bytes that are kept from the end of a worker's output."""
_STACK = re.compile(r"^(?:Fatal Python error|Current thread|Thread 0x|Stack \(most recent)", re.MULTILINE)
"""Matches the first line of a stack trace that Python's faulthandler prints.

https://docs.python.org/3/library/faulthandler.html
"""
_LINE_LIMIT = 256 * 1024
"""The size in bytes above which an unfinished line from a worker is dropped."""
_KILL_GRACE = 3.0
"""Seconds that a worker may take to die after SIGKILL."""


class Ended(Exception):
    """The stage has to end now. The message is the reason, which the probe report gives as ``ended``.

    ``from_outside`` is true if a signal or the deadline ended the stage, and false if a worker cannot continue.
    """

    def __init__(self, why: str, from_outside: bool = False) -> None:
        super().__init__(why)
        self.from_outside = from_outside


class Clock:
    """The time limit of a stage, which a signal such as SIGTERM ends early.

    ``seconds`` is the time from now to the deadline. ``wake_reader`` becomes readable when a signal arrives, so that
    the parent can wait for a worker and for signals at the same time.
    """

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.signal: str | None = None
        self.wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self.wake_reader, False)

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT in such a way that they end the stage, but its probe report is still written."""
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number).name.lower()

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raise Ended if a signal has arrived or the deadline has passed."""
        if self.signal:
            raise Ended(self.signal, from_outside=True)
        if self.left() <= 0:
            raise Ended("deadline", from_outside=True)


class Worker:
    """One worker process and its two pipes: one for the JSON lines that it sends, one for its stdout and stderr.

    ``command`` is the worker's command line, to which the number of the first pipe's file descriptor is appended.
    ``env`` are its environment variables, or None for those of this process.
    """

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
        """Return the complete lines that have arrived from the worker itself, or None at the end of the pipe.

        Lines with another process id come from a fork of the worker and are dropped.
        """
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
        """Read what the worker has printed and keep the last part of it. Return False at the end of the pipe."""
        data = _read(self.output_fd)
        self._output = (self._output + data)[-_LAST_WORDS:]
        return bool(data)

    def last_words(self) -> str:
        """Return the end of what the worker printed, at most a few hundred characters.

        If the worker printed its Python stack, the text is the end of what came before, and the stack's innermost
        frames.
        """
        text = self._output.decode("utf-8", "replace")
        found = _STACK.search(text)
        words = text[: found.start()] if found else text
        words = "\n".join(line for line in words.splitlines() if line.strip())
        if found is None:
            return words[-failures.MESSAGE_LENGTH :]
        half = failures.MESSAGE_LENGTH // 2
        return f"{words[-half:]}\n{text[found.start() :][:half]}".strip()

    def kill(self) -> bool:
        """Kill the worker and its child processes. Return False if it survives, blocked inside the Linux kernel."""
        _signal_group(self.process.pid, signal.SIGKILL)
        try:
            self.process.wait(_KILL_GRACE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Kill the worker and the processes that it left running, and close the pipes."""
        self.kill()
        os.close(self.lines_fd)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Supervisor:
    """Runs all steps of one kind of worker, and starts a new worker process each time a worker dies.

    ``command`` returns the command line of a worker, given its kind and its job, the JSON object with the parameters of
    its steps. ``on_start`` is called with the key of each step that begins, and ``on_partial`` with the partial report
    of each step that has ended.
    """

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
        """The ``control`` values (see ``Partial``) of all steps so far, which every new worker gets.

        The supervisor adds one value, ``lostSeconds``: the time of all steps in which a worker died or hung.
        """

    def _take(self, partial: Partial) -> None:
        self.known.update(partial.get("control", {}))
        self.on_partial(partial)

    def run(self, kind: str, steps: list[Step], job: dict[str, Any]) -> None:
        """Run each of ``steps`` once; steps marked as ``setup`` run in every new worker.

        ``kind`` is the kind of worker, and ``job`` the JSON object with the parameters of its steps. Raises Ended if
        the stage has to end, or if a new worker dies or hangs in a setup step that an earlier worker has run.
        """
        by_key = {step.key: step for step in steps}
        wanted = {step.key for step in steps if not step.setup and step.key in job.get("only", by_key)}
        finished: list[str] = []
        while True:
            self.clock.check()
            try:
                worker = Worker(self.command(kind, {**job, "skip": finished, "known": self.known}))
            except OSError as error:
                self._take(steps[0].failed(failures.of_exception(error), statuses.CRASHED))
                return
            try:
                again = self._follow(worker, by_key, steps[0], finished)
            finally:
                worker.close()
            if not again or wanted <= set(finished):
                return

    def _follow(self, worker: Worker, by_key: dict[str, Step], first: Step, finished: list[str]) -> bool:
        """Follow one worker until it ends. Return True if the remaining steps need another worker.

        ``by_key`` holds all steps of this kind of worker by their keys. The keys of steps that have ended, successfully
        or not, are added to ``finished``. If the worker dies or hangs before it sends a line, the failure is reported
        as one of the step ``first``. Raises Ended if the stage has to end.
        """
        current: str | None = None
        progress = False
        started, limit = time.monotonic(), START_LIMIT
        while True:
            lines, no_more_lines = self._await_lines(worker, started + limit)
            for line in lines:
                if "start" in line:
                    current = str(line["start"])
                    started, limit = time.monotonic(), float(line.get("limit", 60.0))
                    self.on_start(current)
                elif "done" in line:
                    current = None
                    started, limit = time.monotonic(), START_LIMIT
                    if line["done"] not in finished:
                        progress = True
                        finished.append(str(line["done"]))
                        self._take(line.get("partial") or {})
                elif "end" in line:
                    return bool(line["end"] == "restart")
            over = time.monotonic() >= min(started + limit, self.clock.deadline)
            status = worker.process.poll()
            if not no_more_lines and (status is not None or not over):
                continue  # a worker that has ended may have left unread lines in the pipe
            if current is None and progress:
                self.clock.check()
                if status is not None:
                    return True
            step = by_key.get(current or "", first)
            if step.key in finished:
                raise Ended(f"the worker did not come back after a crash, in {step.key}")
            finished.append(step.key)
            self._report_failed(worker, step, status, time.monotonic() - started)
            return current is not None and not step.setup

    def _report_failed(self, worker: Worker, step: Step, status: int | None, seconds: float) -> None:
        """Report the failure of a step in which the worker died, or which took too long; in that case, kill the worker.

        ``status`` is the worker's exit status as in subprocess, or None if the worker still runs. ``seconds`` is the
        time that the step took. Raises Ended if the worker cannot be killed, or if the stage's time is over.
        """
        self.known["lostSeconds"] = self.known.get("lostSeconds", 0.0) + seconds
        if status is not None:
            self._take(step.failed(failures.of_exit(status, worker.last_words()), statuses.CRASHED))
            return
        where = self._where_it_hangs(worker)
        dead = worker.kill()
        words = f"not done after {seconds:.0f} s{'' if dead else ', and SIGKILL fails'}; {where}"
        error = failures.failure("os", None, "TimedOut" if dead else "StuckInKernel", words.rstrip("; "))
        self._take(step.failed(error, statuses.TIMED_OUT))
        if not dead:
            raise Ended(f"worker {worker.process.pid} is stuck in the kernel, in {step.key}")
        self.clock.check()

    def _await_lines(self, worker: Worker, until: float) -> tuple[list[dict[str, Any]], bool]:
        """Wait until the worker sends lines or ends. Return its lines, and whether no more lines can come.

        The wait also ends, without lines, at ``until``, a time of ``time.monotonic``, or at the stage's deadline.
        Raises Ended if the probe gets a signal.
        """
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
                no_more_lines = ended and (lines is None or worker.lines_fd not in ready)
                if no_more_lines:
                    self._drain(worker, selector)
                if lines or no_more_lines or time.monotonic() >= until:
                    return lines or [], no_more_lines

    def _where_it_hangs(self, worker: Worker) -> str:
        """Return the last output of a worker that hangs, with its Python stack if the worker can still print it.

        SIGUSR1 makes the worker print its stack.
        """
        _signal_group(worker.process.pid, signal.SIGUSR1)
        with selectors.DefaultSelector() as selector:
            selector.register(worker.output_fd, selectors.EVENT_READ)
            self._drain(worker, selector, patience=0.2)
        return worker.last_words()

    def _drain(self, worker: Worker, selector: selectors.BaseSelector, patience: float = 0.0) -> None:
        """Read what the worker has printed and is still printing, waiting at most ``patience`` seconds for more.

        Reading stops after half a second in all, because surviving child processes may print endlessly.
        """
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            ready = {key.fd for key, _ in selector.select(patience)}
            if worker.output_fd not in ready or not worker.take_output():
                return


def worker_command(archive: str) -> Callable[[str, dict[str, Any]], list[str]]:
    """Return a function that returns a worker's command line, given the kind of worker and its job.

    The job is the JSON object with the parameters of the worker's steps. A worker runs the zip application ``archive``
    with the Python interpreter of this process.
    """

    def command(kind: str, job: dict[str, Any]) -> list[str]:
        return [sys.executable or "python3", archive, "worker", kind, json.dumps(job)]

    return command


def _read(descriptor: int) -> bytes:
    """Return the next bytes from a pipe, at most 64 KiB, or no bytes at its end or if it cannot be read."""
    try:
        return os.read(descriptor, 65536)
    except (BlockingIOError, OSError):
        return b""


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line contains, or None if the line is anything else."""
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
