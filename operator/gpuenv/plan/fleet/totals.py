"""Sum up the desired states of an environment on all nodes, for its status, its runs and its removals."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpuenv.api import reasons
from gpuenv.api.remedies import Remedies
from gpuenv.assess import observed_versions
from gpuenv.assess.model import Verdict
from gpuenv.plan.context import Context
from gpuenv.plan.snapshot import NEVER, ReportRecord, Usage
from gpuenv.plan.validation.desired_state import DesiredState

Content = tuple[str, str, tuple[tuple[str, str], ...]]
"""(image digest, platform, names and versions of the software in the image) that a node found in the image."""


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
    """The counts of one environment over all nodes, and the desired states that need an action.

    ``acting`` are the states with actions, ``due`` those with a run that may start now, ``kept`` those with a failed
    pod that is kept for its log, ``leaving`` those of nodes that are no longer selected.
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
    usage: Usage | None = None
    """The GPU-seconds used today; None if the administrator sets no budget."""
    spent: str = ""
    """Why no further run starts today: the environment has spent its budget. It is "" if runs may start."""


def totals(context: Context, states: Sequence[DesiredState]) -> Totals:
    """Return the totals of the desired states of an environment on all nodes."""
    selected = [one for one in states if one.selected]
    reports = [one.report for one in selected if one.report is not None]
    unanswered = frozenset(one.node for one in reports if _brought_none(one, context.inputs_hash))
    answering = frozenset(
        one.node
        for one in reports
        if one.result is not None and one.result.inputs_hash == context.inputs_hash
    )
    return Totals(
        context=context,
        selected=len(selected),
        verdicts=dict(Counter(one.shown.verdict for one in selected)),
        answered=sum(one.shown.answered for one in selected),
        running=sum(one.live for one in selected),
        waiting=sum(not one.shown.answered and not one.live for one in selected),
        asked=sum(one.asked for one in selected),
        unreported=sum(one.report is None for one in selected),
        outdated=sum(one.outdated for one in selected),
        unwritten=frozenset(one.node for one in selected if one.unwritten),
        unpublished=frozenset(one.node for one in selected if one.unpublished),
        differing=frozenset(one.node for one in selected if one.differs),
        problems=tuple(_problems(selected)),
        contents=_contents(selected),
        acting=tuple(one for one in states if one.actions),
        due=tuple(one for one in selected if one.due is not None),
        kept=tuple(one for one in states if one.kept is not None),
        leaving=tuple(one for one in states if one.leaving),
        faults=tuple(one.fault for one in states if one.fault),
        recheck_at=min((one.recheck_at for one in states), default=NEVER),
        last_run_at=max((one.report.last_run_at for one in states if one.report is not None), default=0.0),
        answering=answering - unanswered,
        unanswered=unanswered,
    )


def _brought_none(report: ReportRecord, inputs_hash: str) -> bool:
    """Return whether the last run, with these inputs, took place but was stopped for its time or brought no answer."""
    attempt, result = report.attempt, report.result
    if attempt is not None:
        return attempt.inputs_hash == inputs_hash and not reasons.behaviour(attempt.reason).excused
    if result is None or result.pod_check is None or result.inputs_hash != inputs_hash:
        return False
    return result.pod_check.reason == reasons.ProbeTimeout


def _problems(selected: Iterable[DesiredState]) -> list[Problem]:
    """Return the problems, the worst verdict first, then the largest number of nodes.

    Nodes that have not been validated yet are left out.
    """
    groups: dict[tuple[Verdict, str], list[DesiredState]] = {}
    for one in selected:
        waits = one.report is None or one.shown.reason == reasons.NotYetValidated
        if not waits and one.shown.verdict is not Verdict.COMPATIBLE:
            groups.setdefault((one.shown.verdict, one.shown.reason), []).append(one)
    problems = [_problem(verdict, reason, found) for (verdict, reason), found in groups.items()]
    problems.sort(key=lambda one: (-one.verdict.severity, -one.count, one.reason))
    return problems


def _problem(verdict: Verdict, reason: str, found: list[DesiredState]) -> Problem:
    # The most frequent message is shown. Of equally frequent ones it is the first in the alphabet, in every plan.
    words = Counter((one.shown.message, one.shown.remedies) for one in found)
    message, remedies = min(words, key=lambda one: (-words[one], one))
    nodes = tuple(sorted(one.node for one in found))
    return Problem(verdict, reason, len(found), nodes, message, remedies)


def _contents(selected: Iterable[DesiredState]) -> tuple[tuple[Content, int], ...]:
    """Return the contents that nodes found in the environment's image, each with the number of nodes, largest first."""
    found: Counter[Content] = Counter()
    for one in selected:
        result = one.report.result if one.report is not None else None
        if result is not None and one.shown.current and (result.image_digest or result.versions):
            versions = tuple(entry for entry in result.versions if entry[0] in observed_versions.IMAGE)
            found[result.image_digest, result.platform, versions] += 1
    return tuple(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
