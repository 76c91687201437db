"""Serves ``/healthz`` (the loops are alive), ``/readyz`` (the operator does its work) and ``/metrics``.

That this server answers proves nothing about the other loops. So each loop reports regularly that it lives, and the
watch counts as dead when it does not deliver changes that a sweep finds.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

LIMIT_SECONDS: Final = 180.0
"""A loop that reports nothing for this long is stuck. The longest request with all its retries takes less."""


class Health:
    """What is known of the process's health: signs of life, checks, and what the operator still waits for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}
        self._checks: dict[str, Callable[[], bool]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self, name: str, limit: float = LIMIT_SECONDS) -> None:
        """Note that the loop ``name`` lives. It is stuck if it does not call this again within ``limit`` seconds."""
        self._beats[name] = (self._clock(), limit)

    def check(self, name: str, healthy: Callable[[], bool]) -> None:
        """Make ``/healthz`` fail whenever ``healthy`` returns False."""
        self._checks[name] = healthy

    def stopped(self, name: str) -> None:
        """Expect no more signs of life from the loop ``name``, which has ended as intended."""
        self._beats.pop(name, None)

    def wait(self, name: str, why: str) -> None:
        """Make ``/readyz`` fail with ``why``, one line, until :meth:`done` is called for ``name``."""
        self._waiting[name] = why

    def done(self, name: str) -> None:
        """Note that the operator no longer waits for ``name``."""
        self._waiting.pop(name, None)

    def problems(self) -> list[str]:
        """Return why the process should be restarted; empty when all is well."""
        now = self._clock()
        stuck = [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, limit) in self._beats.items()
            if now - at > limit
        ]
        return stuck + [f"{name}: failed" for name, healthy in self._checks.items() if not healthy()]

    def waiting(self) -> list[str]:
        """Return why the operator does not work yet; empty when it does."""
        return [f"{name}: {why}" for name, why in self._waiting.items()]


async def serve(health: Health, metrics: Callable[[], bytes], ports: Mapping[str, int]) -> web.AppRunner:
    """Serve on ``ports["health"]`` and ``ports["metrics"]`` until the returned runner is cleaned up.

    A port of 0 is not served; one port may serve both. Raises OSError when a port is in use.
    """
    runner = web.AppRunner(_application(health, metrics, ports), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    for port in sorted({port for port in ports.values() if port}):
        await web.TCPSite(runner, port=port).start()
    return runner


def _application(health: Health, metrics: Callable[[], bytes], ports: Mapping[str, int]) -> web.Application:
    def here(request: web.Request, name: str) -> None:
        address = request.transport.get_extra_info("sockname") if request.transport else None
        if address is None or address[1] != ports.get(name):
            raise web.HTTPNotFound

    async def healthz(request: web.Request) -> web.Response:
        here(request, "health")
        return _answer(health.problems())

    async def readyz(request: web.Request) -> web.Response:
        here(request, "health")
        return _answer(health.problems() + health.waiting())

    async def exposition(request: web.Request) -> web.Response:
        here(request, "metrics")
        return web.Response(
            body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", exposition)
    return application


def _answer(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)
