"""A fake API server that carries out writes whose answers are lost."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fake_kube import FakeKube

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
