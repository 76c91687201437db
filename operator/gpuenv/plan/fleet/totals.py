"""Sum up the desired states of an environment on all nodes, for its status, its runs and its removals."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gpuenv.api.remedies import Remedies
from gpuenv.assess.model import Verdict
from gpuenv.plan.context import Context
from gpuenv.plan.fleet.mass_change import MassChange
from gpuenv.plan.fleet.tally import Content, Outcome, Tally, Words
from gpuenv.plan.snapshot import NEVER, Usage
from gpuenv.plan.validation.desired_state import DesiredState, held_back

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """The nodes with the same verdict, other than Compatible, and the same reason.

    ``nodes`` are their names, sorted. ``message`` and ``remedies`` are those that most of them have.
    """

    verdict: Verdict
    reason: str
    count: int
    nodes: tuple[str, ...]
    message: str
    remedies: Remedies


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts of one environment over all nodes, and the desired states that need an action, sorted by node.

    ``acting`` are the states with actions, ``due`` those with a run that may start now, ``kept`` those with a failed
    pod that is kept for its log, ``leaving`` those of nodes that are no longer selected. ``departed`` are those of nodes
    that have left, or are about to leave, Compatible although nobody changed the environment.
    """

    context: Context
    selected: int
    verdicts: dict[Verdict, int]
    answered: int
    running: int
    waiting: int
    """The number of nodes whose verdict depends on a run that has not started yet."""
    asked: int
    """The number of nodes whose report lacks a run that the environment's revalidate annotation asks for.

    Nodes on which no run can start are not counted.
    """
    unreported: int
    """The number of nodes that have no node report, because no run has ended there."""
    outdated: int
    """The number of nodes whose result still has to be assessed with the present expectations and tables."""
    unwritten: frozenset[str]
    """The names of the nodes whose report, label or node condition still has to be written."""
    unpublished: frozenset[str]
    """The names of those ``unwritten`` nodes whose label or node condition still has to be written."""
    differing: frozenset[str]
    """The names of those ``unwritten`` nodes where report, label or condition is missing or shows another verdict."""
    problems: tuple[Problem, ...]
    contents: tuple[tuple[Content, int], ...]
    acting: tuple[DesiredState, ...]
    due: tuple[DesiredState, ...]
    kept: tuple[DesiredState, ...]
    leaving: tuple[DesiredState, ...]
    faults: tuple[str, ...]
    recheck_at: float
    last_run_at: float
    """When the environment's last run on any node ended, in epoch seconds; 0 if none has ended."""
    answering: frozenset[str] = frozenset()
    """The names of the nodes whose last run with the present inputs brought an answer."""
    unanswered: frozenset[str] = frozenset()
    """The names of the nodes whose last run with the present inputs took place, but was stopped or brought no answer."""
    departed: tuple[DesiredState, ...] = ()
    worsening: bool = False
    """Whether a report that says Compatible still has to be written anew with another verdict."""
    mass_change: MassChange = field(default_factory=MassChange)
    """The mass change that stands, if any. The actions that it holds back are left out of ``acting``."""
    usage: Usage | None = None
    """The GPU-seconds used today; None if the administrator sets no budget."""
    spent: str = ""
    """Why no further run starts today: the environment has spent its budget. It is "" if runs may start."""


def totals(context: Context, tallies: Sequence[Tally]) -> Totals:
    """Return the totals of an environment from the tallies of all nodes."""
    unanswered = _union(one.unanswered for one in tallies)
    faults = sorted(fault for one in tallies for fault in one.faults)
    return Totals(
        context=context,
        selected=sum(one.selected for one in tallies),
        verdicts=dict(_sum(one.verdicts for one in tallies)),
        answered=sum(one.answered for one in tallies),
        running=sum(one.running for one in tallies),
        waiting=sum(one.waiting for one in tallies),
        asked=sum(one.asked for one in tallies),
        unreported=sum(one.unreported for one in tallies),
        outdated=sum(one.outdated for one in tallies),
        unwritten=_union(one.unwritten for one in tallies),
        unpublished=_union(one.unpublished for one in tallies),
        differing=_union(one.differing for one in tallies),
        problems=tuple(_problems(tallies)),
        contents=_contents(tallies),
        acting=_by_node(one.acting for one in tallies),
        due=_by_node(one.due for one in tallies),
        kept=_by_node(one.kept for one in tallies),
        leaving=_by_node(one.leaving for one in tallies),
        faults=tuple(fault for _, fault in faults),
        recheck_at=min((one.recheck_at for one in tallies), default=NEVER),
        last_run_at=max((one.last_run_at for one in tallies), default=0.0),
        answering=_union(one.answering for one in tallies) - unanswered,
        unanswered=unanswered,
        departed=_by_node(one.departed for one in tallies),
        worsening=any(one.worsening for one in tallies),
    )


def with_mass_change(found: Totals, change: MassChange) -> Totals:
    """Return the totals with the mass change, and without the actions that it holds back."""
    recheck_at = min(found.recheck_at, change.until)
    if not change.held:
        return replace(found, mass_change=change, recheck_at=recheck_at)
    held = frozenset(change.held)
    acting = [held_back(one) if one.node in held else one for one in found.acting]
    return replace(
        found,
        acting=tuple(one for one in acting if one.actions),
        unwritten=found.unwritten - held | {one.node for one in acting if one.unwritten},
        unpublished=found.unpublished - held | {one.node for one in acting if one.unpublished},
        differing=found.differing - held | {one.node for one in acting if one.differs},
        mass_change=change,
        recheck_at=recheck_at,
    )


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _sum(counts: Iterable[Mapping[T, int]]) -> Counter[T]:
    found: Counter[T] = Counter()
    for one in counts:
        found.update(one)
    return found


def _by_node(groups: Iterable[tuple[DesiredState, ...]]) -> tuple[DesiredState, ...]:
    return tuple(sorted((one for group in groups for one in group), key=lambda one: one.node))


def _problems(tallies: Iterable[Tally]) -> list[Problem]:
    """Return the problems, the worst verdict first, then the largest number of nodes."""
    found: dict[Outcome, dict[Words, list[str]]] = {}
    for one in tallies:
        for outcome, by_words in one.problems.items():
            known = found.setdefault(outcome, {})
            for words, nodes in by_words.items():
                known.setdefault(words, []).extend(nodes)
    problems = [_problem(outcome, by_words) for outcome, by_words in found.items()]
    problems.sort(key=lambda one: (-one.verdict.severity, -one.count, one.reason))
    return problems


def _problem(outcome: Outcome, by_words: Mapping[Words, Sequence[str]]) -> Problem:
    # The most frequent message is shown. Of equally frequent ones it is the first in the alphabet, in every plan.
    message, remedies = min(by_words, key=lambda words: (-len(by_words[words]), words))
    nodes = tuple(sorted(node for found in by_words.values() for node in found))
    return Problem(*outcome, len(nodes), nodes, message, remedies)


def _contents(tallies: Iterable[Tally]) -> tuple[tuple[Content, int], ...]:
    """Return the contents that nodes found in the environment's image, each with the number of nodes, largest first."""
    found = _sum(one.contents for one in tallies)
    return tuple(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
