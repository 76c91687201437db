"""When a watch is started again, and when the process has to end. Kopf itself is replaced."""

import asyncio
from typing import Any

import pytest
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.wait import PATIENCE, wait_until_async

from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import KindName
from gpuenv.controller.options import Options
from gpuenv.controller.watch import signs, watch
from gpuenv.controller.watch.watch import SilentWatchError, Watch

PODS = Options().scope.pods


class FakeKopf:
    """Stands in for Kopf's tasks. ``all`` lists those that were started, with how many of them have not been ended."""

    all: list["FakeKopf"]

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = False
        self.all.append(self)

    @classmethod
    async def start(cls, registry: Any, options: Options, identity: str) -> "FakeKopf":
        del registry, options, identity
        return cls()

    def fail(self, *words: object) -> None:
        self.done.set_exception(RuntimeError(*words))

    def failure(self) -> BaseException | None:
        return self.done.exception()

    async def end(self) -> bool:
        self.ended = True
        return True


class World:
    """One watch, of pods, that is running."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.restarts: list[str] = []
        self.starts = 0
        self.watch = Watch(
            "pods",
            self.kube,  # type: ignore[arg-type]  # a fake
            Cache(),
            Options(),
            "test",
            relisted=lambda kind: None,
            started=self._started,
            restarted=self._restarted,
        )
        self.kube.answers[PODS] = {"items": []}
        self.running = asyncio.create_task(self.watch.run())

    def _started(self) -> None:
        self.starts += 1

    def _restarted(self, kind: KindName, reason: str) -> None:
        assert kind == "pods"
        self.restarts.append(reason)

    async def until_started(self, count: int) -> FakeKopf:
        await wait_until_async(lambda: self.starts == count)
        return FakeKopf.all[-1]

    def open(self) -> None:
        """Open the stream, long ago."""
        self.watch.signs.opened()
        self.watch.signs._changed_at -= 2 * watch.STEADY_SECONDS
        self.watch.signs._delivered_at -= 2 * watch.STEADY_SECONDS


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeKopf.all = []
    monkeypatch.setattr(watch, "KopfTasks", FakeKopf)
    monkeypatch.setattr(watch, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 0.001)


async def test_a_failed_watch_starts_again_and_the_former_one_is_ended(caplog: Any) -> None:
    world = World()
    for number in range(1, 6):
        kopf = await world.until_started(number)
        kopf.fail("404: not found", {"kind": "Status"})
    await world.until_started(6)
    assert world.restarts == ["refused"] * 5
    assert [one.ended for one in FakeKopf.all] == [True] * 5 + [False]
    assert "the watch of pods failed: 404: not found; it starts again in" in caplog.text
    assert not world.running.done()
    world.running.cancel()
    await asyncio.wait({world.running})
    assert FakeKopf.all[-1].ended


async def test_the_pauses_grow_until_the_stream_was_open_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "PAUSE_MAX_SECONDS", 0.004)
    world = World()
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(watch.asyncio, "sleep", noted)
    for number in range(1, 6):
        (await world.until_started(number)).fail("x")
    kopf = await world.until_started(6)
    world.open()
    await wait_until_async(lambda: world.watch._failures == 0)
    kopf.fail("x")
    await world.until_started(7)
    seen = [one for one in pauses if one in {0.001, 0.002, 0.004}]
    assert seen == [0.001, 0.002, 0.004, 0.004, 0.004, 0.001]
    world.running.cancel()


async def test_a_kind_that_is_not_there_is_waited_for() -> None:
    """Kopf would start, find no such kind, and watch nothing for ever."""
    world = World()
    kopf = await world.until_started(1)
    gone = world.kube.deny("GET", PODS, 404, "HTTP404", "404 page not found")
    kopf.fail("404: not found")
    await wait_until_async(lambda: world.kube.calls.count(("GET", PODS)) > 3)
    world.watch.signs._changed_at -= signs.TOLERATED_SECONDS
    assert "404 page not found" in world.watch.signs.problem
    assert world.starts == 1
    gone()
    await world.until_started(2)
    world.running.cancel()


async def test_a_watch_that_asks_for_nothing_starts_again() -> None:
    world = World()
    await world.until_started(1)
    world.watch.signs._active_at -= signs.ENDLESS_SECONDS + 1
    await world.until_started(2)
    assert world.restarts == ["ended"]
    world.running.cancel()


def write(world: World) -> None:
    """Let the operator learn of a version that the watch does not deliver."""
    world.open()
    world.watch.signs.learned(world.starts * 100)
    assert world.watch.signs._owed is not None
    version, at = world.watch.signs._owed
    world.watch.signs._owed = (version, at - signs.ECHO_SECONDS - 1)


async def test_a_silent_watch_gets_two_restarts_and_then_the_process_ends() -> None:
    world = World()
    for number in (1, 2, 3):
        await world.until_started(number)
        write(world)
    with pytest.raises(SilentWatchError, match="the watch of pods delivers nothing, although"):
        async with asyncio.timeout(PATIENCE):
            await world.running
    assert world.restarts == ["silent", "silent"]
    assert all(one.ended for one in FakeKopf.all)


async def test_a_watch_that_delivers_again_has_its_restarts_back() -> None:
    world = World()
    pod = builders.pod("e", "a")
    for number in range(1, 8):
        await world.until_started(number)
        # Objects from a list prove nothing about the stream of changes.
        world.watch._take("ADDED" if number % 2 else None, pod)
        write(world)
    await world.until_started(8)
    world.running.cancel()


async def test_missed_changes_start_it_again_and_a_sweep_in_order_counts_the_restarts_anew() -> None:
    world = World()
    for number in range(1, 9):
        await world.until_started(number)
        if number % 2 == 0 and number < 8:
            world.watch.swept(missed=False)
        world.open()
        world.watch.swept(missed=True)
    with pytest.raises(SilentWatchError, match="has missed changes"):
        async with asyncio.timeout(PATIENCE):
            await world.running


async def test_a_stream_that_has_just_been_opened_is_not_to_blame_for_what_was_missed() -> None:
    world = World()
    await world.until_started(1)
    world.watch.swept(missed=True)
    world.watch.signs.opened()
    world.watch.swept(missed=True)
    await asyncio.sleep(0.05)
    assert world.restarts == []
    world.running.cancel()
