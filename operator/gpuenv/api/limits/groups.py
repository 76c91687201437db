"""Groups of environments: Kubernetes does not say who made an environment, so names tell whose it is."""

from collections.abc import Iterable
from dataclasses import dataclass

from gpuenv.api.limits.patterns import matches

OTHERS = ""
"""Stands for the group of all environments that no group names."""


@dataclass(frozen=True, slots=True)
class Group:
    """Environments, by patterns of their names, that take turns and count together, such as those of one team."""

    name: str
    environments: tuple[str, ...]
    max_environments: int | None = None
    """The largest number of environments of the group; None: they count for the number of all environments."""
    gpu_seconds_per_day: int | None = None
    """How many GPU-seconds all of them together may use in a day (UTC), 0: any number; None: each has its own budget."""


def group_of(environment: str, groups: Iterable[Group]) -> str:
    """Return the name of the first group that has a pattern for the environment, or OTHERS if none has."""
    return next((one.name for one in groups if matches(environment, one.environments)), OTHERS)
