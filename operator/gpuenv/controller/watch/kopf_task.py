"""Kopf's watches as one task of this process."""

import asyncio
from typing import Any

import kopf

from gpuenv.controller.options import Options
from gpuenv.controller.watch.settings import kopf_settings


async def start(
    registry: kopf.OperatorRegistry, options: Options, identity: str, stop: asyncio.Event
) -> asyncio.Task[None]:
    """Start the watches with the handlers of ``registry``, and return their task. It ends after ``stop`` is set.

    ``identity`` is the name of this operator in Kopf's own messages.
    """
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
    return asyncio.create_task(kopf.run_tasks(tasks, ignored=_EveryTask()), name="kopf")


class _EveryTask(frozenset[asyncio.Task[Any]]):
    """A set that claims to contain every task. With it, Kopf does not wait for our tasks when it stops.

    ``kopf.run_tasks`` does not touch the tasks in its argument ``ignored``. It waits five seconds for all other tasks
    in the event loop and then cancels them, because it does not know which ones are its own
    (kopf/_core/reactor/running.py). Our tasks cannot be listed beforehand: each connection to the health port, for
    example, is a new task.
    """

    def __contains__(self, task: object) -> bool:
        return True
