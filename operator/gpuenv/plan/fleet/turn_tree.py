"""The tree in which environments take turns, and the number of places that each branch of it holds.

All places are at the top, then come the groups, and below each group its environments. The silent environments of a
group, whose runs bring no answers, share one branch (:mod:`gpuenv.plan.fleet.places` says which these are).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

SILENT: Final = ""
"""The name of the branch that the silent environments of a group share. No environment has an empty name."""


@dataclass(slots=True, eq=False)
class Branch:
    """All places, a group, the silent environments of a group, or one environment."""

    name: str
    above: "Branch | None" = None
    below: "dict[str, Branch]" = field(default_factory=dict)
    active: bool = False
    """Whether it runs something, or wants to."""
    share: float = 0.0
    """How many places it may hold while everybody else wants some: an equal part of the share above it."""
    held: int = 0
    """How many places it holds."""
    long: int = 0
    """How many of these places have been held for so long that others need not wait for them."""
    counted: int = 0
    """How many of its places count when it asks for another one.

    The long ones by which branches below it exceed their shares do not count.
    """
    last_start: float = 0.0
    """When its last pod was created, or its last run ended, in epoch seconds."""
    _charged: int = 0
    """How many of its places count for the branch above it."""

    def branch(self, name: str) -> "Branch":
        """Return the branch of this name below this one. It is added if it does not exist yet."""
        if name not in self.below:
            self.below[name] = Branch(name, above=self)
        return self.below[name]

    def upwards(self) -> Iterator["Branch"]:
        """Yield this branch and all those above it, up to the one of all places."""
        branch: Branch | None = self
        while branch is not None:
            yield branch
            branch = branch.above

    def activate(self) -> None:
        """Note that the branch runs something, or wants to, and therefore so do those above it."""
        for branch in self.upwards():
            branch.active = True

    def divide(self, share: float) -> None:
        """Give the branch this share, and those below it equal parts of it."""
        self.share = share
        active = sum(branch.active for branch in self.below.values())
        for branch in self.below.values():
            branch.divide(share / max(1, active))

    def is_below_share(self) -> bool:
        """Return whether this branch and those above it hold less than their shares, as far as their places count."""
        return all(branch.counted < branch.share for branch in self.upwards())

    def hold(self, places: int, long: int = 0, last_start: float = 0.0) -> None:
        """Add so many places to this branch, which must have none below it, and to those above it."""
        self.counted += places
        for branch in self.upwards():
            branch.held += places
            branch.long += long
            branch.last_start = max(branch.last_start, last_start)
            charged = branch._charge()
            if branch.above is not None:
                branch.above.counted += charged - branch._charged
            branch._charged = charged

    def _charge(self) -> int:
        """Return how many places count for the branch above: not the long ones by which this one exceeds its share."""
        long = self.long - (self.held - self.counted)
        return self.counted - min(max(0, long), max(0, self.counted - int(self.share)))

    def compare(self, key: Callable[["Branch"], tuple[object, ...]]) -> tuple[tuple[object, ...], ...]:
        """Return what orders this branch among all: the keys of the branches on its path, from the top.

        Branches are first compared where their paths part, because what they have in common has equal keys. The name
        is the last part of each key, so that paths of equal keys do not mix.
        """
        path = reversed([branch for branch in self.upwards() if branch.above is not None])
        return tuple((*key(branch), branch.name) for branch in path)
