"""An HTTP server in the place of an API server, which answers as a test tells it to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from gpuenv.controller.kube.client import Kube

Answer = tuple[int, Any, dict[str, str]]


class Server:
    """Gives the prepared answers in order (the last one again and again) and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.port = 0
        self.hangs: asyncio.Event | None = None
        """Requests get no answer before this is set."""
        self.breaks = False
        """Whether the connection ends in place of an answer."""

    def say(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, body, {key.replace("_", "-"): value for key, value in headers.items()}))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.text())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        if self.hangs is not None:
            await self.hangs.wait()
        self.at_once -= 1
        if self.breaks and request.transport is not None:
            request.transport.abort()
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)


@contextlib.asynccontextmanager
async def serving(handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """Answer requests on a loopback port during the block, and yield the port."""
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def kubeconfig(path: Path, port: int, token: str = "first") -> str:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return str(path)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Answers on a loopback port as the test tells it to."""
    one = Server()
    async with serving(one.handle) as one.port:
        yield one


@pytest.fixture
async def kube(server: Server, tmp_path: Path) -> AsyncIterator[Kube]:
    """A client of the server."""
    async with await Kube.from_environment(kubeconfig(tmp_path / "k", server.port)) as one:
        yield one
