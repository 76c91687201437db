"""The heartbeats of simulated nodes: evenly spread, and as often as a kubelet sends them."""

import asyncio
from typing import Any

import pytest

from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.fleet import heartbeats

NAMES = [f"n{number}" for number in range(4)]


class Clock:
    """A clock that only :meth:`sleep` moves. It cancels its user at the end."""

    def __init__(self, end: float) -> None:
        self.now, self._end = 100.0, 100.0 + end

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)  # a beat that is due runs meanwhile
        self.now = max(self.now, until)
        if self.now >= self._end:
            raise asyncio.CancelledError


async def beats(clock: Clock, period: float, *, first: float = 0.0) -> list[tuple[str, float]]:
    """Return the beats of all names with their times. The first beat keeps the machine busy for ``first`` seconds."""
    found = []

    async def beat(name: str) -> None:
        found.append((name, clock.now))
        if len(found) == 1:
            clock.now += first

    with pytest.raises(asyncio.CancelledError):
        await heartbeats.spread(NAMES, period, beat, clock=lambda: clock.now, sleep=clock.sleep)
    return found


async def test_each_node_beats_once_per_period_evenly_spread() -> None:
    found = await beats(Clock(80), 40)
    assert found == [(name, 100 + 10 * turn) for turn, name in enumerate(NAMES * 2)]


async def test_a_late_heartbeat_does_not_delay_those_after_it() -> None:
    found = await beats(Clock(80), 40, first=25)
    assert [at for _, at in found] == [100, 125, 125, 130, 140, 150, 160, 170]


class StubKube:
    """Stands in for the client: lists what is written, and refuses all of it."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []
        self.both = asyncio.Event()

    async def merge_patch(self, path: str, body: Any) -> None:
        self._write(path, body)

    async def strategic_patch(self, path: str, body: Any) -> None:
        self._write(path, body)

    def _write(self, path: str, body: Any) -> None:
        self.written.append((path, body))
        if len(self.written) == 2:
            self.both.set()
        raise ApiError(404, "NotFound", "")


async def test_a_node_that_is_gone_does_not_end_the_heartbeats_of_others() -> None:
    kube: Any = StubKube()
    sending = asyncio.create_task(heartbeats.send(kube, ["n0"]))
    await kube.both.wait()
    await asyncio.sleep(0)
    assert not sending.done()
    sending.cancel()
    written = dict(kube.written)
    assert set(written[heartbeats.leases("n0")]["spec"]) == {"renewTime"}
    conditions = written["/api/v1/nodes/n0/status"]["status"]["conditions"]
    # Only the time: a heartbeat must not undo the change of a condition.
    assert {key for row in conditions for key in row} == {"type", "lastHeartbeatTime"}
    assert "Ready" in {row["type"] for row in conditions}
