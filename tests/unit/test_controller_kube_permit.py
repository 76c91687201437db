"""Which requests the Kubernetes client sends at all: those that the Lease permits, and in the time of the plan."""

import asyncio
from pathlib import Path

import pytest
from tests.support.http_answers import Server, kube, kubeconfig, server
from tests.support.wait import wait_until_async

from gpuenv.controller.kube import sending
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError, NotNowError
from gpuenv.controller.kube.ratelimit import TokenBucket

__all__ = ["kube", "server"]


# ---- the permit ------------------------------------------------------------------------------------------------


class Permit:
    """Says for how many seconds writes are permitted: ``seconds``, or the next of ``answers`` as long as there are any."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.answers: list[float] = []

    def __call__(self) -> float:
        return self.answers.pop(0) if self.answers else self.seconds


@pytest.fixture
def permit(kube: Kube, server: Server) -> Permit:
    """Return the permit of ``kube``. The server answers everything with success."""
    server.say(200, {"metadata": {}, "status": {}})
    kube.permit = Permit()
    return kube.permit


async def test_without_a_permit_nothing_is_written_but_everything_read(
    server: Server, kube: Kube, permit: Permit
) -> None:
    permit.seconds = 0.0
    writes = [
        kube.create("/x", {}),
        kube.merge_patch("/x", {}),
        kube.strategic_patch("/x", {}),
        kube.json_patch("/x", []),
        kube.delete("/x"),
        kube.delete_collection("/x", "a=b", limit=1),
    ]
    for write in writes:
        with pytest.raises(NotNowError, match="Lease"):
            await write
    assert server.requests == []
    await kube.get("/x")
    await kube.ask("/x", {})
    assert len(server.requests) == 2


async def test_a_write_that_waited_for_its_turn_is_not_sent_when_the_permit_has_ended(
    server: Server, tmp_path: Path
) -> None:
    server.say(200, {"metadata": {}})
    server.hangs = asyncio.Event()
    path = kubeconfig(tmp_path / "k", server.port)
    async with await Kube.from_environment(path, writes_per_second=2, max_in_flight=1) as kube:
        kube.permit = permit = Permit()
        writes = [asyncio.create_task(kube.create("/x", {})) for _ in range(6)]
        # Four tokens are there, two more come later. Of the four, one has the slot.
        await wait_until_async(lambda: server.at_once)
        permit.seconds = 0.0
        server.hangs.set()
        answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in answers] == [dict, *[NotNowError] * 5]
    assert len(server.requests) == 1


async def test_a_write_is_not_repeated_when_the_permit_has_ended(
    server: Server, kube: Kube, permit: Permit
) -> None:
    server.answers.clear()
    server.say(503, "no backend")
    permit.answers = [10.0, 10.0, 10.0]  # before the first try, at its start, and before its first byte
    permit.seconds = 0.0
    with pytest.raises(NotNowError):
        await kube.create("/x", {})
    assert len(server.requests) == 1


async def test_a_permit_that_ends_while_a_write_waits_for_its_connection_stops_it(
    server: Server, kube: Kube, permit: Permit
) -> None:
    permit.answers = [10.0, 10.0]
    permit.seconds = 0.0
    with pytest.raises(NotNowError):
        await kube.create("/x", {})
    assert server.requests == []


async def test_a_write_lasts_no_longer_than_its_permit_also_for_the_server(
    server: Server, kube: Kube, permit: Permit
) -> None:
    await kube.create("/x?dryRun=All", {})
    await kube.delete("/x")
    assert [one.query_string for one in server.requests] == ["dryRun=All&timeout=10.000s", "timeout=10.000s"]
    server.hangs = asyncio.Event()
    permit.seconds = 1.1
    with pytest.raises(ApiError, match="no response within 1 s") as caught:
        await kube.json_patch("/x", [])
    server.hangs.set()
    assert caught.value.is_ambiguous


async def test_an_error_says_whether_the_request_may_have_been_carried_out(
    server: Server, kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuenv.controller.kube.client.BACKOFF_SECONDS", ())
    for status, ambiguous in ((403, False), (409, False), (429, False), (500, True), (504, True)):
        server.answers = [(status, {"kind": "Status"}, {})]
        with pytest.raises(ApiError) as caught:
            await kube.create("/x", {})
        assert caught.value.is_ambiguous == ambiguous, status
    server.breaks = True
    with pytest.raises(ApiError, match="Unanswered") as caught:
        await kube.create("/x", {})
    assert caught.value.is_ambiguous
    async with await Kube.from_environment(kubeconfig(tmp_path / "other", 9)) as nobody:
        with pytest.raises(ApiError, match="Unreachable") as caught:
            await nobody.create("/x", {})
    assert not caught.value.is_ambiguous


# ---- the time box ----------------------------------------------------------------------------------------------


async def test_no_request_begins_when_the_time_box_is_over(server: Server, kube: Kube) -> None:
    server.say(200, {"metadata": {}})
    left = 1.0
    with sending.time_box(lambda: left):
        await kube.create("/x", {})
        left = 0.0
        for request in (kube.create("/x", {}), kube.get("/x")):
            with pytest.raises(NotNowError, match="time of this plan"):
                await request
    await kube.get("/x")
    assert len(server.requests) == 2


async def test_a_failed_request_is_not_repeated_beyond_its_time_box(server: Server, kube: Kube) -> None:
    server.say(503, "no backend", Retry_After="5")
    with sending.time_box(lambda: 3.0), pytest.raises(ApiError, match="503"):
        await kube.create("/x", {})
    assert len(server.requests) == 1


async def test_a_write_takes_no_token_that_comes_too_late_for_its_time_box() -> None:
    now = 0.0
    bucket = TokenBucket(1, 1, clock=lambda: now)
    assert await bucket.take(0.5)
    assert [await bucket.take(0.5) for _ in range(3)] == [False] * 3
    now = 1.0
    assert await bucket.take(0.5), "those who could not wait have taken nothing"
