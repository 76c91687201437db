"""Decide which environment may start the next probe pod. This is the whole rule:

1. A probe pod takes one of ``Settings.max_probes`` places until it has ended, and an environment holds at most
   ``maxConcurrent`` of them.
2. Everybody who runs or wants to run something has an equal share of the places: each of the administrator's groups, and
   in a group each environment, where its silent environments count as one.
3. A free place goes to the group that holds the fewest, and in it to the environment that holds the fewest; of several,
   to the one that has waited longest.
4. Who is alone takes all places, but nobody waits for the pods older than ``LONG_SECONDS`` by which another exceeds its
   share: those below their own share may start as many in addition, up to twice ``max_probes``.
5. A pod that waits for a GPU (``PATIENCE_SECONDS`` after its creation) or does not end after its deletion takes no place.

An environment is silent if the number of nodes on which it has no answer exceeds the number of those on which it has
one. A node counts as without an answer if the last run took place there but brought none, or was stopped, or if the
present run takes longer than ``LONG_SECONDS``. So images that hang take the places of at most one environment, however
many there are of them, and answers make an environment equal to the others again. Environments that no group of the
administrator names are a group, too, so that nobody gains by another name.

A waiting pod that gets its GPU takes a place again, and its environment starts nothing until places are free. At most as
many pods of an environment wait without a place as its limit and its share, so that a fleet of busy nodes does not lead
to thousands of pending pods. A pod that hangs on its GPU keeps its place: with ``maxConcurrent``, an author says how many
GPUs the probes may take from workloads.
"""

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gpuenv.api.limits.groups import group_of
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.fleet.turn_tree import SILENT, Branch
from gpuenv.plan.run.clocks import is_over, is_stuck, long_from, waits_from
from gpuenv.plan.snapshot import NEVER, PodRecord
from gpuenv.plan.view import View


@dataclass(slots=True)
class _Pods:
    """The probe pods of one environment that have neither ended nor are stuck.

    ``last_start`` is when any pod of the environment was created last, or its last run ended, in epoch seconds.
    """

    all: list[PodRecord] = field(default_factory=list)
    waiting: int = 0
    long: int = 0
    last_start: float = 0.0
    hanging: set[str] = field(default_factory=set)
    """The names of the nodes whose pods have been on their node for long."""


class Places:
    """The places for probe pods that are taken now, and by whom."""

    def __init__(self, view: View, fleets: Sequence[Totals]) -> None:
        settings = view.snapshot.settings
        self._now = view.moment
        self._root = Branch("")
        self.busy: set[str] = set()
        """The names of the nodes with a probe pod that has not ended."""
        self._pods: dict[str, _Pods] = {}
        self._read_pods(view)
        known = {fleet.context.name: fleet for fleet in fleets}
        self._limits = {name: max_concurrent(fleet) for name, fleet in known.items()}
        self._branches: dict[str, Branch] = {}
        for name in {**known, **self._pods}:
            fleet, pods = known.get(name), self._pods.get(name, _Pods())
            branch = self._root.branch(group_of(name, settings.limits.groups))
            if fleet is not None and _is_silent(fleet, pods.hanging):
                branch = branch.branch(SILENT)
            self._branches[name] = branch.branch(name)
            if pods.all or (fleet is not None and fleet.due):
                self._branches[name].activate()
        self._root.divide(float(settings.max_probes))
        for name, branch in self._branches.items():
            self._hold(name, branch, known.get(name))

    def _read_pods(self, view: View) -> None:
        for pod in view.snapshot.pods.values():
            pods = self._pods.setdefault(pod.environment, _Pods())
            pods.last_start = max(pods.last_start, view.moment.wall_at(pod.seen.created))
            if is_over(pod):
                continue
            self.busy.add(pod.node)
            if is_stuck(pod, view.snapshot.settings, view.moment.steady):
                continue
            pods.all.append(pod)
            pods.waiting += view.moment.steady >= waits_from(pod)
            if view.moment.steady >= long_from(pod):
                pods.long += 1
                if pod.scheduled_at is not None:
                    pods.hanging.add(pod.node)

    def _hold(self, name: str, branch: Branch, fleet: Totals | None) -> None:
        """Let the environment hold the places that its pods take."""
        pods = self._pods.get(name, _Pods())
        given_back = min(pods.waiting, self._limits.get(name, 0), max(1, int(branch.share)))
        held = len(pods.all) - given_back
        last_run = fleet.last_run_at if fleet is not None else 0.0
        branch.hold(held, min(pods.long, held), max(pods.last_start, last_run))

    def may_start(self, environment: str) -> bool:
        """Return whether there is a place for another pod of the environment."""
        branch, root = self._branches[environment], self._root
        if branch.held >= self._limits[environment]:
            return False
        return root.held < root.share or (branch.is_below_share() and root.held < 2 * root.share)

    def is_below_share(self, environment: str) -> bool:
        """Return whether the environment and its group hold less than their shares."""
        return self._branches[environment].is_below_share()

    def next_turn(self, environments: Collection[str]) -> str | None:
        """Return which of the environments may start a pod next, or None if none may start one."""
        return min(filter(self.may_start, environments), key=self._turn, default=None)

    def _turn(self, environment: str) -> tuple[object, ...]:
        """Return what orders the environments.

        If several have waited equally long, a hash decides. It depends on the time, so that none is always the first.
        """
        return self._branches[environment].compare(
            lambda branch: (branch.held, branch.last_start, _spread(branch))
        )

    def first_on_node(self, environments: Collection[str], last_runs: Mapping[str, float], turn: str) -> str:
        """Return which of the environments has the first right to a node that all of them want.

        It goes to the group that has not run there for the longest time, and in it to the environment. ``last_runs``
        holds when each environment last ran on the node. Of several, ``turn`` comes first.
        """
        last: dict[Branch, float] = {}
        for name, at in last_runs.items():
            for branch in self._branches[name].upwards() if name in self._branches else ():
                last[branch] = max(at, last.get(branch, 0.0))
        first = set(self._branches[turn].upwards())
        return min(
            environments,
            key=lambda name: self._branches[name].compare(
                lambda branch: (last.get(branch, 0.0), branch not in first)
            ),
        )

    def take(self, environment: str, node: str) -> None:
        """Note that a pod of the environment starts on the node."""
        self.busy.add(node)
        self._branches[environment].hold(1, last_start=self._now.wall)

    def next_change(self, environments: Collection[str]) -> float:
        """Return when, if nothing else changes, one of these environments may get a place, in steady seconds."""
        lacking = [name for name in environments if not self.may_start(name)]
        if not lacking:
            return NEVER
        pods = [pod for found in self._pods.values() for pod in found.all]
        times = [waits_from(pod) for pod in pods]
        if sum(branch.active for branch in self._branches.values()) > 1:
            times += map(long_from, pods)
        return min((time for time in times if time > self._now.steady), default=NEVER)


def _is_silent(fleet: Totals, hanging: set[str]) -> bool:
    """Return whether the environment has no answer on more nodes than it has answers on.

    ``hanging`` are the nodes on which a run takes long at present.
    """
    return len(fleet.unanswered | hanging) > len(fleet.answering - hanging)


def _spread(branch: Branch) -> int:
    return zlib.crc32(f"{branch.name}/{branch.last_start:.0f}".encode("utf-8", "replace"))


def max_concurrent(fleet: Totals) -> int:
    """Return ``maxConcurrent`` of the environment as a number of probe pods."""
    limit = fleet.context.spec.max_concurrent
    if isinstance(limit, int):
        return limit
    return max(1, math.ceil(fleet.selected * int(limit.rstrip("%")) / 100))
