"""A fake API server that carries out writes whose answers are lost, or that is slow to carry them out."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fake_kube import FakeKube

from gpuenv.controller.kube import sending
from gpuenv.controller.kube.errors import ApiError

Send = Callable[..., Awaitable[Any]]
METHODS = ("create", "merge_patch", "strategic_patch", "json_patch", "delete")


def _wrap(kube: FakeKube, wrapped: Callable[[str, Send], Send]) -> None:
    for method in METHODS:
        setattr(kube, method, wrapped(method, getattr(kube, method)))


def lose_first_answers(kube: FakeKube, error: ApiError) -> set[tuple[str, str]]:
    """Answer the first write of each kind to each path with ``error``, after it was carried out.

    Return the set of these writes (method of the client, path), which grows.
    """
    lost: set[tuple[str, str]] = set()

    def wrapped(method: str, send: Send) -> Send:
        async def lossy(path: str, *args: Any, **options: Any) -> Any:
            answer = await send(path, *args, **options)
            if (method, path) in lost:
                return answer
            lost.add((method, path))
            kube.refusals += 1
            raise error

        return lossy

    _wrap(kube, wrapped)
    return lost


def repeat_all(kube: FakeKube) -> None:
    """Send each write twice, as the client does when the first answer is lost, and return the second answer."""

    def wrapped(_: str, send: Send) -> Send:
        async def twice(path: str, *args: Any, **options: Any) -> Any:
            await send(path, *args, **options)
            return await send(path, *args, **options)

        return twice

    _wrap(kube, wrapped)


class Held:
    """The writes that a slow webhook holds up: they are neither carried out nor answered before :meth:`release`.

    ``when`` is called with the method of the client, the path, and the body, and returns whether a write is held up.
    """

    def __init__(self, kube: FakeKube, when: Callable[[str, str, Any], bool]) -> None:
        self.requests: list[tuple[str, str]] = []
        """Method and path of each write that has arrived, also of those that have been released."""
        self._released = asyncio.Event()

        def wrapped(method: str, send: Send) -> Send:
            async def slow(path: str, *args: Any, **options: Any) -> Any:
                sending.check_time_box(path)
                if self._released.is_set() or not when(method, path, args[0] if args else None):
                    return await send(path, *args, **options)
                self.requests.append((method, path))
                await self._released.wait()
                with sending.time_box(lambda: math.inf):  # it was sent in time
                    return await send(path, *args, **options)

            return slow

        _wrap(kube, wrapped)

    def release(self) -> None:
        """Carry out all writes, now and from now on."""
        self._released.set()
