"""The inside of a worker process: does its steps one after the other and streams a line for each.

Lines are JSON on a file descriptor of their own, because whatever the image starts may print. Each carries
the process id: a torch (or a sitecustomize) that forks must not speak for us twice.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
from typing import Any

from gpuenv_probe import failures
from gpuenv_probe.step import Context, Partial, Step

_STDERR = 2


def main(steps: list[Step], job: dict[str, Any], descriptor: int) -> int:
    """Does ``steps`` except those named in ``job["skip"]``; all lines go to ``descriptor``."""
    os.set_inheritable(descriptor, False)
    _die_with_parent()
    # By number: an image may have put something else in the place of sys.stderr.
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
    # The image's exit handlers could still hang or crash; the kernel gives the GPU back without them.
    os._exit(0)


def _attempt(step: Step, context: Context) -> Partial:
    try:
        return step.run(context)
    except BaseException as error:
        if step.setup:
            context.stop = True
        return step.blame(failures.of_exception(error), "Fail")


def _die_with_parent() -> None:
    """Should the parent be killed, no worker stays behind and holds the GPU (PR_SET_PDEATHSIG)."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def descriptor_from(text: str | None) -> int:
    """The protocol's file descriptor as the parent passed it; raises ValueError for anything else."""
    if text is None or not text.isdigit():
        raise ValueError("a worker is started by the probe itself, with a file descriptor")
    return int(text)
