"""The Kubernetes client against a stand-in HTTP server that answers as told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.http_answers import Server, kube, kubeconfig, server

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kubeconfig import KubeconfigError
from gpuenv.controller.kube.ratelimit import TokenBucket
from gpuenv.controller.kube.requests import METADATA_LIST

__all__ = ["kube", "server"]


STORED = {"metadata": {"name": "x"}}
STATUS = {"kind": "Status", "reason": "Forbidden", "message": "no PriorityClass with name x was found"}


async def test_a_refusal_carries_the_servers_words_and_is_not_retried(server: Server, kube: Kube) -> None:
    server.say(403, STATUS)
    with pytest.raises(ApiError) as caught:
        await kube.create("/api/v1/namespaces/n/pods", {"metadata": {}})
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert caught.value.message == STATUS["message"]
    assert str(caught.value) == f"403 Forbidden: POST /api/v1/namespaces/n/pods: {STATUS['message']}"
    assert not caught.value.transient
    assert len(server.requests) == 1


async def test_an_overload_is_waited_out_as_long_as_the_server_asks(server: Server, kube: Kube) -> None:
    server.say(429, {"kind": "Status"}, Retry_After="1")
    server.say(503, "no backend")
    server.say(200, {"ok": True})
    started = asyncio.get_running_loop().time()
    assert await kube.get("/x") == {"ok": True}
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert len(server.requests) == 3


async def test_retries_are_bounded(server: Server, kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01, 0.01))
    server.say(500, {"kind": "Status", "reason": "InternalError", "message": "boom"})
    with pytest.raises(ApiError, match="boom") as caught:
        await kube.get("/x")
    assert caught.value.transient
    assert len(server.requests) == 3


async def test_nobody_there_is_an_api_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01,))
    seen: list[tuple[str, int]] = []
    path = kubeconfig(tmp_path / "k", 9)
    async with await Kube.from_environment(path, observe=lambda *one: seen.append(one)) as kube:
        with pytest.raises(ApiError) as caught:
            await kube.get("/x")
    assert (caught.value.status, caught.value.transient) == (0, True)
    assert seen == [("GET", 0), ("GET", 0)]


FOREIGN = [
    "<html>Welcome to nginx!</html>",
    "",
    '{"kind": "Lease", "metada',
    "[]",
    "17",
    "null",
    "[" * 100_000,
    '"text"',
]
"""Bodies that no API server answers to a request for an object."""


@pytest.mark.parametrize("body", FOREIGN, ids=range(len(FOREIGN)))
async def test_an_answer_that_is_no_object_is_an_outage(
    server: Server, kube: Kube, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01,))
    server.say(200, body)
    for request in (
        lambda: kube.get("/x"),
        lambda: kube.ask("/x", {}),
        lambda: kube.create("/x", {}),
        lambda: kube.merge_patch("/x", {}),
        lambda: kube.delete("/x"),
        lambda: anext(kube.pages("/x")),
    ):
        with pytest.raises(ApiError, match="the answer is not the API server's") as caught:
            await request()
        assert (caught.value.status, caught.value.reason, caught.value.transient) == (0, "NotJSON", True)
    assert len(server.requests) == 12


@pytest.mark.parametrize(
    "page", [{}, {"items": []}, {"items": {}, "metadata": {}}, {"items": [1], "metadata": {}}]
)
async def test_a_list_without_its_objects_is_an_outage(server: Server, kube: Kube, page: Any) -> None:
    server.say(200, page)
    with pytest.raises(ApiError) as caught:
        _ = [page async for page in kube.pages("/x")]
    assert caught.value.reason == "NotJSON"


async def test_a_stored_object_has_metadata_and_a_review_has_a_status(
    server: Server, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01,))
    server.say(200, {"kind": "Pod"})
    with pytest.raises(ApiError, match="not the API server's"):
        await kube.create("/x", {})
    with pytest.raises(ApiError, match="not the API server's"):
        await kube.ask("/x", {})


async def test_an_empty_list_may_have_no_items(server: Server, kube: Kube) -> None:
    """Real API servers answer like this when only the metadata is asked for."""
    server.say(
        200, {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "1"}, "items": None}
    )
    assert [page["items"] async for page in kube.pages("/x", accept=METADATA_LIST)] == [[]]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 413, 422])
async def test_a_refusal_that_is_not_the_api_servers_says_nothing_about_the_object(
    server: Server, kube: Kube, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """As a load balancer's page: a 404 of its own must not count as the deletion of an object."""
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01,))
    server.say(status, "<html>no</html>")
    with pytest.raises(ApiError, match=f"{status} <html>no</html>") as caught:
        await kube.get("/x")
    assert (caught.value.status, caught.value.transient) == (0, True)


