"""An HTTP proxy before an API server. A test can let it answer by itself, or swallow what watches deliver."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator

import aiohttp
from aiohttp import web
from tests.support.wait import PATIENCE

Answer = tuple[int, str]
"""An HTTP status and a body."""
Rule = Callable[[web.BaseRequest], Answer | None]
_SENT = ("Authorization", "Accept", "Content-Type", "User-Agent")


class HttpProxy:
    """Listens on a loopback port, without TLS, and forwards to ``server``. It runs in its own thread.

    ``rule`` returns the answer to a request that is not to be forwarded, else None. ``is_silent`` returns whether the
    events of an open watch with this path are to be swallowed.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self.rule: Rule = lambda request: None
        self.is_silent: Callable[[str], bool] = lambda path: False
        self.requests: list[tuple[str, str]] = []
        """Method and path, with its query, of each request."""
        self.url = ""
        self._transports: set[asyncio.Transport] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator["HttpProxy"]:
        """Run the proxy during the block. It listens at ``url``."""
        thread = threading.Thread(target=self._loop.run_forever, name="http proxy", daemon=True)
        thread.start()
        runner, self._session = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(runner), self._loop).result(PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(PATIENCE)

    def cut(self) -> None:
        """End all connections."""

        def close() -> None:
            for transport in list(self._transports):
                transport.abort()

        self._loop.call_soon_threadsafe(close)

    async def _start(self) -> tuple[web.ServerRunner, aiohttp.ClientSession]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, session

    async def _stop(self, runner: web.ServerRunner) -> None:
        await runner.cleanup()
        await self._session.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        answer = self.rule(request)
        if answer is not None:
            status, text = answer
            kind = "application/json" if text[:1] in "{[0123456789" else "text/html"
            return web.Response(status=status, text=text, content_type=kind)
        headers = {key: value for key, value in request.headers.items() if key in _SENT}
        headers["Accept-Encoding"] = "identity"
        url = f"{self._server}{request.path_qs}"
        body = await request.read() or None
        try:
            async with self._session.request(request.method, url, headers=headers, data=body) as upstream:
                return await self._forward(request, upstream)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    async def _forward(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status)
        response.content_type = upstream.content_type
        if request.transport is None:
            return response  # the client has gone meanwhile
        self._transports.add(request.transport)
        try:
            await response.prepare(request)
            async for data in upstream.content.iter_any():
                if not ("watch" in request.query and self.is_silent(request.path)):
                    await response.write(data)
            await response.write_eof()
        finally:
            self._transports.discard(request.transport)
        return response
