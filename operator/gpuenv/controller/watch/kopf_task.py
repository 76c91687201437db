"""Kopf's tasks that watch one kind of objects: they can be started, and ended without traces."""

import asyncio
import contextlib
import logging
from collections.abc import Collection
from typing import Any, Final

import aiohttp
import kopf

from gpuenv.controller.kube.errors import words_of
from gpuenv.controller.options import Options
from gpuenv.controller.watch.settings import kopf_settings

logger = logging.getLogger(__name__)

END_SECONDS: Final = 4.0
"""How long Kopf's tasks may take to end when they are asked to. Then they are cancelled."""
CANCEL_SECONDS: Final = 1.0


class KopfTasks:
    """Kopf's tasks with the handlers of one registry. ``done`` is the task that ends when one of them has ended."""

    def __init__(self, tasks: Collection[asyncio.Task[Any]], stop: asyncio.Event) -> None:
        self._tasks = tasks
        self._stop = stop
        self.done = asyncio.create_task(kopf.run_tasks(tasks, ignored=_EveryTask()), name="kopf")

    @classmethod
    async def start(cls, registry: kopf.OperatorRegistry, options: Options, identity: str) -> "KopfTasks":
        """Start the tasks. ``identity`` is the name of this operator in Kopf's own messages.

        Kopf takes the signals SIGTERM and SIGINT for itself here, which no setting prevents (``spawn_tasks`` in
        kopf/_core/reactor/running.py). The caller must take them back.
        """
        asyncio.get_running_loop().set_exception_handler(unseen)
        stop = asyncio.Event()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(options.scope),
            # Pods of the probe namespace; the other three kinds have no namespace.
            namespaces=[options.probe_namespace],
            standalone=True,
            # Kopf would ask the system for the user's name, and the user id of a container need not have one.
            identity=identity,  # type: ignore[arg-type]  # the type is a private NewType of str in Kopf
            stop_flag=stop,
        )
        return cls(tasks, stop)

    async def end(self) -> bool:
        """End the tasks, and return whether they have ended."""
        self._stop.set()
        await asyncio.wait({self.done}, timeout=END_SECONDS)
        if not self.done.done():
            self.done.cancel()
            await asyncio.wait({self.done}, timeout=CANCEL_SECONDS)
        # Several tasks may have failed for one reason, and Kopf passes on only one of their exceptions. asyncio would
        # log each of the others.
        for task in (self.done, *self._tasks):
            if task.done() and not task.cancelled():
                task.exception()
        return self.done.done()

    def failure(self) -> BaseException | None:
        """Return the exception with which the tasks have ended, or None."""
        with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError):
            return self.done.exception()
        return None


def unseen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what asyncio tells of a task whose exception nobody has asked for: log it, as an error if it may be a bug.

    If several of Kopf's inner tasks fail for one reason, such as an API server that goes away, Kopf passes on only one of
    their exceptions and drops the tasks.
    """
    error = context.get("exception")
    if isinstance(error, aiohttp.ClientError):
        logger.info("a request of a watch failed beside others: %s", words_of(error))
    else:
        loop.default_exception_handler(context)


class _EveryTask(frozenset[asyncio.Task[Any]]):
    """A set that claims to contain every task. With it, Kopf does not wait for our tasks when it stops.

    ``kopf.run_tasks`` does not touch the tasks in its argument ``ignored``. It waits five seconds for all other tasks
    in the event loop and then cancels them, because it does not know which ones are its own
    (kopf/_core/reactor/running.py). Our tasks cannot be listed beforehand: each connection to the health port, for
    example, is a new task.
    """

    def __contains__(self, task: object) -> bool:
        return True
