"""Environments that hang, and many environments of one author, beside an honest one on a simulated fleet."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World

from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.snapshot import PodRecord

RUN_SECONDS = 600
"""The time limit of a stage. A hanging run holds its node for a little longer than this."""
HANG_SECONDS = RUN_SECONDS + 60
HONEST_SECONDS = 20
STEP_SECONDS = 20
HOSTILE = 50
NODES = 60


class Fleet:
    """Nodes on which the pods of some environments hang, while those of others end well after a while.

    ``ends`` returns after how many seconds a pod ends by itself, None if it hangs.
    """

    def __init__(self, ends: Callable[[PodRecord], float | None], **limits: Any) -> None:
        self.world = World(limits=Limits(**limits))
        self._ends = ends
        for index in range(NODES):
            self.world.node(f"n{index:02}")

    def environment(self, name: str, index: int) -> None:
        self.world.environment(
            name,
            image=f"a/b:{index}",
            strategy={"maxConcurrent": "100%"},
            probe={"timeouts": {"runSeconds": RUN_SECONDS}},
        )

    def validated(self, environment: str) -> int:
        """Return on how many nodes the environment has a good verdict."""
        reports = self.world.cache.reports.values()
        return sum(one.environment == environment and one.verdict.value == "Compatible" for one in reports)

    def run_until(self, end: float, environment: str) -> float:
        """Let time pass until the environment has a verdict on all nodes, or until ``end``; return the time."""
        while self.world.now < end and self.validated(environment) < NODES:
            self._kubelets()
            self.world.step(STEP_SECONDS)
        return self.world.now

    def _kubelets(self) -> None:
        """Start the pods that are new, and end those that are deleted or whose time has come."""
        now = self.world.now
        for pod in self.world.live_pods():
            ends = self._ends(pod)
            if pod.deleting_since is not None:
                self.world.gone("pods", pod.name)
            elif pod.scheduled_at is None:
                self.world.pod(
                    "Running", name=pod.name, scheduled=now, sandbox=now, facts=builders.running(now)
                )
            elif ends is not None and now >= pod.scheduled_at + ends:
                self.world.finish(name=pod.name)


def honest_or_hanging(pod: PodRecord) -> float | None:
    return HONEST_SECONDS if pod.environment == "good" else None


def hostile(fleet: Fleet) -> None:
    for index in range(HOSTILE):
        fleet.environment(f"evil-{index:02}", index)


@pytest.mark.parametrize("groups", [(), (Group("evil", ("evil-*",)),)], ids=["no groups", "groups"])
@pytest.mark.parametrize("later", [0, 300], ids=["together", "later"])
def test_fifty_hanging_environments_do_not_keep_an_honest_one_from_the_nodes(
    groups: tuple[Group, ...], later: int
) -> None:
    fleet = Fleet(honest_or_hanging, groups=groups)
    hostile(fleet)
    fleet.run_until(fleet.world.now + later, "good")
    begun = fleet.world.now
    fleet.environment("good", HOSTILE)
    ended = fleet.run_until(begun + 40 * HANG_SECONDS, "good")
    assert fleet.validated("good") == NODES
    assert ended - begun <= 3 * HANG_SECONDS
