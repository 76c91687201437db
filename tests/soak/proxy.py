"""A proxy between the operator and the API server that answers wrongly, loses answers and spoils watches on request.

It ends TLS itself, with a certificate of the control plane's authority, so it sees each request and each watch event.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from gpuenv_sandbox.control_plane.certificates import KeyPair

HOP_BY_HOP = {
    "connection",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "host",
    "accept-encoding",
    "date",
}
REORDER_SECONDS = 1.0
LONGEST_BODY = 64 << 20


@dataclass(frozen=True)
class Answer:
    """A response that the proxy gives instead of the API server's."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


@dataclass(eq=False)
class Trouble:
    """What the proxy does to requests that match, to a share of them, until the trouble is removed.

    ``on`` is which requests: ``all``, ``reads``, ``writes``, ``watches`` or ``plain`` (everything but watches). ``do`` is:

    * ``refuse``: the connection is closed at once; open watches end too
    * ``hang``: no answer
    * ``answer``: ``answer`` instead of the API server's response
    * ``lose``: the request reaches the API server, and the response is lost
    * ``cut``: half of the response's body, and then the end of the connection
    * ``silence``: a watch delivers nothing, although it stays open; the events are lost
    * ``drop``, ``double``, ``delay``, ``reorder``, ``tear``, ``expire``: a watch's event is lost, delivered twice, held
      back for ``seconds``, delivered after the next one, delivered half before the connection ends, or replaced by the
      error 410
    """

    do: str
    on: str = "all"
    share: float = 1.0
    seconds: float = 0.0
    answer: Answer | None = None
    seed: int = 0
    paths: str = ""
    """If not "", the trouble is for paths that contain this text only."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.hits = 0

    def hits_request(self, method: str, path: str, *, watch: bool) -> bool:
        """Return whether the trouble is for this request, and count it."""
        kinds = {
            "all": True,
            "reads": method == "GET" and not watch,
            "writes": method != "GET" and not path.endswith("reviews"),
            "watches": watch,
            "plain": not watch,
        }
        return kinds[self.on] and self.paths in path and self.chance()

    def chance(self) -> bool:
        hit = self.random.random() < self.share
        self.hits += hit
        return hit


EVENT_TROUBLES = {"silence", "drop", "double", "delay", "reorder", "tear", "expire"}


class Proxy:
    """Forwards to the API server at the URL ``upstream``, and makes the troubles that are in ``troubles``."""

    def __init__(self, upstream: str, authority: Path, own: KeyPair) -> None:
        self._upstream = upstream
        self._trusted = ssl.create_default_context(cafile=str(authority))
        self._own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._own.load_cert_chain(own.certificate, own.key)
        self._open: dict[int, web.Request] = {}
        self.troubles: list[Trouble] = []
        self.requests = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Run the proxy during the block. It listens at ``url``."""
        connector = aiohttp.TCPConnector(ssl=self._trusted, limit=0)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(
            connector=connector, timeout=limits, auto_decompress=False
        ) as self._session:
            application = web.Application(client_max_size=LONGEST_BODY)
            application.router.add_route("*", "/{path:.*}", self._serve)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._own)
            await site.start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                self._end_all(lambda _: True)
                await runner.cleanup()

    async def trouble(self, trouble: Trouble, seconds: float) -> int:
        """Make a trouble for so many seconds, and return how many requests or events it has hit."""
        self.troubles.append(trouble)
        if trouble.do in {"refuse", "hang"} and trouble.on == "all":
            self._end_all(lambda _: True)
        elif trouble.on == "watches" and trouble.do in {"answer", "refuse"}:
            self._end_all(
                lambda request: "watch" in request.query
            )  # so that they start again, and are refused
        try:
            await asyncio.sleep(seconds)
        finally:
            self.troubles.remove(trouble)
        return trouble.hits

    def _end_all(self, which: Callable[[web.Request], bool]) -> None:
        for request in list(self._open.values()):
            if which(request):
                _abort(request)

    def _trouble(self, request: web.Request, *, watch: bool) -> Trouble | None:
        return next(
            (
                one
                for one in self.troubles
                if one.do not in EVENT_TROUBLES
                and one.hits_request(request.method, request.path, watch=watch)
            ),
            None,
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self._open[id(request)] = request
        try:
            return await self._answer(request)
        except (aiohttp.ClientError, OSError) as error:
            _abort(request)
            raise web.HTTPBadGateway(text=str(error)) from error
        finally:
            self._open.pop(id(request), None)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") in {"true", "1"}
        trouble = self._trouble(request, watch=watch)
        do = trouble.do if trouble is not None else ""
        if trouble is not None and trouble.answer is not None:
            given = trouble.answer
            return web.Response(
                status=given.status,
                text=given.body,
                headers=dict(given.headers),
                content_type=given.content_type,
            )
        if do == "refuse":
            return _aborted(request)
        while do == "hang" and trouble in self.troubles:
            await asyncio.sleep(0.1)
            if trouble not in self.troubles:
                return _aborted(request)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            data=await request.read() or None,
            headers=headers | {"Accept-Encoding": "identity"},
        ) as found:
            kept = {key: value for key, value in found.headers.items() if key.lower() not in HOP_BY_HOP}
            if watch and found.status == 200:
                return await self._watch(request, found, kept)
            body = await found.read()
        if do == "lose":
            return _aborted(request)
        if do == "cut":
            return await _half(request, found.status, kept, body)
        return web.Response(status=found.status, body=body, headers=kept)

    # ---- watches -------------------------------------------------------------------------------------------

    async def _watch(
        self, request: web.Request, found: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        reading = asyncio.create_task(_read_lines(found, lines))
        held: list[bytes] = []
        try:
            while True:
                try:
                    async with asyncio.timeout(REORDER_SECONDS if held else None):
                        line = await lines.get()
                except TimeoutError:
                    await response.write(held.pop())
                    continue
                if line is None:
                    break
                for part in await self._spoilt(request, line, held):
                    await response.write(part)
            for line in held:
                await response.write(line)
        finally:
            reading.cancel()
        return response

    async def _spoilt(self, request: web.Request, line: bytes, held: list[bytes]) -> list[bytes]:
        """Return the lines to deliver for one line of a watch. Lines in ``held`` are delivered after a next one."""
        for one in self.troubles:
            if one.do not in EVENT_TROUBLES or one.paths not in request.path or not one.chance():
                continue
            match one.do:
                case "silence" | "drop":
                    return []
                case "double":
                    return [line, line, *_emptied(held)]
                case "delay":
                    await asyncio.sleep(one.seconds)
                case "tear":
                    request.loop.call_later(0.05, _abort, request)
                    return [line[: len(line) // 2]]
                case "expire":
                    request.loop.call_later(0.05, _abort, request)
                    error = {"type": "ERROR", "object": json.loads(EXPIRED.body)}
                    return [json.dumps(error).encode() + b"\n"]
                case "reorder" if not held:
                    held.append(line)
                    return []
        return [line, *_emptied(held)]


def _emptied(held: list[bytes]) -> list[bytes]:
    found = held[:]
    held.clear()
    return found


async def _read_lines(found: aiohttp.ClientResponse, lines: asyncio.Queue[bytes | None]) -> None:
    """Put each line of a response into a queue, and None after the last one."""
    rest = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async for data in found.content.iter_any():
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                lines.put_nowait(line + b"\n")
    lines.put_nowait(None)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _aborted(request: web.Request) -> web.Response:
    """End the connection, and return a response that nobody will see."""
    _abort(request)
    return web.Response(status=503)


async def _half(
    request: web.Request, status: int, headers: dict[str, str], body: bytes
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    _abort(request)
    return response


def status_answer(code: int, reason: str, message: str, **headers: str) -> Answer:
    """Return an error as the API server answers it."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"code": code, "reason": reason, "message": message}
    return Answer(code, json.dumps(body), tuple(headers.items()))


EXPIRED = status_answer(410, "Expired", "too old resource version: 1 (2)")
