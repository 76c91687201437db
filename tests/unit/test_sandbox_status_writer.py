"""The writer of simulated statuses: what it sends, and what follows from an error."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.requests import Credentials
from gpuenv_sandbox.fleet.status_writer import StatusWriter

POD = "/api/v1/namespaces/probes/pods/one"


class Server:
    """An API server that answers ``status`` and lists what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, str, str, Any]] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.requests.append((request.method, request.path, request.content_type, body))
        reason = {"reason": "Because", "message": "no"} if self.status >= 400 else {}
        return web.json_response(reason, status=self.status)


class StubKube:
    """Stands in for the client that repeats requests: lists those that it was given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.repeated: list[tuple[str, str]] = []

    async def credentials(self) -> Credentials:
        return Credentials(self.url, "Bearer", "secret", None, None, None, insecure=False, proxy=None)

    async def merge_patch(self, path: str, body: Any) -> None:
        self.repeated.append(("merge", path))

    async def strategic_patch(self, path: str, body: Any) -> None:
        self.repeated.append(("strategic", path))

    async def delete(self, path: str, *, uid: str, grace: int) -> None:
        assert (uid, grace) == ("u1", 0)
        self.repeated.append(("delete", path))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    await one.server.start_server()
    yield one
    await one.server.close()


async def write_all(writer: StatusWriter) -> list[ApiError]:
    """Make one write of each kind, and return the errors."""
    errors = []
    for write in (
        writer.merge_patch(POD, {"a": 1}),
        writer.strategic_patch(f"{POD}/status", {"b": 2}),
        writer.remove_pod(POD, "u1"),
    ):
        try:
            await write
        except ApiError as error:
            errors.append(error)
    return errors


async def test_each_write_is_one_request(server: Server) -> None:
    kube: Any = StubKube(str(server.server.make_url("/")))
    async with StatusWriter(kube) as writer:
        assert await write_all(writer) == []
    assert server.requests == [
        ("PATCH", POD, "application/merge-patch+json", {"a": 1}),
        ("PATCH", f"{POD}/status", "application/strategic-merge-patch+json", {"b": 2}),
        ("DELETE", POD, "application/json", {"preconditions": {"uid": "u1"}, "gracePeriodSeconds": 0}),
    ]
    assert kube.repeated == []


async def test_an_error_of_the_object_is_raised(server: Server) -> None:
    server.status = 404
    kube: Any = StubKube(str(server.server.make_url("/")))
    async with StatusWriter(kube) as writer:
        errors = await write_all(writer)
    assert [(error.status, error.reason) for error in errors] == [(404, "Because")] * 3
    assert kube.repeated == []


@pytest.mark.parametrize("down", [False, True])
async def test_a_passing_error_is_left_to_the_client_that_repeats(server: Server, down: bool) -> None:
    server.status = 503
    kube: Any = StubKube(str(server.server.make_url("/")))
    if down:
        await server.server.close()
    async with StatusWriter(kube) as writer:
        assert await write_all(writer) == []
    assert kube.repeated == [("merge", POD), ("strategic", f"{POD}/status"), ("delete", POD)]
