"""The sweep: first lists, missed changes and deletions, lists that fail."""

import asyncio
import weakref
from typing import Any, ClassVar

import pytest
from tests.support import builders
from tests.support.wait import wait_until_async
from tests.support.world import World

from gpuenv.controller import sweep as sweeps
from gpuenv.controller.kube.kinds import KINDS, NODES, REPORTS
from gpuenv.controller.kube.requests import JSON, METADATA_LIST
from gpuenv.controller.sweep import Sweeper


class Swept(World):
    """A world of nodes a, b and c without a watch, and a sweep that has not begun."""

    def __init__(self, **options: Any) -> None:
        super().__init__(watch=False)
        self.cache.synced = False
        self.sweeper = Sweeper(self.kube, self.cache, self.scope, self.metrics, **{"grace": 0.05} | options)
        for name in "abc":
            self.kube.add(NODES, builders.node(name))


async def test_nothing_is_synced_until_all_kinds_were_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "RETRY_SECONDS", 0.01)
    world = Swept()
    for name in "d":
        world.kube.add(world.scope.pods, builders.pod("e", name))
    world.kube.fail("GET", "pods", 410, "Expired")
    world.kube.fail("GET", "gpunodereports", 503)
    await world.sweeper.sync()
    assert world.cache.synced
    assert sorted(world.cache.nodes) == ["a", "b", "c"]
    assert len(world.cache.pods) == 1


async def test_missed_changes_and_deletions_are_found() -> None:
    world = Swept()
    await world.sweeper.sync()
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(x="y"))
    del world.kube.objects[f"{NODES}/b"]
    assert await world.sweeper.sweep("nodes", grace=0) == 2
    assert sorted(world.cache.nodes) == ["a", "c"]
    assert world.cache.nodes["a"].labels["x"] == "y"
    assert await world.sweeper.sweep("nodes", grace=0) == 0


async def test_a_regular_sweep_reads_metadata_and_whole_objects_only_where_they_differ() -> None:
    """Sweeps over 50,000 whole node reports took a quarter of a core in a cluster where nothing happened."""
    world = Swept()
    await world.sweeper.sync()
    world.kube.accepted.clear()
    assert await world.sweeper.sweep("nodes", grace=0.01) == 0
    assert world.kube.accepted == [METADATA_LIST]
    world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(x="y"))
    world.kube.touch(f"{NODES}/b", lambda one: one["status"].update(capacity={"nvidia.com/gpu": "3"}))
    assert await world.sweeper.sweep("nodes", grace=0.01) == 2
    assert world.cache.nodes["a"].labels["x"] == "y"
    assert world.cache.nodes["b"].devices == {"nvidia.com/gpu": (3, 8)}
    assert world.kube.accepted[1:] == [METADATA_LIST, JSON, JSON]


async def test_what_the_watch_delivers_within_the_grace_was_not_missed() -> None:
    world = Swept()
    await world.sweeper.sync()
    changed = world.kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(x="y"))
    sweep = asyncio.create_task(world.sweeper.sweep("nodes", grace=0.2))
    await wait_until_async(lambda: ("GET", NODES) in world.kube.calls[-1:])
    world.cache.observe("nodes", "MODIFIED", changed)
    assert await sweep == 0


@pytest.mark.parametrize("count", [3, 250])
async def test_what_the_grace_did_not_bring_is_read_again(count: int) -> None:
    world = Swept()
    for number in range(count):
        world.kube.add(NODES, builders.node(f"n{number}"))
    await world.sweeper.sync()
    for number in range(count):
        world.kube.touch(f"{NODES}/n{number}", lambda one: one["metadata"]["labels"].update(x="y"))
    sweep = asyncio.create_task(world.sweeper.sweep("nodes", grace=0.2))
    await wait_until_async(lambda: ("GET", NODES) in world.kube.calls[-1:])
    later = world.kube.touch(f"{NODES}/n0", lambda one: one["metadata"]["labels"].update(x="z"))
    assert await sweep == count
    assert later["metadata"]["labels"]["x"] == world.cache.nodes["n0"].labels["x"] == "z"
    assert [world.cache.nodes[f"n{number}"].labels["x"] for number in range(1, count)] == ["y"] * (count - 1)


class Large(dict[str, Any]):
    """A raw object of which the living are counted."""

    alive: ClassVar[weakref.WeakSet["Large"]] = weakref.WeakSet()

    def __init__(self, *fields: Any) -> None:
        super().__init__(*fields)
        self.alive.add(self)

    __hash__ = object.__hash__  # type: ignore[assignment]  # a dict has none


