"""What the operator remembers about an environment in ``status.internal``, apart from the GPU time that was used.

It is about changes: which mass change stands or was accepted last, and for which expectations all nodes were assessed.
Nobody else may rely on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpuenv.api.tolerant import integer, mapping, text
from gpuenv.plan.snapshot import EnvironmentRecord

MASS_CHANGE: Final = "massChange"
EXPECTATIONS: Final = "expectationsHash"
UNSETTLED: Final = "-"
"""In place of the expectations' hash: some nodes do not show yet what follows from the first expectations recorded."""


@dataclass(frozen=True, slots=True)
class EnvironmentMemory:
    """What the operator remembers about an environment.

    ``last_change`` numbers the mass changes of the environment: each that begins, or that becomes another one, has the
    next number. ``accepted_change`` is the number of the last one that was accepted, 0 if none was. ``causes`` says on how
    many nodes each cause had been seen when the standing mass change got its number; {} if none stands.
    ``expectations_hash`` is the digest of the expectations that all nodes were last assessed with, "" if not recorded.
    """

    last_change: int = 0
    accepted_change: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)
    expectations_hash: str = ""


def environment_memory(status: Mapping[str, Any]) -> EnvironmentMemory:
    """Return what the status of an environment remembers. Values of a wrong type count as absent."""
    internal = mapping(status, "internal")
    change = mapping(internal, MASS_CHANGE)
    causes = {cause: integer(nodes) or 0 for cause, nodes in mapping(change, "causes").items()}
    return EnvironmentMemory(
        last_change=integer(change.get("last")) or 0,
        accepted_change=integer(change.get("accepted")) or 0,
        causes=causes,
        expectations_hash=text(internal.get(EXPECTATIONS)),
    )


def memory_data(memory: EnvironmentMemory) -> dict[str, Any]:
    """Return the memory as it is stored, without what has no value."""
    change = {"last": memory.last_change, "accepted": memory.accepted_change, "causes": dict(memory.causes)}
    kept = {name: value for name, value in change.items() if value}
    fields = {MASS_CHANGE: kept, EXPECTATIONS: memory.expectations_hash}
    return {name: value for name, value in fields.items() if value}


def expectations_changed(environment: EnvironmentRecord, memory: EnvironmentMemory) -> bool:
    """Return whether not all nodes have been assessed with the present expectations since somebody changed them.

    The status of an environment that has not been changed since an older version of gpuenv wrote it says nothing about
    its expectations. They are then those of its generation. A status that was lost, as after a restore from a backup,
    says that nobody has changed anything.
    """
    if memory.expectations_hash:
        return memory.expectations_hash != environment.expectations_hash
    return integer(environment.status.get("observedGeneration")) not in (None, environment.generation)


def settled_expectations(environment: EnvironmentRecord, memory: EnvironmentMemory, *, settled: bool) -> str:
    """Return the digest of expectations to remember. ``settled``: all nodes show what follows from the present ones.

    Where an older version of gpuenv has written a status, nothing is recorded before somebody changes the environment, so
    that an upgrade writes no status.
    """
    if not environment.status:
        return environment.expectations_hash
    if not expectations_changed(environment, memory):
        return memory.expectations_hash
    return environment.expectations_hash if settled else memory.expectations_hash or UNSETTLED
