"""The operator's HTTP server, over real sockets: whoever reaches the port cannot keep it from answering the kubelet."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.wait import PATIENCE, wait_until_async

from gpuenv.controller.monitoring import http_server
from gpuenv.controller.monitoring.bind_address import BindAddress
from gpuenv.controller.monitoring.health import ProcessHealth
from gpuenv.controller.monitoring.http_server import (
    MAX_CONNECTIONS,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    MAX_PROBLEM,
    Server,
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF_OPEN = 900
UNFINISHED = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow as many open files as this process may have: each connection of a test takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def port(unused_tcp_port: int) -> AsyncIterator[int]:
    async with served(unused_tcp_port, ProcessHealth()):
        yield unused_tcp_port


@asynccontextmanager
async def served(port: int, health: ProcessHealth, metrics: Any = lambda: b"x 1\n") -> AsyncIterator[None]:
    address = BindAddress("127.0.0.1", port)
    async with http_server.serve(health, metrics, {Server.HEALTH: address, Server.METRICS: address}):
        yield


async def connect(port: int, sent: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def answer(connection: Connection) -> str:
    """Return everything that the server sends until it closes the connection; "" if it only breaks it off."""
    reader, writer = connection
    try:
        async with asyncio.timeout(PATIENCE):
            return (await reader.read()).decode()
    except ConnectionError:
        return ""
    finally:
        writer.close()


async def ask(port: int, request: str) -> str:
    return await answer(await connect(port, request.encode()))


def get(path: str, *headers: str) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""])


@pytest.mark.usefixtures("many_files")
async def test_half_open_connections_do_not_matter(port: int) -> None:
    """The kubelet restarts an operator that does not answer it."""
    connections = [
        await connect(port, UNFINISHED if number % 2 else b"")
        for number in range(HALF_OPEN)
    ]  # fmt: skip
    assert (await ask(port, get("/healthz"))).startswith("HTTP/1.1 200 OK\r\n")

    def kept() -> int:
        return sum(not reader.at_eof() and reader.exception() is None for reader, _ in connections)

    await wait_until_async(lambda: kept() < MAX_CONNECTIONS)
    assert kept() == MAX_CONNECTIONS - 1, "only as many ended as had to"
    for _, writer in connections:
        writer.close()


@pytest.mark.parametrize("sent", [b"", UNFINISHED, get("/healthz")[:-2].encode()])
async def test_a_slow_request_ends(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.1)
    async with served(unused_tcp_port, ProcessHealth()):
        assert await answer(await connect(unused_tcp_port, sent)) == ""


async def test_an_answer_that_nobody_reads_ends(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.1)
    ended = asyncio.Event()
    lost = http_server.BoundedServer.connection_lost

    def note(server: Any, handler: Any, exc: BaseException | None = None) -> None:
        lost(server, handler, exc)
        ended.set()

    monkeypatch.setattr(http_server.BoundedServer, "connection_lost", note)
    large = b"x" * 50_000_000
    async with served(unused_tcp_port, ProcessHealth(), lambda: large):
        reader, writer = await connect(unused_tcp_port, get("/metrics").encode())
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport of a socket can
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        writer.close()
        assert not reader.at_eof()


@pytest.mark.parametrize(
    "request_",
    [
        get("/" + "x" * MAX_LINE_BYTES),
        get("/healthz", "X: " + "x" * (MAX_LINE_BYTES + 1)),
        get("/healthz", *[f"X-{number}: 1" for number in range(MAX_HEADERS)]),
        "nonsense\r\n\r\n",
        "\x16\x03\x01 a client that speaks TLS\r\n\r\n",
    ],
    ids=["line", "header", "headers", "nonsense", "tls"],
)
async def test_a_request_that_is_too_large_or_none_is_refused_and_not_logged(
    port: int, request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await ask(port, request_)).startswith("HTTP/1.0 400 Bad Request\r\n")
    assert caplog.records == [], "anybody could fill the log"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/healthz"), 200),
        (get("/metrics"), 200),
        (get("/"), 404),
        ("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx", 405),
        ("POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 404),
    ],
)
async def test_a_connection_carries_one_request_and_no_body(port: int, request_: str, status: int) -> None:
    given = await ask(port, request_ + get("/healthz"))
    assert given.startswith(f"HTTP/1.1 {status} ")
    assert given.count("HTTP/1.1") == 1
    assert "\r\nConnection: close\r\n" in given


async def test_an_error_of_the_api_server_is_one_short_line(unused_tcp_port: int) -> None:
    health = ProcessHealth()
    health.wait("lease", "403 Forbidden: no\n\x1b[2Jok\u202e" + "x" * 100_000)
    async with served(unused_tcp_port, health):
        _, _, body = (await ask(unused_tcp_port, get("/readyz"))).partition("\r\n\r\n")
    assert body.startswith("lease: 403 Forbidden: no ok" + "x" * 10)
    assert body.count("\n") == 1
    assert len(body) <= MAX_PROBLEM + 1


async def test_a_page_that_fails_is_logged(unused_tcp_port: int, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise ValueError("no such metric")

    async with served(unused_tcp_port, ProcessHealth(), broken):
        assert "500 Internal Server Error" in await ask(unused_tcp_port, get("/metrics"))
        assert "200 OK" in await ask(unused_tcp_port, get("/healthz"))
    assert [record.message for record in caplog.records] == ["/metrics cannot be shown"]
