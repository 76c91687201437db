"""Worlds in the states from which most tests start."""

from typing import Any

from tests.support.world import Raw, World


def fleet(count: int, /, *, settings: Raw | None = None, **spec: Any) -> World:
    """Return a world with one environment and so many nodes, for which nothing is planned yet."""
    world = World(**(settings or {}))
    world.environment(**spec)
    for index in range(count):
        world.node(f"n{index:02}")
    return world


def first_run(*, settings: Raw | None = None, **spec: Any) -> World:
    """Return a world with one environment, one node, and its first probe pod."""
    world = World(**(settings or {}))
    world.environment(**spec)
    world.node()
    world.settle()
    return world


def validated(**spec: Any) -> World:
    """Return a world with one environment, one node, a good verdict, and nothing to do."""
    world = first_run(**spec)
    world.finish()
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert not world.objects("pods")
    return world
