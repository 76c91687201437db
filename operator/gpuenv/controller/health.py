"""Serves ``/healthz`` (the loops are alive), ``/readyz`` (the operator does its work) and ``/metrics``.

The HTTP server may respond although another loop of the process is stuck. So each loop gives a sign of life regularly,
and the watch counts as dead if it does not deliver changes that sweeps find.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Final

from aiohttp import web

from gpuenv.controller.bind_address import BindAddress

LIMIT_SECONDS: Final = 180.0
"""A loop that gives no sign of life for this long is stuck. A request takes less, even with all its retries."""


class ProcessHealth:
    """The health of the process: signs of life of its loops, health checks, and what the operator still waits for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}
        self._checks: dict[str, Callable[[], bool]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self, name: str, limit: float = LIMIT_SECONDS) -> None:
        """Record a sign of life of the loop ``name``.

        The loop counts as stuck if it gives no further sign of life within ``limit`` seconds.
        """
        self._beats[name] = (self._clock(), limit)

    def check(self, name: str, healthy: Callable[[], bool]) -> None:
        """Make ``/healthz`` fail and show ``name`` whenever ``healthy`` returns False."""
        self._checks[name] = healthy

    def stopped(self, name: str) -> None:
        """Expect no more signs of life from the loop ``name``, because it has ended as intended."""
        self._beats.pop(name, None)

    def wait(self, name: str, why: str) -> None:
        """Make ``/readyz`` fail with the line ``why`` until :meth:`done` is called for ``name``."""
        self._waiting[name] = why

    def done(self, name: str) -> None:
        """Record that the operator is no longer waiting for ``name``, for which :meth:`wait` was called."""
        self._waiting.pop(name, None)

    def problems(self) -> list[str]:
        """Return the reasons to restart the process, one line each; empty if the process is healthy."""
        now = self._clock()
        stuck = [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, limit) in self._beats.items()
            if now - at > limit
        ]
        return stuck + [f"{name}: failed" for name, healthy in self._checks.items() if not healthy()]

    def waiting(self) -> list[str]:
        """Return what the operator is still waiting for, one line each; empty if it is ready."""
        return [f"{name}: {why}" for name, why in self._waiting.items()]


class Server(StrEnum):
    """The two groups of paths. Each has an address of its own, or both share one."""

    HEALTH = "health"
    METRICS = "metrics"


@asynccontextmanager
async def serve(
    health: ProcessHealth, metrics: Callable[[], bytes], addresses: Mapping[Server, BindAddress | None]
) -> AsyncIterator[None]:
    """Serve health and metrics over HTTP while the context lasts.

    ``metrics`` returns the body of ``/metrics``. An address that is None is not served, and both may be the same
    address. Raises OSError when a port is in use.
    """
    async with AsyncExitStack() as stack:
        for address in dict.fromkeys(one for one in addresses.values() if one is not None):
            served = {server for server, where in addresses.items() if where == address}
            runner = web.AppRunner(
                _application(health, metrics, served), access_log=None, shutdown_timeout=1.0
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host=address.host or None, port=address.port).start()
        yield


def _application(health: ProcessHealth, metrics: Callable[[], bytes], served: Set[Server]) -> web.Application:
    """Return the application for one address, with the paths of the servers in ``served``."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.problems())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.problems() + health.waiting())

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(
            body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    application = web.Application()
    if Server.HEALTH in served:
        application.router.add_get("/healthz", healthz)
        application.router.add_get("/readyz", readyz)
    if Server.METRICS in served:
        application.router.add_get("/metrics", exposition)
    return application


def _answer(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)
