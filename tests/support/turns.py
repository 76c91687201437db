"""Fleets in which environments take turns: what they ask for, what their pods do, and who runs how many."""

from collections import Counter

from tests.support import builders
from tests.support.world import World

from gpuenv.api import names

FULL = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def names_of(count: int) -> list[str]:
    return [f"n{index:03}" for index in range(count)]


def ask(world: World, environment: str, token: str) -> None:
    world.annotate("environments", environment, names.ANNOTATION_REVALIDATE, token)


def occupy(world: World, node: str, environment: str = "pt") -> None:
    """Let the probe pod wait for a GPU that a workload uses."""
    world.pod("Pending", environment=environment, node=node, unschedulable=FULL)


def hang(world: World, node: str, environment: str = "pt") -> None:
    """Let the probe pod get its GPU and never report."""
    at = world.now
    world.pod(
        "Running", environment=environment, node=node, scheduled=at, sandbox=at, facts=builders.running(at)
    )


def living(world: World) -> Counter[str]:
    return Counter(pod.environment for pod in world.live_pods())
