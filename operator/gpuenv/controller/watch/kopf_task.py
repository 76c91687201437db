"""Kopf's tasks that watch one kind of objects: they can be started, and ended without traces."""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any, Final

import kopf

from gpuenv.controller.options import Options
from gpuenv.controller.watch.settings import kopf_settings

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


class _EveryTask(frozenset[asyncio.Task[Any]]):
    """A set that claims to contain every task. With it, Kopf does not wait for our tasks when it stops.

    ``kopf.run_tasks`` does not touch the tasks in its argument ``ignored``. It waits five seconds for all other tasks
    in the event loop and then cancels them, because it does not know which ones are its own
    (kopf/_core/reactor/running.py). Our tasks cannot be listed beforehand: each connection to the health port, for
    example, is a new task.
    """

    def __contains__(self, task: object) -> bool:
        return True