async def test_an_api_server_without_that_kind_says_so_in_plain_text(server: Server, kube: Kube) -> None:
    server.say(404, "404 page not found\n")
    with pytest.raises(ApiError) as caught:
        await kube.get("/x")
    assert caught.value.status == 404


@pytest.mark.parametrize("details", [None, [], "x", {"retryAfterSeconds": []}, {"retryAfterSeconds": "inf"}])
async def test_an_odd_pause_is_no_pause(
    server: Server, kube: Kube, monkeypatch: pytest.MonkeyPatch, details: Any
) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", (0.01,))
    server.say(503, {"kind": "Status", "details": details})
    with pytest.raises(ApiError) as caught:
        await kube.get("/x")
    assert (caught.value.status, caught.value.retry_after) == (503, None)


RBAC = (
    'User "system:serviceaccount:gpuenv:gpuenv" cannot {} resource "{}" in API group "" in the namespace "n"'
)


@pytest.mark.parametrize(
    ("status", "message", "denied"),
    [
        (403, "pods is forbidden: " + RBAC.format("create", "pods"), True),
        (403, 'nodes "a" is forbidden: ' + RBAC.format("patch", "nodes/status"), True),
        (403, 'gpunodereports.gpuenv.dev "e.a" is forbidden: ' + RBAC.format("get", "gpunodereports"), True),
        (403, 'forbidden: User "system:anonymous" cannot get path "/version"', True),
        (403, "pods is forbidden: " + RBAC.format("list", "pods") + ": RBAC: clusterrole not found", True),
        (403, 'pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1', False),
        (403, 'pods "a" is forbidden: no PriorityClass with name x was found', False),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', False),
        (403, 'admission webhook "w" denied the request: ' + RBAC.format("create", "pods"), False),
        (
            403,
            "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: forbidden: User",
            False,
        ),
        (422, "pods is forbidden: " + RBAC.format("create", "pods"), False),
    ],
)
def test_a_missing_permission_is_told_from_a_judgement_of_the_object(
    status: int, message: str, denied: bool
) -> None:
    assert ApiError(status, "Forbidden", message).denied is denied


async def test_patches_say_what_kind_they_are(server: Server, kube: Kube) -> None:
    server.say(200, STORED)
    await kube.merge_patch("/x", {"a": None})
    await kube.strategic_patch("/x", {"a": 1})
    await kube.json_patch("/x", [{"op": "test", "path": "/a", "value": 1}])
    kinds = [request.headers["Content-Type"].partition("+")[0] for request in server.requests]
    assert kinds == [
        "application/merge-patch",
        "application/strategic-merge-patch",
        "application/json-patch",
    ]
    assert json.loads(server.bodies[0]) == {"a": None}


async def test_a_delete_carries_its_precondition(server: Server, kube: Kube) -> None:
    server.say(200, STORED)
    await kube.delete("/x", uid="u", grace=0)
    assert json.loads(server.bodies[0]) == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }
    with pytest.raises(ValueError, match="everything"):
        await kube.delete_collection("/x", "", limit=1)


async def test_lists_come_in_pages(server: Server, kube: Kube) -> None:
    server.say(200, {"metadata": {"continue": "more/+"}, "items": [STORED]})
    server.say(200, {"metadata": {}, "items": []})
    pages = [page async for page in kube.pages("/x", {"labelSelector": "a=b"}, limit=1)]
    assert [page["items"] for page in pages] == [[STORED], []]
    assert dict(server.requests[1].query) == {"labelSelector": "a=b", "limit": "1", "continue": "more/+"}


