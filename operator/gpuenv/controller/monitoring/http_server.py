"""Serves ``/healthz`` (the loops are alive), ``/readyz`` (the operator does its work) and ``/metrics`` over HTTP.

Everybody who reaches the port may ask. So a client that is slow, silent or talkative, or a thousand of them, must neither
take memory nor keep the kubelet from an answer: connections are few, short, and carry one small request each.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Final

from aiohttp import web

from gpuenv.api.foreign_text import one_line
from gpuenv.controller.monitoring.bind_address import BindAddress
from gpuenv.controller.monitoring.health import ProcessHealth

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64
"""How many connections one address keeps. One more ends the oldest, which had the most time to send its request."""
CONNECTION_SECONDS: Final = 10.0
"""How long a connection may last, from its start to the end of the answer. Prometheus waits as long by default."""
MAX_LINE_BYTES: Final = 2048
"""The longest first line of a request, and the longest line of a header."""
MAX_HEADERS: Final = 64
"""The largest number of headers of a request. With MAX_LINE_BYTES, they take at most 128 KiB."""
MAX_PROBLEM: Final = 500
"""The longest line of an answer, in characters. Some lines quote errors of the API server."""

_silent = logging.getLogger(f"{__name__}.requests")
"""Logs nothing. aiohttp logs an error for each malformed request, so that anybody could fill the log."""
_silent.disabled = True

Page = Callable[[], web.Response]


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
            runner = web.ServerRunner(BoundedServer(_pages(health, metrics, served)), shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host=address.host or None, port=address.port).start()
        yield


class BoundedServer(web.Server):
    """An HTTP server for a few pages, by path, with few and short connections of one request each."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        super().__init__(
            self._answer,
            access_log=None,
            logger=_silent,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=0,
        )
        self._pages = pages
        self._open: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}
        """The connections, oldest first, each with the timer that ends it."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Limit the time of a new connection, and end the oldest one if there are too many. aiohttp calls this."""
        super().connection_made(handler, transport)
        timer = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, transport.abort)
        self._open[handler] = (transport, timer)
        if len(self._open) > MAX_CONNECTIONS:
            self._forget(next(iter(self._open))).abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection that has ended. aiohttp calls this."""
        if handler in self._open:
            self._forget(handler)
        super().connection_lost(handler, exc)

    def _forget(self, handler: web.RequestHandler) -> asyncio.Transport:
        transport, timer = self._open.pop(handler)
        timer.cancel()
        return transport

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            response = web.Response(text="not found\n", status=404)
        elif request.method not in {"GET", "HEAD"}:
            response = web.Response(text="GET only\n", status=405, headers={"Allow": "GET, HEAD"})
        else:
            response = _made(request.path, page)
        response.force_close()
        return response


def _made(path: str, page: Page) -> web.Response:
    try:
        return page()
    except Exception:
        logger.exception("%s cannot be shown", path)
        return web.Response(text="this page cannot be shown; see the log\n", status=500)


def _pages(health: ProcessHealth, metrics: Callable[[], bytes], served: Set[Server]) -> dict[str, Page]:
    """Return the pages of one address, by path: those of the servers in ``served``."""
    pages: dict[str, Page] = {}
    if Server.HEALTH in served:
        pages["/healthz"] = lambda: _lines(health.problems())
        pages["/readyz"] = lambda: _lines(health.problems() + health.waiting())
    if Server.METRICS in served:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        pages["/metrics"] = lambda: web.Response(body=metrics(), headers=headers)
    return pages


def _lines(problems: Iterable[str]) -> web.Response:
    shown = [one_line(problem, MAX_PROBLEM) for problem in problems]
    return web.Response(text="\n".join(shown or ["ok"]) + "\n", status=503 if shown else 200)