@pytest.mark.parametrize("grace", [0, 0.01])
async def test_one_page_at_a_time_is_in_memory(grace: float) -> None:
    """As reports of 22 KiB each: 50,000 of them must not be in memory at once."""
    world = Swept()
    most = 0

    async def pages(path: str, params: Any = None, limit: int = 500, **_: Any) -> Any:
        nonlocal most
        for start in range(0, 2000 if path == REPORTS else 0, limit):
            yield {
                "items": [Large(builders.report("e", f"n{number}")) for number in range(start, start + limit)]
            }
            most = max(most, len(Large.alive))

    world.kube.pages = pages
    await world.sweeper.sweep("reports", grace=grace)
    assert len(world.cache.reports) == 2000
    assert most <= 2 * 500


async def test_an_incomplete_list_removes_nothing() -> None:
    """As when a list grows too old midway: NFD once took that for deletions."""
    world = Swept()
    await world.sweeper.sync()
    pages = world.kube.pages

    async def short(path: str, params: Any = None, **options: Any) -> Any:
        async for page in pages(path, params, **options):
            narrowed = "metadata.name" in (params or {}).get("fieldSelector", "")
            yield page if narrowed else {"items": page["items"][:1], "metadata": {}}

    world.kube.pages = short
    await world.sweeper.sweep("nodes", grace=0)
    assert sorted(world.cache.nodes) == ["a", "b", "c"]


async def test_a_vanished_pod_becomes_a_tombstone() -> None:
    world = Swept()
    stored = world.kube.add(world.scope.pods, builders.pod("e", "a"))
    await world.sweeper.sync()
    world.kube.objects.pop(world.scope.item("pods", stored["metadata"]["name"]))
    await world.sweeper.sweep("pods", grace=0)
    (pod,) = world.cache.pods.values()
    assert pod.vanished


async def test_each_regular_sweep_says_of_each_kind_whether_its_watch_missed_something() -> None:
    seen: list[tuple[str, bool]] = []
    world = Swept(seconds=0.05, grace=0.01, swept=lambda kind, missed: seen.append((kind, missed)))
    await world.sweeper.sync()
    running = asyncio.create_task(world.sweeper.run())
    await wait_until_async(lambda: len(seen) >= 8)
    assert {kind for kind, missed in seen if not missed} == set(KINDS)
    assert not any(missed for _, missed in seen)
    del world.kube.objects[f"{NODES}/b"]
    await wait_until_async(lambda: ("nodes", True) in seen)
    assert {kind for kind, missed in seen if missed} == {"nodes"}
    running.cancel()


async def test_silent_watches_of_all_kinds_get_their_grace_at_the_same_time() -> None:
    world = Swept(grace=3600, seconds=0.01)
    await world.sweeper.sync()
    for kind in KINDS:
        world.kube.add(world.scope.path(kind), {"metadata": {"name": "x"}})
    world.kube.calls.clear()
    running = asyncio.create_task(world.sweeper.run())
    await wait_until_async(
        lambda: {path for _, path in world.kube.calls} >= set(map(world.scope.path, KINDS))
    )
    running.cancel()


async def test_a_kind_that_cannot_be_listed_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a CustomResourceDefinition is gone."""
    monkeypatch.setattr(sweeps, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(sweeps, "SOON_SECONDS", 0.01)
    world = Swept(seconds=0.05, grace=0.01)
    await world.sweeper.sync()
    mend = world.kube.deny("GET", "gpuenvironments", 404, "HTTP404", "404 page not found")
    world.metrics.last_sweep = None
    running = asyncio.create_task(world.sweeper.run())
    del world.kube.objects[f"{NODES}/b"]
    await wait_until_async(lambda: "b" not in world.cache.nodes)
    assert world.metrics.last_sweep is None
    mend()
    await wait_until_async(lambda: world.metrics.last_sweep)
    running.cancel()


async def test_a_relist_causes_a_sweep_soon_that_proves_nothing_about_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeps, "SOON_SECONDS", 0.01)
    seen: list[str] = []
    world = Swept(seconds=600, swept=lambda kind, missed: seen.append(kind))
    await world.sweeper.sync()
    running = asyncio.create_task(world.sweeper.run())
    del world.kube.objects[f"{NODES}/b"]
    world.kube.calls.clear()
    world.sweeper.request("nodes")
    await wait_until_async(lambda: "b" not in world.cache.nodes)
    assert seen == []
    assert {path for _, path in world.kube.calls} == {NODES}
    running.cancel()
