"""All states that the API server of a world goes through, and a client that reads them at chosen times.

A command that only reads cannot influence the operator. So every interleaving of its requests with the operator's writes
is a sequence of times, one for each request: ``World`` plays a story once, and ``Replay`` is then asked as often as wanted.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fake_kube import FakeKube, Raw
from tests.support.world import World


class History:
    """The states of a world's API server from now on: one after each write, of the operator or of anybody else.

    ``rng`` shuffles the writes of each plan as the network would: the executor carries out several chains at a time.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self.states: list[dict[str, Raw]] = [dict(world.kube.objects)]
        self._kube, self._rng = world.kube, rng
        world.kube.watchers.append(lambda *_: self.states.append(dict(world.kube.objects)))
        for method in ("json_patch", "merge_patch"):
            setattr(world.kube, method, self._delayed(getattr(world.kube, method)))

    def _delayed(self, send: Callable[[str, Any], Awaitable[Any]]) -> Callable[[str, Any], Awaitable[Any]]:
        async def later(path: str, body: Any) -> Any:
            if "/events/" not in path:
                for _ in range(self._rng.randrange(5)):
                    await asyncio.sleep(0)
            return await send(path, body)

        return later

    @property
    def now(self) -> int:
        """The number of the present state."""
        return len(self.states) - 1


class Replay(FakeKube):
    """Answers requests from the states of a history. ``times`` is called before each request and returns its state.

    The returned numbers must not decrease: later requests never see earlier states.
    """

    def __init__(self, history: History, times: Callable[[], int]) -> None:
        super().__init__()
        self._states, self._times = history.states, times

    def _begin(self, method: str, path: str, body: Any = None) -> None:
        self.objects = self._states[self._times()]
        super()._begin(method, path, body)