async def test_a_list_may_leave_out_everything_but_metadata(server: Server, kube: Kube) -> None:
    server.say(200, {"items": [], "metadata": {}})
    _ = [page async for page in kube.pages("/api/v1/nodes", accept=METADATA_LIST)]
    _ = [page async for page in kube.pages("/api/v1/nodes")]
    assert [one.headers["Accept"] for one in server.requests] == [METADATA_LIST, "application/json"]


async def test_a_watch_yields_lines_of_any_length(server: Server, kube: Kube) -> None:
    events = [{"type": "ADDED", "object": {"x": "y" * 5_000_000}}, {"type": "DELETED", "object": {}}]
    server.say(200, "\n".join(map(json.dumps, events)) + "\n")
    assert [event async for event in kube.watch("/x", {"resourceVersion": "1"})] == events


async def test_a_watch_that_lost_its_place_says_so(server: Server, kube: Kube) -> None:
    gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
    server.say(200, json.dumps({"type": "ERROR", "object": gone}) + "\n")
    with pytest.raises(ApiError, match="too old") as caught:
        [event async for event in kube.watch("/x")]
    assert caught.value.status == 410


async def test_a_new_token_is_read_when_the_old_one_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "k"
    async with await Kube.from_environment(kubeconfig(path, server.port)) as kube:
        kubeconfig(path, server.port, "second")
        server.say(401, {"kind": "Status", "reason": "Unauthorized"})
        server.say(200, {})
        await kube.get("/x")
        assert (await kube.credentials()).token == "second"
    assert [one.headers["Authorization"] for one in server.requests] == ["Bearer first", "Bearer second"]


async def test_no_request_goes_through_a_thread(server: Server, kube: Kube) -> None:
    """aiohttp used to look for a proxy and for a password in files, in a thread, before each request."""
    server.say(200, STORED)
    await kube.get("/x")
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "run_in_executor", None)
        for _ in range(3):
            assert await kube.get("/x") == STORED


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ({"http_proxy": "http://p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "example.com,127.0.0.1"}, None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
    ],
)
async def test_a_proxy_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with await Kube.from_environment(kubeconfig(tmp_path / "k", 1)) as kube:
        assert (await kube.credentials()).proxy == proxy


async def test_writes_are_limited_in_number_and_rate(server: Server, tmp_path: Path) -> None:
    server.say(200, STORED)
    path = kubeconfig(tmp_path / "k", server.port)
    async with await Kube.from_environment(path, writes_per_second=20, max_in_flight=3) as kube:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(kube.create("/x", {}) for _ in range(50)))
        # A burst of 40, then 10 more at 20 a second.
        assert asyncio.get_running_loop().time() - started >= 0.45
    assert server.most_at_once == 3


@pytest.mark.parametrize("content", [None, "no: clusters\n", "]["])
async def test_a_useless_kubeconfig_is_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KubeconfigError) as caught:
        await Kube.from_environment(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bucket_refills_with_time_and_never_beyond_its_burst() -> None:
    now = 0.0
    bucket = TokenBucket(2, 4, clock=lambda: now)
    assert [bucket.reserve() for _ in range(6)] == [0, 0, 0, 0, 0.5, 1.0]
    now = 100.0
    assert [bucket.try_take() for _ in range(5)] == [True] * 4 + [False]
    assert TokenBucket(0).reserve() == 0


async def test_every_answer_tells_the_time_of_the_api_server(server: Server, kube: Kube) -> None:
    assert kube.server_clock.time is None
    server.say(403, STATUS, Date="Fri, 15 Jan 2027 08:00:00 GMT")
    with pytest.raises(ApiError):
        await kube.get("/api/v1/nodes/x")
    found = kube.server_clock.time
    assert found is not None
    assert abs(found - 1_800_000_000.0) < 60
