"""Decide whether the node reports of an environment answer everything that was asked, and what they answer.

The objects are read one after another while the operator writes, so the order matters: first the environment, then its
node reports. The operator writes a node report before it writes a status that takes the report into account. What the
status says about the nodes (they have their answers, they have taken an annotation into account) is therefore true of
reports that are read later. Verdicts come from the reports alone, because the status may be older than they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.api.objects import condition
from gpuenv.api.tolerant import integer, mapping, text
from gpuenv.assess.model import Verdict
from gpuenv.cli.shared import cluster
from gpuenv.cli.shared.cluster import Object
from gpuenv.plan.demand import MAX_TOKEN, NOTHING_ASKED, Demand, demand
from gpuenv.plan.objects import node_report

NOT_SEEN: Final = "the operator has not looked at it yet; is it running?"
ASKED: Final = "a new run was asked for and is not answered yet"
BEHIND: Final = "the environment's status does not include the newest node reports yet"
_PASSING: Final = frozenset({reasons.Stale, reasons.NotYetValidated})
"""Reasons of verdicts that a run will replace."""


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What one node report says about its node.

    ``asked`` is what the report's own revalidate annotation asks for, ``observed`` what the last run took into account.
    ``settled``: there is a verdict, and no run is about to replace it. ``without_result`` is the reason why runs that
    somebody asked for led to no result, so that an earlier verdict stands; "" if they did.
    """

    node: str
    verdict: Verdict
    reason: str
    message: str
    asked: Demand
    observed: Demand
    settled: bool
    without_result: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What is still missing, and the nodes that it is missing on, as far as they are known."""

    words: str
    nodes: tuple[str, ...] = ()


def node_answer(report: Object) -> NodeAnswer:
    """Return what a GPUNodeReport says."""
    status = mapping(report, "status")
    reason = text(status.get("reason"))
    last = text(mapping(status, "lastAttempt").get("reason"))
    return NodeAnswer(
        node=text(mapping(report, "spec").get("nodeName")),
        verdict=cluster.verdict(report),
        reason=reason,
        message=text(status.get("message")),
        asked=demand("", token_of(report)),
        observed=node_report.observed_demand(status),
        settled=bool(status.get("verdict"))
        and reason not in _PASSING
        and not node_report.awaits_confirmation(status),
        without_result=last if node_report.owes_answer(status) else "",
    )


def token_of(raw: Object) -> str:
    """Return the value of the revalidate annotation of an environment or a node report, "" without one."""
    return text(mapping(raw, "metadata", "annotations").get(names.ANNOTATION_REVALIDATE))


def selected(environment: Object) -> int:
    """Return the number of nodes that the environment selects according to its status."""
    return integer(mapping(environment, "status", "summary").get("selected")) or 0


def unready(environment: Object) -> Missing | None:
    """Return what is missing according to the environment alone, or None if its node reports have to be looked at.

    Labels that a mass change holds back are not waited for: the node reports have the answers.
    """
    ready = condition(environment, "Ready")
    is_ready = ready.get("status") == "True" or ready.get("reason") == reasons.MassChange
    if not is_ready or not selected(environment):
        return Missing(text(ready.get("message")) or NOT_SEEN)
    return None


def missing(environment: Object, answers: Sequence[NodeAnswer]) -> Missing | None:
    """Return what is missing according to the node reports, or None if they answer everything that was asked.

    ``environment`` was read before the reports of ``answers``, and :func:`unready` has found nothing missing in it.
    """
    observed = text(mapping(environment, "status").get("observedRevalidate"))
    is_observed = token_of(environment)[:MAX_TOKEN] in ("", observed)
    everywhere = NOTHING_ASKED if is_observed else demand(token_of(environment), "")
    waiting = [
        one.node
        for one in answers
        if one.asked.asks_beyond(one.observed) or everywhere.asks_all_beyond(one.observed)
    ]
    if waiting:
        return Missing(ASKED, tuple(sorted(waiting)))
    open_ = sorted(one.node for one in answers if not one.settled)
    if open_:
        return Missing("not answered yet", tuple(open_))
    few, many = selected(environment) - len(answers), len(answers) - selected(environment)
    if few > 0:
        return Missing(f"{_reports(few)} missing")
    if many > 0:
        return Missing(f"{_reports(many)} left of nodes that are not selected any more")
    if not is_observed or _counts(answers) != _counted(environment):
        return Missing(BEHIND)
    return None


def _reports(count: int) -> str:
    return "1 node report is" if count == 1 else f"{count} node reports are"


def _counts(answers: Sequence[NodeAnswer]) -> dict[Verdict, int]:
    found = Counter(one.verdict for one in answers)
    return {verdict: found[verdict] for verdict in Verdict}


def _counted(environment: Object) -> dict[Verdict, int]:
    summary = mapping(environment, "status", "summary")
    return {verdict: integer(summary.get(verdict.value.lower())) or 0 for verdict in Verdict}


def is_unasked(environment: Object, answer: NodeAnswer) -> bool:
    """Return whether the node has a verdict from before the run that the environment's annotation asks for.

    Once the environment's status has observed the annotation, this is so only where no run could start.
    """
    asked = demand(token_of(environment), "").asks_all_beyond(answer.observed)
    return asked and answer.verdict is not Verdict.UNKNOWN


def is_older(environment: Object, answer: NodeAnswer) -> bool:
    """Return whether the node's verdict is older than what was asked, because no run could start or give a result."""
    without = bool(answer.without_result) and answer.verdict is not Verdict.UNKNOWN
    return without or is_unasked(environment, answer)


def verdicts(environment: Object, answers: Sequence[NodeAnswer]) -> list[Verdict]:
    """Return the verdict on each node; Unknown where it is older than what was asked."""
    return [Verdict.UNKNOWN if is_older(environment, one) else one.verdict for one in answers]


def result(environment: Object, answers: Sequence[NodeAnswer]) -> str:
    """Return the answer in words: how many nodes are compatible, and the worst problem."""
    found = [one for one in answers if not is_older(environment, one)]
    problems = Counter((one.verdict, one.reason or one.verdict.value) for one in found)
    del problems[Verdict.COMPATIBLE, Verdict.COMPATIBLE.value]
    words = f"{sum(one.verdict is Verdict.COMPATIBLE for one in found)}/{len(answers)} compatible"
    if problems:
        (_, reason), count = min(
            problems.items(), key=lambda entry: (-entry[0][0].severity, -entry[1], entry[0][1])
        )
        words += f"; {reason} on {count} node{'s' if count > 1 else ''}"
        if len(problems) > 1:
            words += f", {len(problems) - 1} more problem{'s' if len(problems) > 2 else ''}"
    return words
