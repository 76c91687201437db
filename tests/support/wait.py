"""How tests wait: for a condition, for the end of a program, or with kubectl, all with the same time limit.

The limit only decides when a test gives up. It is minutes long, because everything is slow on a busy machine, and a
wait ends as soon as its condition is true. No test asserts how long something took.
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
"""Seconds after which a wait gives up. The limit of a whole test (``timeout`` in pyproject.toml) is longer."""
PATIENTLY = f"--timeout={PATIENCE:.0f}s"
"""The limit PATIENCE as a flag of ``kubectl wait``, ``kubectl delete`` and ``helm uninstall``."""
LONGER_THAN_ITS_OWN = PATIENCE + 60
"""Time limit, in seconds, of a program that gives up itself after PATIENCE.

It is longer than PATIENCE, because the program's own error message says more than that it was killed.
"""
INTERVAL_SECONDS = 0.1
SHOWN_CHARACTERS = 4000


def finished(
    command: Sequence[str | PathLike[str]], *, timeout: float = LONGER_THAN_ITS_OWN, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program and return the finished process with its output, also if the program has failed.

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
    """Call ``predicate`` until it returns a true value, and return that value.

    If ``predicate`` raises AssertionError, that counts as a false value; any other exception ends the wait.
    ``describe`` is a text that says what is waited for, or a function that returns an object to show after a failure.
    Raises AssertionError, with what ``predicate`` last returned, after ``timeout`` seconds.
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
    """Wait like :func:`wait_until`, but in the event loop. Both functions may also be coroutine functions."""
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
