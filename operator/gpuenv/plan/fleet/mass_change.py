"""Notice that many nodes leave Compatible at once, and hold their labels back until somebody accepts the change.

A table with a mistake, a new driver or a broken image could otherwise close the whole fleet within a minute. The rule:

- A node counts if it leaves Compatible although nobody changed the environment (:mod:`gpuenv.plan.validation.departure`):
  for as long as its label would have to change, and then for ``mass_change_window_seconds``, unless it comes back.
- If more nodes count than may change without being asked for, labels that say Compatible are held back. All other
  changes of labels go on, reports and statuses are always true, and no label becomes better than its report.
- It ends when somebody accepts the change, when so many nodes are Compatible again that the rest is small, or for each
  node whose inputs or expectations somebody changes, or that is rebooted.

Nothing but the stored reports, labels and status decides, so that a restart of the operator changes nothing.
``docs/mass-change.md`` explains it to administrators.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gpuenv.api.spec.digest import digest
from gpuenv.assess.model import Verdict
from gpuenv.plan.moment import Moment
from gpuenv.plan.objects.environment_memory import EnvironmentMemory, environment_memory
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import NEVER, EnvironmentRecord
from gpuenv.plan.validation.desired_state import DesiredState

ID_DIGITS: Final = 8
"""The number of hexadecimal digits in the id of a mass change."""
CAUSES_NAMED: Final = 3
"""How many causes a message names."""
CAUSES_KEPT: Final = 16
"""How many causes are told apart. Images and labels contribute to causes, so there can be as many as nodes."""
OTHER_CAUSES: Final = "other causes"
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class MassChange:
    """The mass change of an environment that stands, if any, and what has to be remembered.

    ``id`` names the change, "" if none stands. ``held`` are the names of the nodes whose label or condition is held
    back, sorted. ``message`` says in one line what changes on how many nodes. ``causes`` are the nodes by cause for
    which the id was made. ``until`` is when one of the counted nodes counts no more, in steady seconds.
    """

    last_change: int = 0
    accepted_change: int = 0
    id: str = ""
    held: tuple[str, ...] = ()
    message: str = ""
    causes: Mapping[str, int] = field(default_factory=dict)
    until: float = NEVER


def mass_change(
    environment: EnvironmentRecord,
    settings: Settings,
    departed: Sequence[DesiredState],
    selected: int,
    now: Moment,
) -> MassChange:
    """Return the mass change of the environment at ``now``.

    ``departed`` are the desired states of its nodes with a departure, and ``selected`` is the number of all its nodes.
    """
    memory = environment_memory(environment.status)
    leaving = [one for one in departed if one.retractions]
    left = _left_lately(departed, settings, now)
    most = allowed(settings, selected)
    counted = _causes([*leaving, *(one for one, _ in left)])
    is_known = bool(memory.causes) and (most is None or _growth(memory.causes, counted) <= most)
    if is_known and environment.accept_change == _id(environment, memory.last_change, memory.causes):
        # Also in the plans in which no label is held back any more, until the status remembers it.
        return MassChange(memory.last_change, accepted_change=memory.last_change)
    if most is None or not leaving or len(leaving) + len(left) <= most:
        return MassChange(memory.last_change, memory.accepted_change)
    number = memory.last_change if is_known else memory.last_change + 1
    causes = memory.causes if is_known else counted
    return MassChange(
        number,
        memory.accepted_change,
        _id(environment, number, causes),
        tuple(sorted(one.node for one in leaving)),
        _message(len(leaving), len(left), selected, counted, settings),
        causes,
        min((until for _, until in left), default=NEVER),
    )


def remembered(change: MassChange, expectations_hash: str) -> EnvironmentMemory:
    """Return what has to be remembered of the change, together with ``expectations_hash``."""
    return EnvironmentMemory(change.last_change, change.accepted_change, change.causes, expectations_hash)


def allowed(settings: Settings, selected: int) -> int | None:
    """Return how many of the selected nodes may leave Compatible without being asked for; None if all may."""
    if settings.mass_change_percent <= 0:
        return None
    return max(settings.mass_change_min_nodes - 1, selected * settings.mass_change_percent // 100)


def _left_lately(
    departed: Iterable[DesiredState], settings: Settings, now: Moment
) -> list[tuple[DesiredState, float]]:
    """Return the nodes that left Compatible within the window and do not show it any more, each with when that ends.

    A time in the future, which a wrong clock has written, counts as now.
    """
    found = []
    for one in departed:
        if one.departure is None or one.retractions or one.shown.verdict is Verdict.COMPATIBLE:
            continue
        until = min(one.departure.at, now.wall) + settings.mass_change_window_seconds
        if now.wall < until:
            found.append((one, now.steady_at(until)))
    return found


def _causes(states: Iterable[DesiredState]) -> dict[str, int]:
    """Return the number of nodes by cause, largest first. Beyond CAUSES_KEPT, the rest has one name."""
    found = Counter(one.departure.cause for one in states if one.departure is not None)
    ordered = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
    kept = dict(ordered[:CAUSES_KEPT])
    more = sum(nodes for _, nodes in ordered[CAUSES_KEPT:])
    return kept | ({OTHER_CAUSES: kept.get(OTHER_CAUSES, 0) + more} if more else {})


def _growth(named: Mapping[str, int], counted: Mapping[str, int]) -> int:
    """Return how many nodes there are beyond those for which the standing change got its id."""
    return sum(max(0, nodes - named.get(cause, 0)) for cause, nodes in counted.items())


def _id(environment: EnvironmentRecord, number: int, causes: Mapping[str, int]) -> str:
    """Return the id of a change: no other change, of this or another environment, ever has the same."""
    return digest([environment.uid, number, causes])[:ID_DIGITS]


def _message(leaving: int, left: int, selected: int, causes: Mapping[str, int], settings: Settings) -> str:
    named = ", ".join(f"{cause} ({nodes})" for cause, nodes in list(causes.items())[:CAUSES_NAMED])
    more = len(causes) - CAUSES_NAMED
    named += f" and {more} more cause{'s' if more > 1 else ''}" if more > 0 else ""
    before = ""
    if left:
        hours = settings.mass_change_window_seconds / _HOUR
        before = f", after {left} in the last {hours:g} h"
    return f"{leaving} of {selected} nodes would leave Compatible{before}: {named}"
