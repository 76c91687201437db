"""The truth that the operator has to find: the states of machines and environments, and the verdicts that follow.

It is written apart from the operator and uses neither its tables nor its assessment. The harness records each change that
it makes here, with its time.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gpuenv_sandbox.fleet.physics import CUDA_OF_BRANCH, branch

S = TypeVar("S")
Verdicts = frozenset[str]

UNKNOWN: Verdicts = frozenset({"Unknown"})
FAULT_VERDICTS = {
    "uvmMissing": "Incompatible",
    "driverMismatch": "Incompatible",
    "fabricNotReady": "Incompatible",
    "gpuLost": "Incompatible",
    "noGpuInContainer": "Incompatible",
    "probeCrashes": "Unknown",
    "garbageReport": "Unknown",
    "probeOom": "Unknown",
    "probeHangs": "Unknown",
}
"""The faults that this test gives to machines, and the verdict of docs/scenario.md for each."""
IMAGES = {"example/torch:cuda12": (12, 8), "example/torch:cuda13": (13, 0)}
"""The images of the environments, with the CUDA version of each. The scenario gives them these contents."""


@dataclass(frozen=True)
class Machine:
    """The state of one machine. ``boot`` counts its boots, ``uid`` is that of its Node object, "" without one."""

    name: str
    driver: str
    fault: str = ""
    boot: int = 0
    uid: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> tuple[str, int, str]:
        """What a stored result must have been measured on."""
        return self.uid, self.boot, self.driver


def verdicts(spec: dict[str, Any], machine: Machine) -> Verdicts:
    """Return the verdicts that a run of an environment on this machine may lead to: one, unless two faults compete."""
    found = set()
    if machine.fault:
        found.add(FAULT_VERDICTS[machine.fault])
    cuda = CUDA_OF_BRANCH[max(known for known in CUDA_OF_BRANCH if known <= branch(machine.driver))]
    if cuda[0] < IMAGES[spec["image"]][0]:
        found.add("Incompatible")
    lowest = (spec.get("expect") or {}).get("driver", "").removeprefix(">=")
    if lowest and branch(machine.driver) < int(lowest):
        found.add("Incompatible")
    return frozenset(found or {"Compatible"})


def selects(spec: dict[str, Any], machine: Machine) -> bool:
    """Return whether the environment selects this machine, which has a Node object."""
    wanted = ((spec.get("nodes") or {}).get("selector") or {}).get("matchLabels") or {}
    return bool(machine.uid) and wanted.items() <= dict(machine.labels).items()


@dataclass
class History(Generic[S]):
    """The states of one thing, each with the monotonic time from which it was true."""

    times: list[float] = field(default_factory=list)
    states: list[S] = field(default_factory=list)

    def add(self, state: S) -> None:
        self.times.append(time.monotonic())
        self.states.append(state)

    @property
    def now(self) -> S:
        return self.states[-1]

    def during(self, start: float, end: float) -> Iterator[S]:
        """Yield each state that was true at some time from ``start`` to ``end``."""
        first = max(0, bisect_right(self.times, start) - 1)
        for since, state in zip(self.times[first:], self.states[first:], strict=True):
            if since <= end:
                yield state


@dataclass
class Truth:
    """All that the harness has done to machines and environments. ``specs`` has None while an environment is away."""

    machines: dict[str, History[Machine]] = field(default_factory=dict)
    specs: dict[str, History[dict[str, Any] | None]] = field(default_factory=dict)
    meddled: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the harness last touched the label of a node (node, environment) itself."""
    disturbances: list[tuple[float, float]] = field(default_factory=list)
    """When the operator could not work because of a fault: from and until, in monotonic seconds."""

    def machine(self, state: Machine) -> None:
        self.machines.setdefault(state.name, History()).add(state)

    def spec(self, environment: str, spec: dict[str, Any] | None) -> None:
        self.specs.setdefault(environment, History()).add(spec)

    def disturbed(self, start: float, end: float) -> float:
        """Return how many seconds between ``start`` and ``end`` were disturbed."""
        total, until = 0.0, start
        for since, to in sorted(self.disturbances):
            total += max(0.0, min(to, end) - max(since, until))
            until = max(until, min(to, end))
        return total

    def selected(self) -> Iterator[tuple[str, dict[str, Any], Machine]]:
        """Yield each validation that must exist: the environment's name, its specification and the machine."""
        for name, specs in self.specs.items():
            spec = specs.now
            for machine in self.machines.values():
                if spec is not None and selects(spec, machine.now):
                    yield name, spec, machine.now
