"""What a bench is told: how large its fleet is and how long it measures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The size of a bench. ``minutes`` is how long a bench watches a fleet that has nothing to do."""

    nodes: int
    environments: int = 10
    minutes: float = 10.0
