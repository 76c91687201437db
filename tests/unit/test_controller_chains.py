"""Which chain is taken up first: nobody waits behind another environment's large change."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create, label, write
from tests.support.world import World

from gpuenv.controller.write.chains import chains
from gpuenv.plan.actions import DeletePod


@pytest.fixture
def world() -> World:
    return World(watch=False)


def test_environments_take_turns_and_pods_come_first_within_each(world: World) -> None:
    pod = world.put("pods", builders.pod("a", "n7"))["metadata"]
    actions: list[Any] = [write("a", f"n{number}") for number in range(9)]
    actions += [DeletePod(pod["name"], pod["uid"], "settled"), create("a", "m")]
    actions += [write("z", "n0"), write("z", "n1"), create("z", "n2")]
    order = [key for key, _ in chains(world.plan_of(*actions))]
    assert order[:6] == [("a", "n7"), ("z", "n2"), ("a", "m"), ("z", "n0"), ("a", "n0"), ("z", "n1")]
    assert len(order) == 13


async def test_a_large_change_of_one_environment_does_not_delay_another(world: World) -> None:
    world.slow_down(0.1)
    for number in range(300):
        world.put("nodes", builders.node(f"n{number}"))
    outcome = await world.run(
        *(label(f"n{number}", environment="a") for number in range(300)),
        *(label(f"n{number}", environment="z") for number in range(5)),
        create("z", "n7"),
    )
    assert outcome.skipped
    assert all(world.cache.nodes[f"n{number}"].compat["z"] == "Compatible" for number in range(5))
    assert [pod.node for pod in world.cache.pods.values()] == ["n7"]
