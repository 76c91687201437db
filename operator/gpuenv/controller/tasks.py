"""Small helpers for tasks of asyncio: begin one later, give one up, and end several."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

STOP_SECONDS: Final = 2.0
"""How long tasks may usually take to end after they were cancelled."""


async def after(event: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work as soon as the event is set."""
    await event.wait()
    await work()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Run ``work`` and return its result. If ``stop`` is set first, cancel ``work`` and return None."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        await cancel([task, stopping])


async def cancel(tasks: list[asyncio.Task[Any]], seconds: float = STOP_SECONDS) -> None:
    """Cancel tasks and wait for their end, but not longer than ``seconds``. Their exceptions count as seen."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        if not task.cancelled():
            task.exception()
