"""How watch events reach the cache: by Kopf, and past it."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NoReturn

import aiohttp
import kopf
import pytest
from aiohttp import web
from kopf._cogs.aiokits import aiotoggles
from kopf._cogs.structs import ephemera
from kopf._core.actions import lifecycles
from kopf._core.engines import indexing
from kopf._core.reactor import inventory, processing
from tests.support import builders
from tests.support.http_answers import serving

from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import Scope
from gpuenv.controller.watch import handlers
from gpuenv.controller.watch.settings import kopf_settings
from gpuenv.controller.watch.stream import taking_responses

PODS = kopf.Resource(group="", version="v1", plural="pods", kind="Pod", namespaced=True)


async def no_login() -> kopf.AiohttpSession:
    raise AssertionError("nobody logs in")


class Copied(dict[str, Any]):
    """A part of an object that fails the test when somebody copies it."""

    def __deepcopy__(self, _: object) -> NoReturn:
        raise AssertionError("Kopf has copied the object")


async def test_kopf_hands_on_an_object_without_copying_it() -> None:
    """Three deep copies of each object used to be a quarter of the operator's CPU time."""
    cache, settings = Cache(), kopf_settings(Scope("probes"))
    deliver = partial(
        processing.process_resource_event,
        lifecycle=lifecycles.all_at_once,
        indexers=indexing.OperatorIndexers(),
        registry=handlers.build("pods", no_login, partial(cache.observe, "pods")),
        settings=settings,
        memories=inventory.ResourceMemories(),
        memobase=ephemera.Memo(),
        operator_paused=aiotoggles.ToggleSet(any),
        event_queue=asyncio.Queue(),
    )
    pod = builders.pod(environment="pt", node="n1")
    pod |= {"spec": Copied(pod["spec"]), "status": Copied(pod.get("status", {}))}
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        patched = await deliver(resource=PODS, raw_event={"type": kind, "object": pod})  # type: ignore[typeddict-item]  # a whole pod
        assert patched is None
    assert [one.vanished for one in cache.pods.values()] == [True]


# ---- past Kopf ------------------------------------------------------------------------------------------------

NODE = {"metadata": {"name": "n1", "resourceVersion": "7"}}


def line(kind: str, version: int, **more: Any) -> bytes:
    metadata = {"name": f"n{version}", "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": {"metadata": metadata} | more}).encode() + b"\n"


class Server:
    """Answers each request with the same parts, in several writes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.status = 200
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for part in self.parts:
            await response.write(part)
            await asyncio.sleep(0)
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    async with serving(one.handle) as port:
        one.url = f"http://127.0.0.1:{port}/base"
        yield one


class Reader:
    """Reads as Kopf does, and keeps what is taken meanwhile."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.taken: list[tuple[str | None, Any]] = []

    async def watch(self, path: str) -> list[Any]:
        async with (
            self._session() as session,
            session.get(f"{self.server.url}{path}?watch=true") as response,
        ):
            data = b"".join([part async for part in response.content.iter_chunked(1 << 20)])
        return [one if not one.startswith(b"{") else json.loads(one) for one in data.splitlines()]

    async def page(self, path: str) -> Any:
        async with self._session() as session, session.get(f"{self.server.url}{path}?limit=500") as response:
            return await response.json()

    def _session(self) -> Any:
        return aiohttp.ClientSession(
            response_class=taking_responses("/api/v1/nodes", lambda *one: self.taken.append(one))
        )

    @property
    def names(self) -> list[tuple[str | None, str]]:
        return [(type_, raw["metadata"]["name"]) for type_, raw in self.taken]


async def test_changes_are_taken_in_order_and_kopf_sees_bookmarks(server: Server) -> None:
    whole = line("ADDED", 1) + line("MODIFIED", 2, status={"text": "x" * 300_000}) + line("DELETED", 3)
    server.parts = [whole[:30], whole[30:200_000], whole[200_000:]]
    reader = Reader(server)
    seen = await reader.watch("/api/v1/nodes")
    assert reader.names == [("ADDED", "n1"), ("MODIFIED", "n2"), ("DELETED", "n3")]
    assert {one["type"] for one in seen} == {"BOOKMARK"}
    assert seen[-1]["object"]["metadata"] == {"resourceVersion": "3"}


async def test_errors_bookmarks_and_garbage_reach_kopf_after_the_changes(server: Server) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
    server.parts = [line("ADDED", 1) + line("BOOKMARK", 5) + json.dumps(gone).encode() + b"\nno json\n\n"]
    reader = Reader(server)
    seen = await reader.watch("/api/v1/nodes")
    assert reader.names == [("ADDED", "n1")]
    assert [one["object"]["metadata"]["resourceVersion"] for one in seen[:2]] == ["1", "5"]
    assert seen[2:] == [gone, b"no json"]


async def test_a_list_is_taken_and_keeps_its_version(server: Server) -> None:
    server.parts = [
        json.dumps({"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [NODE]}).encode()
    ]
    reader = Reader(server)
    page = await reader.page("/api/v1/nodes")
    assert page == {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": []}
    assert reader.taken == [(None, NODE)]


async def test_other_kinds_and_refusals_are_kopfs(server: Server) -> None:
    reader = Reader(server)
    server.parts = [line("ADDED", 1)]
    assert [one["type"] for one in await reader.watch("/apis/gpuenv.dev/v1alpha1/gpuenvironments")] == [
        "ADDED"
    ]
    server.status, server.parts = 403, [json.dumps({"kind": "Status", "items": [NODE]}).encode()]
    assert (await reader.page("/api/v1/nodes"))["items"] == [NODE]
    assert reader.taken == []
