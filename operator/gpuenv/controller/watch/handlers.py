"""The handlers that Kopf calls for one kind of objects: they put each event into the cache, which wakes the planner.

They are ``on.event`` handlers, because for other kinds of handlers Kopf writes annotations or finalizers to the
objects. They are coroutines, because Kopf runs synchronous handlers in a small pool of threads. They return None,
because Kopf writes any other result into the object's status. Objects of the kinds in ``MANY`` do not get here: they are
taken before (:mod:`gpuenv.controller.watch.stream`). They have a handler because Kopf watches only kinds that have one.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import kopf

from gpuenv.api import names
from gpuenv.controller.kube.kinds import KindName
from gpuenv.controller.watch.session import RELOGIN_SECONDS
from gpuenv.controller.watch.stream import Take

RESOURCES: Final[dict[KindName, tuple[str, str, str]]] = {
    "environments": (names.GROUP, names.VERSION, names.ENVIRONMENT_PLURAL),
    "reports": (names.GROUP, names.VERSION, names.REPORT_PLURAL),
    "nodes": ("", "v1", "nodes"),
    "pods": ("", "v1", "pods"),
}
"""The kinds that are watched, each with its API group, version and plural."""

MANY: Final[frozenset[KindName]] = frozenset({"nodes", "pods", "reports"})
"""The kinds of which a cluster has thousands of objects."""

Login = Callable[[], Awaitable[kopf.AiohttpSession]]


def build(kind: KindName, login: Login, take: Take) -> kopf.OperatorRegistry:
    """Return a Kopf registry with the handlers for one kind of objects."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, backoff=RELOGIN_SECONDS)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return await login()

    @kopf.on.event(*RESOURCES[kind], registry=registry)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        take(event["type"], event["object"])

    return registry
