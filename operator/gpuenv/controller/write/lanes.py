"""Which action of a plan begins next: environments take turns, and slow writes of one do not keep others waiting.

All actions of one kind for one environment are a lane. The number of actions that are under way is limited for each lane,
each environment, each kind, and over all. Webhooks that make three kinds of writes slow hold up these kinds, and nothing
else: for the other kinds there are always places left.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from gpuenv.controller.write.chains import Chain
from gpuenv.plan.actions import ChainAction

Kind = type[ChainAction]

PER_LANE: Final = 5
PER_ENVIRONMENT: Final = 16
PER_KIND: Final = 20
PLACES: Final = 64
"""How many actions may be under way at the same time, over all environments and kinds."""


class Places:
    """Counts the actions that are under way."""

    def __init__(self) -> None:
        self._all = 0
        self._kinds: Counter[Kind] = Counter()
        self._environments: Counter[str] = Counter()
        self._lanes: Counter[tuple[str, Kind]] = Counter()

    def has_room(self, environment: str, kind: Kind) -> bool:
        """Return whether another action of this kind may begin for this environment."""
        return (
            self._all < PLACES
            and self._kinds[kind] < PER_KIND
            and self._environments[environment] < PER_ENVIRONMENT
            and self._lanes[environment, kind] < PER_LANE
        )

    def enter(self, environment: str, kind: Kind) -> None:
        """Count an action that begins."""
        self._count(environment, kind, 1)

    def leave(self, environment: str, kind: Kind) -> None:
        """Count an action that has ended."""
        self._count(environment, kind, -1)

    def _count(self, environment: str, kind: Kind, change: int) -> None:
        self._all += change
        self._kinds[kind] += change
        self._environments[environment] += change
        self._lanes[environment, kind] += change
        if not self._environments[environment]:  # the names of environments that are gone are forgotten
            del self._environments[environment]
        if not self._lanes[environment, kind]:
            del self._lanes[environment, kind]


_Lanes = dict[Kind, deque[Chain]]


class Queue:
    """The chains of a plan that wait to begin or to go on.

    Environments take turns. Within an environment, chains that have begun go on first, so that a probe pod is deleted
    soon after its report is written. The others begin in the order in which they are given, as far as there is room.
    """

    def __init__(self, chains: Iterable[Chain]) -> None:
        self._begun: dict[str, _Lanes] = {}
        self._waiting: dict[str, _Lanes] = {}
        for chain in chains:
            _lane(self._waiting, chain).append(chain)
        self._turns = deque(self._waiting)
        self._size = sum(len(lane) for lanes in self._waiting.values() for lane in lanes.values())

    def __len__(self) -> int:
        return self._size

    def take(self, has_room: Callable[[str, Kind], bool]) -> Chain | None:
        """Remove and return the next chain whose first action may begin; None if none may begin now."""
        for _ in range(len(self._turns)):
            environment = self._turns[0]
            self._turns.rotate(-1)
            for lanes in (self._begun, self._waiting):
                for kind, lane in lanes.get(environment, {}).items():
                    if lane and has_room(environment, kind):
                        self._size -= 1
                        return lane.popleft()
        return None

    def go_on(self, chain: Chain) -> None:
        """Put in the rest of a chain that has begun."""
        self._size += 1
        _lane(self._begun, chain).append(chain)


def _lane(of: dict[str, _Lanes], chain: Chain) -> deque[Chain]:
    (environment, _), actions = chain
    return of.setdefault(environment, {}).setdefault(type(actions[0]), deque())
