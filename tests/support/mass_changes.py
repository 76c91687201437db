"""Fleets that many nodes leave Compatible in, what makes them do so, and what their labels say then."""

from collections.abc import Iterable
from typing import Any

from tests.support import builders
from tests.support.started_worlds import fleet
from tests.support.world import World

from gpuenv.api import names, reasons

NEW = "580.65.06"
"""A newer driver than that of the nodes and probe reports of ``builders``."""
CPU_BUILD = {"version": "2.9.1+cpu", "cuda": None, "cpuBuild": True}
"""What a probe finds in an image that was built without CUDA."""


def good_fleet(count: int, /, *, settings: dict[str, Any] | None = None, **spec: Any) -> World:
    """Return a world with so many Compatible nodes and nothing to do."""
    world = fleet(count, settings={"max_probes": 1000, **(settings or {})}, **spec)
    world.settle()
    world.finish_all()
    assert labels(world) == ["Compatible"] * count
    world.forget_events()
    return world


def node(index: int) -> str:
    """Return the name of a node."""
    return f"n{index:02}"


def roll_out(world: World, indexes: Iterable[int], driver: str = NEW) -> None:
    """Give nodes another driver, and let the operator see it. It starts new runs, which go on."""
    for index in indexes:
        world.node(node(index), driver=driver)
    world.settle()


def finish(world: World, indexes: Iterable[int]) -> None:
    """End the runs on nodes that have the new driver well, and let the operator take that up."""
    for index in indexes:
        run = world.run_id(node=node(index))
        facts = builders.facts_report(run)
        facts["driver"] |= {"version": NEW, "cudaVersion": 13000}
        world.finish(node=node(index), facts=facts)
    world.settle()


def break_runs(world: World, indexes: Iterable[int]) -> None:
    """Ask for new runs everywhere, and let those on the given nodes fail."""
    failing = {node(index) for index in indexes}
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, str(world.now))
    world.settle()
    for pod in world.live_pods():
        run = pod.run_id
        broken = builders.facts_report(run, torch=CPU_BUILD) if pod.node in failing else None
        world.finish(node=pod.node, facts=broken)
    world.settle()


def accept(world: World, change: str = "") -> None:
    """Accept the change that stands, or the one with this id."""
    change = change or world.status()["massChange"]["id"]
    world.annotate("environments", "pt", names.ANNOTATION_ACCEPT_CHANGE, change)
    world.settle()


def labels(world: World) -> list[str | None]:
    """Return the labels of all nodes, in the order of their names."""
    return [world.label(node=name) for name in sorted(world.objects("nodes"))]


def verdicts(world: World) -> list[str]:
    """Return the verdicts of all node reports, in the order of the nodes' names."""
    return [report.verdict.value for _, report in sorted(world.cache.reports.items())]


def held(world: World) -> list[str]:
    """Return the nodes whose label is better than their report. They are those that the status names."""
    found = [
        one.node
        for one in world.cache.reports.values()
        if world.label(node=one.node) == "Compatible" != one.verdict.value
    ]
    change = world.status().get("massChange", {"nodes": [], "nodeCount": 0})
    assert (sorted(found)[:20], len(found)) == (change["nodes"], change["nodeCount"])
    return sorted(found)


def told(world: World) -> list[tuple[str, str]]:
    """Return the type and the message of each Event about a mass change."""
    return [(one.type, one.message) for one in world.events if one.reason == reasons.MassChange]
