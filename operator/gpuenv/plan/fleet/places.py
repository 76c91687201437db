"""Count the places for probe pods: how many each environment holds, and whose turn it is to start another one.

There are two limits: ``maxConcurrent`` of each environment, and ``Settings.max_probes`` over all environments. An
environment's share is ``max_probes`` divided by the number of environments that run or want to run something, at least
one. These rules apply:

* A pod takes a place of its environment and one of all places, until it has ended.
* A pod that waits for a GPU gives its place back after ``PATIENCE_SECONDS``. It holds no GPU, and a free node may need
  the place. An environment gets at most as many places back as its limit and its share, so that a fleet of busy nodes
  does not lead to thousands of pending pods. As soon as such a pod gets its GPU, it takes a place again. Until places
  are free, the environment then starts nothing.
* A pod that holds a GPU keeps its place in its environment, even if it hangs. With ``maxConcurrent``, an author says how
  many GPUs the probes may take from workloads, and a hanging probe takes one. Its time limit bounds how long.
* A free place goes to the environment that holds the fewest. Of several, it goes to the one that has waited longest.
* An environment that is alone may take all places. If its pods take long, others need not wait for their end: an
  environment below its share may start a pod in addition to ``max_probes`` for each pod older than ``LONG_SECONDS`` by
  which another environment exceeds its own share. Together, they never take more than twice ``max_probes`` places.
* A deleted pod that does not end takes no place. It only blocks its node.
"""

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.run.clocks import LONG_SECONDS, is_over, is_stuck, waits_from
from gpuenv.plan.snapshot import NEVER, PodRecord
from gpuenv.plan.view import View


@dataclass(slots=True)
class _Held:
    """The probe pods of one environment. ``limit`` is its ``maxConcurrent``, as a number of pods.

    ``last_start`` is when its last pod was created, or its last run ended, in epoch seconds.
    """

    limit: int = 0
    wants: bool = False
    last_start: float = 0.0
    pods: list[PodRecord] = field(default_factory=list)
    started: int = 0
    waiting: int = 0
    long: int = 0

    def count(self, share: int) -> int:
        """Return the number of places that the environment holds."""
        return len(self.pods) + self.started - min(self.waiting, self.limit, share)

    def surplus(self, share: int) -> int:
        """Return by how many long pods the environment exceeds its share."""
        return min(self.long, max(0, self.count(share) - share))


class Places:
    """The places for probe pods that are taken now, and by whom."""

    def __init__(self, view: View, fleets: Sequence[Totals]) -> None:
        settings = view.snapshot.settings
        self._at, self._limit = view.at, settings.max_probes
        self.busy: set[str] = set()
        """The names of the nodes with a probe pod that has not ended."""
        self._held = {
            fleet.context.name: _Held(max_concurrent(fleet), bool(fleet.due), fleet.last_run_at)
            for fleet in fleets
        }
        for pod in view.snapshot.pods.values():
            held = self._held.setdefault(pod.environment, _Held())
            held.last_start = max(held.last_start, pod.created_at)
            if is_over(pod):
                continue
            self.busy.add(pod.node)
            if not is_stuck(pod, settings, view.at):
                held.pods.append(pod)
                held.waiting += view.at >= waits_from(pod)
                held.long += view.at >= pod.created_at + LONG_SECONDS
        active = sum(held.wants or bool(held.pods) for held in self._held.values())
        self._share = max(1, self._limit // max(1, active))
        self._count()

    def _count(self) -> None:
        self._taken = sum(held.count(self._share) for held in self._held.values())
        self._surplus = sum(held.surplus(self._share) for held in self._held.values())

    def may_start(self, environment: str) -> bool:
        """Return whether there is a place for another pod of the environment."""
        held = self._held[environment]
        mine = held.count(self._share)
        if mine >= held.limit:
            return False
        if self._taken < self._limit:
            return True
        return (
            mine < self._share and self._taken - self._surplus < self._limit and self._taken < 2 * self._limit
        )

    def is_below_share(self, environment: str) -> bool:
        """Return whether the environment holds fewer places than its share."""
        return self._held[environment].count(self._share) < self._share

    def next_turn(self, environments: Collection[str]) -> str | None:
        """Return which of the environments may start a pod next, or None if none may start one."""
        return min(filter(self.may_start, environments), key=self._turn, default=None)

    def _turn(self, environment: str) -> tuple[int, float, int, str]:
        """Return what orders the environments.

        If several have waited equally long, a hash decides. It depends on the time, so that none is always the first.
        """
        held = self._held[environment]
        spread = zlib.crc32(f"{environment}/{held.last_start:.0f}".encode("utf-8", "replace"))
        return held.count(self._share), held.last_start, spread, environment

    def take(self, environment: str, node: str) -> None:
        """Note that a pod of the environment starts on the node."""
        held = self._held[environment]
        held.started += 1
        held.last_start = self._at
        self.busy.add(node)
        self._count()

    def next_change(self, environments: Collection[str]) -> float:
        """Return when, if nothing else changes, one of these environments may get a place, in epoch seconds."""
        lacking = [self._held[name] for name in environments if not self.may_start(name)]
        if not lacking:
            return NEVER
        times = [waits_from(pod) for held in self._held.values() for pod in held.pods]
        if any(held.count(self._share) < min(self._share, held.limit) for held in lacking):
            times += [
                pod.created_at + LONG_SECONDS
                for held in self._held.values()
                if held.count(self._share) > self._share
                for pod in held.pods
            ]
        return min((time for time in times if time > self._at), default=NEVER)


def max_concurrent(fleet: Totals) -> int:
    """Return ``maxConcurrent`` of the environment as a number of probe pods."""
    limit = fleet.context.spec.max_concurrent
    if isinstance(limit, int):
        return limit
    return max(1, math.ceil(fleet.selected * int(limit.rstrip("%")) / 100))
