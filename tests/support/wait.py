"""Waiting for a condition with a deadline: the only way in which tests let time pass."""

import asyncio
import inspect
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

INTERVAL_SECONDS = 0.1
SHOWN_CHARACTERS = 4000


def wait_until(
    predicate: Callable[[], T],
    timeout: float = 30.0,
    describe: str | Callable[[], object] = "",
    *,
    interval: float = INTERVAL_SECONDS,
) -> T:
    """Calls ``predicate`` until its answer is true, and returns that answer.

    A predicate may also assert: an AssertionError counts as "not yet", any other exception ends the wait.
    ``describe`` says what is waited for, or is called on failure and returns the object to show.
    Raises AssertionError with what was seen last.
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
    timeout: float = 30.0,  # noqa: ASYNC109 - the deadline is part of the message, so it is ours to keep
    describe: str | Callable[[], object] = "",
    *,
    interval: float = INTERVAL_SECONDS,
) -> T:
    """As :func:`wait_until`, without blocking the event loop; both callables may be coroutine functions."""
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
