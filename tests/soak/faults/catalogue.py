"""The register of faults. A fault has a name ``family.kind``, drawn parameters, and a function that makes it.

All chance is in the parameters, which are drawn before the round begins. So a log of names, times and parameters is
enough to make the same faults again. Whatever exists only in the running cluster, such as a pod, is chosen by a number
from 0 to 1: its place in the sorted list.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.soak.world import World

MISSED = "there was none"
"""What a fault says that has found nothing to hit."""
T = TypeVar("T")
Draw = Callable[[Random], Any]
Make = Callable[..., Awaitable[str]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how its parameters are drawn, and the function that makes it and says what it has hit."""

    name: str
    parameters: dict[str, Draw]
    make: Make
    blinds: float | None
    """For how many seconds after the fault the operator may still be unable to work; None if it can work meanwhile."""

    def draw(self, random: Random) -> dict[str, Any]:
        return {key: draw(random) for key, draw in self.parameters.items()}


FAULTS: dict[str, Fault] = {}


def fault(name: str, /, *, blinds: float | None = None, **parameters: Draw) -> Callable[[Make], Make]:
    """Register a function as a fault. It is called with the world and a value drawn for each of ``parameters``."""

    def register(make: Make) -> Make:
        FAULTS[name] = Fault(name, parameters, make, blinds)
        return make

    return register


def between(low: float, high: float) -> Draw:
    return lambda random: round(random.uniform(low, high), 2)


def one_of(*values: Any) -> Draw:
    return lambda random: random.choice(values)


def chance(share: float) -> Draw:
    return lambda random: random.random() < share


def any_of_them(random: Random) -> float:
    """Draw a place in a list that is known only when the fault is made."""
    return round(random.random(), 4)


def number(random: Random) -> int:
    """Draw a seed for what is decided for each request."""
    return random.randrange(1 << 30)


def pick(found: Sequence[T], place: float) -> T | None:
    """Return the element at a place from 0 to 1, or None of an empty list."""
    return found[min(len(found) - 1, int(place * len(found)))] if found else None


__all__ = [
    "FAULTS",
    "Fault",
    "World",
    "any_of_them",
    "between",
    "chance",
    "fault",
    "number",
    "one_of",
    "pick",
]
