"""The worker process: it runs its steps in order and sends the parent a line at each start and end of a step.

The lines are JSON on a separate file descriptor, because any code of the image may print to stdout. Each line carries
the process id, so that the parent can ignore a forked copy of the worker: importing torch or a sitecustomize may fork.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
from typing import Any

from gpuenv_probe import failures, statuses
from gpuenv_probe.step import Context, Partial, Step

_STDERR = 2


def main(steps: list[Step], job: dict[str, Any], descriptor: int) -> int:
    """Run ``steps``, send their partial reports to the file descriptor ``descriptor``, and end the process.

    ``job["skip"]`` is a list of the keys of steps to leave out. ``job["only"]``, if present, is a list of the keys of
    the only steps to run. Steps marked as ``setup`` always run.
    """
    os.set_inheritable(descriptor, False)
    _die_with_parent()
    # The file descriptor 2 is used because code of the image may have replaced sys.stderr.
    faulthandler.enable(file=_STDERR, all_threads=False)
    faulthandler.register(signal.SIGUSR1, file=_STDERR, all_threads=True)

    def emit(**line: Any) -> None:
        line["pid"] = os.getpid()
        data = (json.dumps(line, default=repr) + "\n").encode("utf-8", "replace")
        while data:
            data = data[os.write(descriptor, data) :]

    context = Context(job)
    skip = set(job.get("skip", ()))
    only = job.get("only")
    for step in steps:
        if not step.setup and (step.key in skip or (only is not None and step.key not in only)):
            continue
        emit(start=step.key, limit=step.limit)
        partial = _attempt(step, context)
        context.known.update(partial.get("control", {}))
        emit(done=step.key, partial=partial)
        if context.stop or context.restart:
            break
    emit(end="restart" if context.restart else "finished")
    _flush()
    # Exit handlers of the image could hang or crash. The kernel releases the GPU without them.
    os._exit(0)


def _attempt(step: Step, context: Context) -> Partial:
    """Run a step and return its partial report, or the partial report of its failure if it raises an exception.

    After an exception in a setup step, the worker ends without its remaining steps.
    """
    try:
        return step.run(context)
    except BaseException as error:
        if step.setup:
            context.stop = True
        return step.failed(failures.of_exception(error), statuses.FAIL)


def _die_with_parent() -> None:
    """Ask Linux to kill this worker when the parent dies (PR_SET_PDEATHSIG), so that it does not keep the GPU."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def _flush() -> None:
    """Flush stdout and stderr, because os._exit does not."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def descriptor_from(text: str | None) -> int:
    """Return the number of the file descriptor that the parent passed as the text ``text``.

    Raises ValueError if ``text`` is not a number.
    """
    if text is None or not text.isdigit():
        raise ValueError("a worker is started by the probe itself, with a file descriptor")
    return int(text)
