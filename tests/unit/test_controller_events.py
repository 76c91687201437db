"""Kubernetes Events: form, repetition, limits, and an API server that is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.bad_answers import lose_first_answers
from tests.support.fake_kube import FakeKube
from tests.support.wait import wait_until_async

from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.write import events
from gpuenv.controller.write.events import EventPoster, event_body
from gpuenv.plan.actions import PostEvent

EVENT = PostEvent("GPUEnvironment", "pytorch", "uid-1", "Warning", "SomeIncompatible", "3 nodes")


def posted(kube: FakeKube) -> list[dict[str, Any]]:
    return [raw for path, raw in kube.objects.items() if path.startswith(events.EVENTS)]


@asynccontextmanager
async def poster(kube: FakeKube, **options: Any) -> AsyncIterator[EventPoster]:
    one = EventPoster(kube, "me", **options)
    task = asyncio.create_task(one.run())
    yield one
    task.cancel()


def test_events_of_cluster_scoped_objects_are_found_by_describe() -> None:
    body = event_body(EVENT, 0.0, "me")
    assert body["metadata"]["namespace"] == "default"
    assert body["involvedObject"] == {
        "apiVersion": "gpuenv.dev/v1alpha1",
        "kind": "GPUEnvironment",
        "name": "pytorch",
        "uid": "uid-1",
    }
    assert body["firstTimestamp"] == "1970-01-01T00:00:00Z"


def test_long_names_and_messages_stay_within_limits() -> None:
    event = PostEvent("GPUNodeReport", "n" * 253, "u", "Normal", "R", "m" * 5000)
    body = event_body(event, 0.0, "me")
    assert len(body["metadata"]["name"]) <= 253
    assert len(body["message"]) <= 1024


async def test_the_same_words_raise_the_count() -> None:
    kube = FakeKube()
    async with poster(kube) as one:
        for _ in range(3):
            one.post(EVENT)
        await wait_until_async(lambda: [raw["count"] for raw in posted(kube)] == [3])


async def test_an_expired_event_is_written_anew() -> None:
    kube = FakeKube()
    async with poster(kube) as one:
        one.post(EVENT)
        await wait_until_async(lambda: posted(kube))
        kube.objects.clear()
        one.post(EVENT)
        await wait_until_async(lambda: [raw["count"] for raw in posted(kube)] == [1])


async def test_one_object_cannot_flood_the_cluster() -> None:
    kube, dropped = FakeKube(), []
    async with poster(kube, dropped=lambda: dropped.append(1)) as one:
        for number in range(100):
            one.post(PostEvent("GPUEnvironment", "a", "uid-a", "Normal", "R", f"message {number}"))
        one.post(EVENT)
        await wait_until_async(lambda: len(posted(kube)) == events.OBJECT_BURST + 1)
    assert len(dropped) == 100 - events.OBJECT_BURST


async def test_a_clock_that_is_set_back_silences_nobody() -> None:
    kube, now, passed = FakeKube(), 3600.0, 0.0
    async with poster(kube, clock=lambda: now, monotonic=lambda: passed) as one:
        for number in range(events.OBJECT_BURST):
            one.post(PostEvent("GPUEnvironment", "a", "uid-a", "Normal", "R", f"message {number}"))
        await wait_until_async(lambda: len(posted(kube)) == events.OBJECT_BURST)
        now, passed = 0.0, 1 / events.OBJECT_PER_SECOND
        one.post(PostEvent("GPUEnvironment", "a", "uid-a", "Normal", "R", "after the change"))
        await wait_until_async(lambda: len(posted(kube)) == events.OBJECT_BURST + 1)
        assert posted(kube)[-1]["lastTimestamp"] == "1970-01-01T00:00:00Z", "an Event shows the wall clock"
        passed = 2 * events.REPEAT_SECONDS
        one.post(PostEvent("GPUEnvironment", "a", "uid-a", "Normal", "R", "message 0"))
        await wait_until_async(lambda: len(posted(kube)) == events.OBJECT_BURST + 2)


async def test_an_outage_delays_and_a_refusal_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.01)
    kube, dropped = FakeKube(), []
    kube.fail("POST", "events", 403, "Forbidden", "not in this namespace")
    async with poster(kube, dropped=lambda: dropped.append(1)) as one:
        one.post(PostEvent("GPUEnvironment", "b", "uid-b", "Normal", "R", "refused"))
        await wait_until_async(lambda: dropped)
        kube.down = ApiError(0, "Unreachable", "nobody answers")
        one.post(EVENT)
        await wait_until_async(lambda: len(kube.calls) > 3)
        kube.down = None
        await wait_until_async(lambda: [raw["message"] for raw in posted(kube)] == ["3 nodes"])


async def test_a_lost_answer_makes_no_second_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.0)
    kube, now = FakeKube(), 1000.0
    lost = lose_first_answers(kube, ApiError(500, "InternalError", "etcdserver: request timed out"))

    def clock() -> float:
        nonlocal now
        now += 7
        return now

    async with poster(kube, clock=clock) as one:
        one.post(EVENT)
        await wait_until_async(lambda: not one._queue)
    assert [raw["count"] for raw in posted(kube)] == [1]
    assert len(lost) == 1
