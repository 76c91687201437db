"""The only way in which tests let time pass: conditions, programs and kubectl's waits, all with one deadline.

A deadline here says only when to give up. It is minutes long, because a machine that is busy with something
else can make anything slow, and a wait ends as soon as its condition is true. No test asserts how long
something took.
"""

import asyncio
import inspect
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 240.0
"""Seconds after which a test gives up. The limit of a whole test (``timeout`` in pyproject.toml) is longer."""
PATIENTLY = f"--timeout={PATIENCE:.0f}s"
"""The same deadline as a flag of ``kubectl wait``, ``kubectl delete`` and ``helm uninstall``."""
LONGER_THAN_ITS_OWN = PATIENCE + 60
"""Seconds for a program that is told to give up after PATIENCE: its own words say more than a killed process."""
INTERVAL_SECONDS = 0.1
SHOWN_CHARACTERS = 4000


def finished(
    command: Sequence[str | PathLike[str]], *, timeout: float = LONGER_THAN_ITS_OWN, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed, whatever its exit code.

    ``options`` are those of :func:`subprocess.run`.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, text=True, check=False, timeout=timeout, **(streams | options))


def wait_until(
    predicate: Callable[[], T],
    describe: str | Callable[[], object] = "",
    *,
    timeout: float = PATIENCE,
    interval: float = INTERVAL_SECONDS,
) -> T:
    """Call ``predicate`` until its answer is true, and return that answer.

    A predicate may also assert: an AssertionError counts as "not yet", any other exception ends the wait.
    ``describe`` says what is waited for, or is called on failure and returns the object to show.
    Raises AssertionError with the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = predicate()
            seen: object = answer
        except AssertionError as error:
            answer, seen = None, error
        if answer:
            return answer
        if time.monotonic() > deadline:
            shown = describe() if callable(describe) else seen
            raise AssertionError(_message(predicate, timeout, describe, shown))
        time.sleep(interval)


async def wait_until_async(
    predicate: Callable[[], T | Awaitable[T]],
    describe: str | Callable[[], object] = "",
    *,
    timeout: float = PATIENCE,  # noqa: ASYNC109 - the deadline is part of the message, so it is ours to keep
    interval: float = INTERVAL_SECONDS,
) -> T:
    """Wait like :func:`wait_until`, without blocking the event loop; both callables may be coroutine functions."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer: T | None = await _resolve(predicate())
            seen: object = answer
        except AssertionError as error:
            answer, seen = None, error
        if answer:
            return answer
        if time.monotonic() > deadline:
            shown = await _resolve(describe()) if callable(describe) else seen
            raise AssertionError(_message(predicate, timeout, describe, shown))
        await asyncio.sleep(interval)


async def _resolve(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _message(
    predicate: Callable[[], object], timeout: float, describe: str | Callable[[], object], shown: object
) -> str:
    what = (
        describe
        if isinstance(describe, str) and describe
        else getattr(predicate, "__qualname__", "the condition")
    )
    try:
        text = json.dumps(shown, indent=1, default=str)
    except (TypeError, ValueError):
        text = repr(shown)
    return f"waited {timeout:g} s for {what}; last seen: {text[:SHOWN_CHARACTERS]}"
