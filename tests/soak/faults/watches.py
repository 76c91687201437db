"""The events of the operator's watches are lost, doubled, delayed, reordered or torn, or do not come at all."""

from tests.soak.faults.catalogue import World, between, fault, number, one_of
from tests.soak.proxy import Trouble

KINDS = ("", "/nodes", "/pods", "/gpunodereports", "/gpuenvironments")
"""Parts of the paths of the operator's watches. "" is all of them."""


async def _spoil(world: World, trouble: Trouble, seconds: float) -> str:
    return f"{await world.proxies['one'].trouble(trouble, seconds)} events"


@fault(
    "watch.drop", blinds=12, share=one_of(0.2, 0.7), seconds=between(3, 10), paths=one_of(*KINDS), seed=number
)
async def drop(world: World, *, share: float, seconds: float, paths: str, seed: int) -> str:
    return await _spoil(world, Trouble("drop", share=share, paths=paths, seed=seed), seconds)


@fault("watch.double", share=one_of(0.3, 1.0), seconds=between(3, 10), paths=one_of(*KINDS), seed=number)
async def double(world: World, *, share: float, seconds: float, paths: str, seed: int) -> str:
    return await _spoil(world, Trouble("double", share=share, paths=paths, seed=seed), seconds)


@fault(
    "watch.delay", blinds=5, wait=between(0.1, 2), seconds=between(3, 10), paths=one_of(*KINDS), seed=number
)
async def delay(world: World, *, wait: float, seconds: float, paths: str, seed: int) -> str:
    trouble = Trouble("delay", share=0.5, seconds=wait, paths=paths, seed=seed)
    return await _spoil(world, trouble, seconds)


@fault(
    "watch.reorder",
    blinds=5,
    share=one_of(0.3, 0.8),
    seconds=between(3, 10),
    paths=one_of(*KINDS),
    seed=number,
)
async def reorder(world: World, *, share: float, seconds: float, paths: str, seed: int) -> str:
    return await _spoil(world, Trouble("reorder", share=share, paths=paths, seed=seed), seconds)


@fault(
    "watch.tear", blinds=5, share=one_of(0.1, 0.4), seconds=between(2, 6), paths=one_of(*KINDS), seed=number
)
async def tear(world: World, *, share: float, seconds: float, paths: str, seed: int) -> str:
    return await _spoil(world, Trouble("tear", share=share, paths=paths, seed=seed), seconds)


@fault(
    "watch.expired",
    blinds=5,
    share=one_of(0.1, 0.4),
    seconds=between(2, 6),
    paths=one_of(*KINDS),
    seed=number,
)
async def expired(world: World, *, share: float, seconds: float, paths: str, seed: int) -> str:
    """The watch says that its place is too old (410 as an event)."""
    return await _spoil(world, Trouble("expire", share=share, paths=paths, seed=seed), seconds)


@fault("watch.silence", blinds=15, seconds=between(8, 25), paths=one_of(*KINDS), seed=number)
async def silence(world: World, *, seconds: float, paths: str, seed: int) -> str:
    """The watch stays open and delivers nothing."""
    return await _spoil(world, Trouble("silence", paths=paths, seed=seed), seconds)
