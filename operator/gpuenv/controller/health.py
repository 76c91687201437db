"""``/healthz``: the loops are alive. ``/readyz``: the operator does its work. ``/metrics``: figures.

A server that answers proves nothing by itself: each loop has to beat, and the watch has to deliver what a
sweep finds.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

LIMIT_SECONDS: Final = 180.0
"""A loop that shows no sign of life for this long is stuck: more than the longest request with all its
retries.
"""


class Health:
    """``checks`` name a condition and ask for it; one that is not met makes ``/healthz`` fail."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}
        self._checks: dict[str, Callable[[], bool]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self, name: str, limit: float = LIMIT_SECONDS) -> None:
        """Loop ``name`` lives, and will beat again within ``limit`` seconds."""
        self._beats[name] = (self._clock(), limit)

    def check(self, name: str, healthy: Callable[[], bool]) -> None:
        self._checks[name] = healthy

    def stopped(self, name: str) -> None:
        """Loop ``name`` has ended as intended."""
        self._beats.pop(name, None)

    def wait(self, name: str, why: str) -> None:
        """Not ready: ``why``, in one line."""
        self._waiting[name] = why

    def done(self, name: str) -> None:
        """What ``name`` waited for is there."""
        self._waiting.pop(name, None)

    def problems(self) -> list[str]:
        """Why the process should be restarted; empty when all is well."""
        now = self._clock()
        stuck = [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, limit) in self._beats.items()
            if now - at > limit
        ]
        return stuck + [f"{name}: failed" for name, healthy in self._checks.items() if not healthy()]

    def waiting(self) -> list[str]:
        """Why the operator does not work yet; empty when ready."""
        return [f"{name}: {why}" for name, why in self._waiting.items()]


async def serve(health: Health, metrics: Callable[[], bytes], ports: Mapping[str, int]) -> web.AppRunner:
    """Serves ``ports["health"]`` and ``ports["metrics"]`` (0: not at all; the same: together).

    Raises OSError.
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
