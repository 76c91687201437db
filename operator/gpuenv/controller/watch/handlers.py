"""The handlers that Kopf calls: each puts an event into the cache, which wakes the planner.

All are ``on.event`` handlers, because for other kinds of handlers Kopf writes annotations or finalizers to the objects.
They are coroutines, because Kopf runs synchronous handlers in a small pool of threads. They return None, because Kopf
writes any other result into the object's status.
"""

from collections.abc import Callable
from typing import Any

import kopf

from gpuenv.api import names
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.kinds import KindName
from gpuenv.controller.watch.login import connection

RELOGIN_SECONDS = 5.0
"""How long Kopf waits before it repeats a failed login."""


def build(kube: Kube, cache: Cache, relisted: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return a Kopf registry with all handlers of one operator.

    ``relisted`` is called when Kopf has started a watch anew. Kopf then lists all objects of that kind, and passes
    each to its handler as an event whose type is None.
    """
    registry = kopf.OperatorRegistry()

    def take(kind: KindName, event: kopf.RawEvent) -> None:
        if event["type"] is None and cache.synced:
            relisted()
        cache.observe(kind, event["type"], event["object"])

    @kopf.on.login(registry=registry, backoff=RELOGIN_SECONDS)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection(kube)

    @kopf.on.event(names.GROUP, names.VERSION, names.ENVIRONMENT_PLURAL, registry=registry)
    async def environment_event(event: kopf.RawEvent, **_: Any) -> None:
        take("environments", event)

    @kopf.on.event(names.GROUP, names.VERSION, names.REPORT_PLURAL, registry=registry)
    async def report_event(event: kopf.RawEvent, **_: Any) -> None:
        take("reports", event)

    @kopf.on.event("", "v1", "nodes", registry=registry)
    async def node_event(event: kopf.RawEvent, **_: Any) -> None:
        take("nodes", event)

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def pod_event(event: kopf.RawEvent, **_: Any) -> None:
        take("pods", event)

    return registry
