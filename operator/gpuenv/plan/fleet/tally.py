"""Count the desired states of an environment on some of the nodes.

The tallies of all nodes add up to the totals of the environment (:mod:`gpuenv.plan.fleet.totals`). In a large fleet few
nodes change from one plan to the next, so only the tallies with these nodes are made anew.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpuenv.api import reasons
from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.api.remedies import Remedies
from gpuenv.assess import observed_versions
from gpuenv.assess.model import Verdict
from gpuenv.plan.objects.times import is_ahead
from gpuenv.plan.snapshot import NEVER, ReportRecord
from gpuenv.plan.validation.desired_state import DesiredState

Outcome = tuple[Verdict, str]
"""(verdict, reason)."""
Words = tuple[str, Remedies]
"""(message, remedies) that explain an outcome."""
Versions = tuple[tuple[str, str], ...]
Content = tuple[str, str, Versions]
"""(image digest, platform, names and versions of the software in the image) that a node found in the image."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one environment over some of the nodes, and those of their desired states that need an action.

    :class:`gpuenv.plan.fleet.totals.Totals` explains the fields that both have.
    """

    selected: int
    verdicts: Mapping[Verdict, int]
    answered: int
    running: int
    waiting: int
    asked: int
    unreported: int
    outdated: int
    unwritten: frozenset[str]
    unpublished: frozenset[str]
    differing: frozenset[str]
    problems: Mapping[Outcome, Mapping[Words, Sequence[str]]]
    """The names of the nodes that show an outcome other than Compatible, by outcome and by what explains it there."""
    contents: Mapping[Content, int]
    acting: tuple[DesiredState, ...]
    due: tuple[DesiredState, ...]
    kept: tuple[DesiredState, ...]
    leaving: tuple[DesiredState, ...]
    faults: tuple[tuple[str, str], ...]
    """(node, fault) of each state that could not be computed."""
    recheck_at: float
    last_run_at: float
    departed: tuple[DesiredState, ...]
    worsening: bool
    answering: frozenset[str]
    unanswered: frozenset[str]


def tally(inputs_hash: str, states: Sequence[DesiredState], now: float) -> Tally:
    """Return the counts over these desired states of an environment whose inputs have this digest, at ``now``."""
    selected = [one for one in states if one.selected]
    reports = [one.report for one in selected if one.report is not None]
    return Tally(
        selected=len(selected),
        verdicts=Counter(one.shown.verdict for one in selected),
        answered=sum(one.shown.answered for one in selected),
        running=sum(one.live for one in selected),
        waiting=sum(not one.shown.answered and not one.live for one in selected),
        asked=sum(one.asked for one in selected),
        unreported=len(selected) - len(reports),
        outdated=sum(one.outdated for one in selected),
        unwritten=frozenset(one.node for one in selected if one.unwritten),
        unpublished=frozenset(one.node for one in selected if one.unpublished),
        differing=frozenset(one.node for one in selected if one.differs),
        problems=_problems(selected),
        contents=_contents(selected),
        acting=tuple(one for one in states if one.actions),
        due=tuple(one for one in selected if one.due is not None),
        kept=tuple(one for one in states if one.kept is not None),
        leaving=tuple(one for one in states if one.leaving),
        faults=tuple((one.node, one.fault) for one in states if one.fault),
        recheck_at=min((one.recheck_at for one in states), default=NEVER),
        last_run_at=max(
            (
                one.report.last_run_at
                for one in states
                if one.report and not is_ahead(one.report.last_run_at, now)
            ),
            default=0.0,
        ),
        departed=tuple(one for one in selected if one.departure is not None),
        worsening=any(
            one.before is Verdict.COMPATIBLE
            and one.shown.verdict is not Verdict.COMPATIBLE
            and not one.refused
            for one in selected
        ),
        answering=frozenset(
            one.node for one in reports if one.result is not None and one.result.inputs_hash == inputs_hash
        ),
        unanswered=frozenset(one.node for one in reports if _brought_none(one, inputs_hash)),
    )


def _brought_none(report: ReportRecord, inputs_hash: str) -> bool:
    """Return whether the last run, with these inputs, took place but was stopped for its time or brought no answer."""
    attempt, result = report.attempt, report.result
    if attempt is not None:
        return attempt.inputs_hash == inputs_hash and not reasons.behaviour(attempt.reason).excused
    if result is None or result.pod_check is None or result.inputs_hash != inputs_hash:
        return False
    return result.pod_check.reason == reasons.ProbeTimeout


def _problems(selected: Iterable[DesiredState]) -> dict[Outcome, dict[Words, list[str]]]:
    """Return the nodes that show an outcome other than Compatible, without those that have not been validated yet."""
    found: dict[Outcome, dict[Words, list[str]]] = {}
    for one in selected:
        waits = one.report is None or one.shown.reason == reasons.NotYetValidated
        if not waits and one.shown.verdict is not Verdict.COMPATIBLE:
            by_words = found.setdefault((one.shown.verdict, one.shown.reason), {})
            by_words.setdefault((one.shown.message, one.shown.remedies), []).append(one.node)
    return found


def _contents(selected: Iterable[DesiredState]) -> Mapping[Content, int]:
    """Return the contents that nodes found in the environment's image, each with the number of nodes."""
    found: Counter[Content] = Counter()
    for one in selected:
        result = one.report.result if one.report is not None else None
        if result is not None and one.shown.current and (result.image_digest or result.versions):
            found[result.image_digest, result.platform, _of_image(result.versions)] += 1
    return found


@bounded_cache(max_bytes=1 << 20)
def _of_image(versions: Versions) -> Versions:
    """Return the versions of what is in the image. It is cached, because all nodes usually find the same ones."""
    return tuple(entry for entry in versions if entry[0] in observed_versions.IMAGE)
