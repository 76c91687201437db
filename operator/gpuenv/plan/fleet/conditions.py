"""The status conditions of an environment. All but one are always set: ``kubectl wait`` waits forever for a missing one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.objects import held_words
from gpuenv.api.reasons import Reason
from gpuenv.api.tolerant import mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.clock_skew import skew_message
from gpuenv.plan.fleet.tally import Content
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.snapshot import EnvironmentRecord, Refusal

Json = dict[str, Any]

ACCEPTED: Final = "Accepted"
"""The operator acts on the specification."""
READY: Final = "Ready"
"""Every selected node has its answer, and reports, labels and node conditions are written."""
COMPATIBLE: Final = "Compatible"
"""Every selected node has the verdict Compatible."""
CONSISTENT: Final = "Consistent"
"""All nodes found the same content in the image."""
PUBLISHED: Final = "Published"
"""The nodes show their verdicts, as labels or conditions."""
STALLED: Final = "Stalled"
"""The operator waits until somebody corrects the specification. Tools such as Flux report True as a failure."""
CLOCK_SKEWED: Final = "ClockSkewed"
"""The clocks of the operator and the API server differ. It is the only condition that is absent as a rule."""
NAMED: Final = 3
"""How many problems or versions a message names."""
NO_NODES: Final = "spec.nodes.selector matches no node with GPUs"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its transition time. ``status`` is ``True``, ``False`` or ``Unknown``."""

    type: str
    status: str
    reason: str
    message: str


def conditions(
    environment: EnvironmentRecord,
    totals: Totals | None,
    refusal: Refusal | None,
    now: float,
    *,
    shortened: str = "",
    skew: float = 0.0,
) -> list[Json]:
    """Return all conditions as JSON. A transition time changes only together with the status of its condition.

    ``totals`` is None if the specification is invalid. ``refusal`` is the API server's refusal to store a result, None
    if it refused none. ``now`` is in epoch seconds. ``shortened`` says why the status lacks its details, "" if it is whole.
    ``skew`` is by how many seconds the operator's clock is ahead of the API server's; 0 if nobody need know.
    """
    found = untimed_conditions(environment, totals, refusal)
    if shortened:
        incomplete = Condition(PUBLISHED, "False", reasons.StatusRefused, shortened)
        found = [incomplete if one.type == PUBLISHED else one for one in found]
    if skew:
        found.append(Condition(CLOCK_SKEWED, "True", reasons.ClockSkew, skew_message(skew)))
    old = {text(item.get("type")): item for item in mappings(environment.status.get("conditions"))}
    return [_json(one, old.get(one.type, {}), environment.generation, now) for one in found]


def _json(condition: Condition, old: Mapping[str, Any], generation: int, now: float) -> Json:
    kept = old.get("lastTransitionTime") if old.get("status") == condition.status else None
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": one_line(condition.message),
        "lastTransitionTime": kept if isinstance(kept, str) else show_time(now),
        "observedGeneration": generation,
    }


def untimed_conditions(
    environment: EnvironmentRecord, totals: Totals | None, refusal: Refusal | None = None
) -> list[Condition]:
    """Return all conditions without their transition times, in the order in which people read them."""
    if totals is None:
        why = environment.spec_error or "the specification cannot be understood"
        return _not_accepted(reasons.SpecInvalid, why)
    if totals.context.not_allowed:
        return _not_accepted(reasons.NotAllowed, totals.context.not_allowed)
    ready = _once_assessed(environment, _ready(totals), "False", totals)
    compatible = _once_assessed(environment, _compatible(totals), "Unknown", totals)
    return [
        Condition(ACCEPTED, "True", reasons.SpecAccepted, "the specification makes sense"),
        _once_written(environment, ready, "False", totals, refusal),
        _once_written(environment, compatible, "Unknown", totals, refusal),
        _consistent(totals),
        _published(environment, totals, refusal),
        Condition(STALLED, "False", reasons.SpecAccepted, "nothing has to be corrected"),
    ]


def _not_accepted(reason: Reason, message: str) -> list[Condition]:
    """Return the conditions of an environment on which the operator does not act until somebody corrects it."""
    return [
        Condition(ACCEPTED, "False", reason, message),
        Condition(READY, "False", reason, message),
        Condition(COMPATIBLE, "Unknown", reason, message),
        Condition(CONSISTENT, "Unknown", reason, message),
        Condition(PUBLISHED, "Unknown", reason, message),
        Condition(STALLED, "True", reason, message),
    ]


def _once_written(
    environment: EnvironmentRecord,
    condition: Condition,
    instead: str,
    totals: Totals,
    refusal: Refusal | None,
) -> Condition:
    """Return the condition, but with the status ``instead`` if it would become True before all results are written.

    Whoever waits for the condition thus finds every report and label in place. Once it is True, it stays True while a
    new run writes the same verdict again. Labels that a mass change holds back are not in place either.
    """
    missing = len(totals.differing if _is_true(environment, condition.type) else totals.unwritten)
    if condition.status != "True":
        return condition
    if not missing:
        held = totals.mass_change.id
        return (
            Condition(condition.type, instead, reasons.MassChange, _held_back(totals)) if held else condition
        )
    message = f"{missing} result{' is' if missing == 1 else 's are'} not written yet"
    if refusal is None:
        return Condition(condition.type, instead, reasons.ValidationRunning, message)
    reason = reasons.ValidationRunning if refusal.of_status else reasons.LabelRefused
    return Condition(condition.type, instead, reason, f"{message}: {refusal.message}")


def _once_assessed(
    environment: EnvironmentRecord, condition: Condition, instead: str, totals: Totals
) -> Condition:
    """Return the condition, but with the status ``instead`` while results are outdated after a change of expectations.

    If a new version of the operator has to assess the results again, the condition stays True meanwhile.
    """
    if not totals.outdated or _is_true(environment, condition.type):
        return condition
    message = f"{_nodes(totals.outdated)} still to be assessed with the present expectations and tables"
    return Condition(condition.type, instead, reasons.ValidationRunning, message)


def _is_true(environment: EnvironmentRecord, kind: str) -> bool:
    """Return whether the environment's status has this condition as True for the present generation."""
    return any(
        (one.get("type"), one.get("status"), one.get("observedGeneration"))
        == (kind, "True", environment.generation)
        for one in mappings(environment.status.get("conditions"))
    )


def _ready(totals: Totals) -> Condition:
    if totals.selected == 0:
        also = "; also, spec.suspend is true" if totals.context.spec.suspend else ""
        return Condition(READY, "True", reasons.NoMatchingNodes, NO_NODES + also)
    if totals.answered >= totals.selected:
        message = f"{_all(totals.selected)} answered: {_counts(totals)}"
        if totals.context.spec.suspend:
            message += "; no node is validated again while spec.suspend is true"
        elif totals.spent:
            message += f"; {totals.spent}"
        return Condition(READY, "True", reasons.AllAnswered, message)
    return Condition(READY, "False", _why_unanswered(totals), _unanswered(totals))


def _counts(totals: Totals) -> str:
    """Return the number of nodes with each verdict that occurs, such as ``6 Compatible, 4 Incompatible``."""
    return ", ".join(
        f"{count} {verdict.value}" for verdict in Verdict if (count := totals.verdicts.get(verdict, 0))
    )


def _why_unanswered(totals: Totals) -> Reason:
    if totals.context.spec.suspend:
        return reasons.Suspended
    return reasons.BudgetSpent if totals.spent else reasons.ValidationRunning


def _unanswered(totals: Totals) -> str:
    """Return a message about the nodes that have no answer yet."""
    missing = totals.selected - totals.answered
    message = f"{missing} of {_nodes(totals.selected)} without answer ({totals.running} running)"
    if totals.context.spec.suspend:
        message += "; no probe starts while spec.suspend is true"
    elif totals.spent:
        message += f"; {totals.spent}"
    return message


def _compatible(totals: Totals) -> Condition:
    total = _nodes(totals.selected)
    if totals.selected == 0:
        return Condition(COMPATIBLE, "Unknown", reasons.NoMatchingNodes, NO_NODES)
    for verdict, reason in (
        (Verdict.INCOMPATIBLE, reasons.SomeIncompatible),
        (Verdict.DEGRADED, reasons.SomeDegraded),
    ):
        count = totals.verdicts.get(verdict, 0)
        if count:
            message = f"{count} of {total} {verdict.value.lower()}: {_reasons(totals, verdict)}"
            return Condition(COMPATIBLE, "False", reason, message)
    if totals.answered < totals.selected:
        return Condition(COMPATIBLE, "Unknown", _why_unanswered(totals), _unanswered(totals))
    unknown = totals.verdicts.get(Verdict.UNKNOWN, 0)
    if unknown:
        message = f"{unknown} of {total} unknown: {_reasons(totals, Verdict.UNKNOWN)}"
        return Condition(COMPATIBLE, "Unknown", reasons.SomeUnknown, message)
    return Condition(COMPATIBLE, "True", reasons.AllCompatible, f"{_all(totals.selected)} compatible")


def _reasons(totals: Totals, verdict: Verdict) -> str:
    """Return the reasons of a verdict as text: three of them with their numbers of nodes, and how many more there are."""
    problems = [one for one in totals.problems if one.verdict is verdict]
    named = ", ".join(f"{one.reason or verdict.value} ({one.count})" for one in problems[:NAMED])
    more = len(problems) - NAMED
    return named + (f" and {more} more reason{'s' if more > 1 else ''}" if more > 0 else "")


def _consistent(totals: Totals) -> Condition:
    """Return whether all nodes ran the same versions, and on each platform the same image digest.

    A difference is certain as soon as two nodes have run. Equality is certain only when every node that can run has
    run.
    """
    if totals.selected == 0:
        return Condition(CONSISTENT, "Unknown", reasons.NoMatchingNodes, NO_NODES)
    ran = sum(count for _, count in totals.contents)
    differing = _differences(totals.contents)
    if differing:
        message = f"{'; '.join(differing)} ({ran} of {_nodes(totals.selected)} ran)"
        return Condition(CONSISTENT, "False", reasons.DifferentContent, message)
    if totals.answered < totals.selected:
        message = f"{ran} of {_nodes(totals.selected)} ran so far; {_unanswered(totals)}"
        return Condition(CONSISTENT, "Unknown", _why_unanswered(totals), message)
    if not ran:
        return Condition(
            CONSISTENT, "Unknown", reasons.ContentUnknown, "no node has reported the content of the image"
        )
    message = f"{ran} of {_nodes(totals.selected)} ran, all with the same content"
    return Condition(CONSISTENT, "True", reasons.OneContent, message)


def _differences(contents: Iterable[tuple[Content, int]]) -> list[str]:
    """Return one text for each difference between the contents: digests of the image, and versions in it."""
    digests: dict[tuple[str, bool], set[str]] = {}
    versions: dict[str, set[str]] = {}
    for (digest, platform, found), _ in contents:
        if digest:
            # The digests of a configuration and of a manifest differ even if the content is the same.
            digests.setdefault((platform, digest.startswith("sha256:")), set()).add(digest)
        for name, version in found:
            versions.setdefault(name, set()).add(version)
    differing = [
        f"{name} {' and '.join(sorted(found)[:NAMED])}"
        for name, found in sorted(versions.items())
        if len(found) > 1
    ]
    several = max((len(found) for found in digests.values()), default=0)
    if several > 1:
        differing.insert(0, f"{several} different contents under one name")
    return differing


def _published(environment: EnvironmentRecord, totals: Totals, refusal: Refusal | None) -> Condition:
    """Return whether the nodes show their verdicts, which include Unknown after a change.

    A node without a node report has no verdict yet. While the label of a new verdict is being written, the condition
    stays True.
    """
    spec = totals.context.spec
    if spec.node_label == "None" and spec.node_condition == "None":
        message = "spec.publish shows verdicts neither as labels nor as conditions of nodes"
        return Condition(PUBLISHED, "False", reasons.Disabled, message)
    if totals.selected == 0:
        return Condition(PUBLISHED, "True", reasons.UpToDate, NO_NODES)
    if totals.mass_change.id:
        return Condition(PUBLISHED, "False", reasons.MassChange, _held_back(totals))
    if refusal is not None and not refusal.of_status and totals.unpublished:
        message = f"{_nodes(len(totals.unpublished))} not marked: {refusal.message}"
        return Condition(PUBLISHED, "False", reasons.LabelRefused, message)
    if totals.unpublished and not _is_true(environment, PUBLISHED):
        message = f"{_nodes(len(totals.unpublished))} not marked yet"
        return Condition(PUBLISHED, "Unknown", reasons.ValidationRunning, message)
    if totals.unreported:
        message = f"{_nodes(totals.unreported)} without a verdict so far"
        return Condition(PUBLISHED, "Unknown", _why_unanswered(totals), message)
    return Condition(PUBLISHED, "True", reasons.UpToDate, "the nodes show their verdicts")


def _held_back(totals: Totals) -> str:
    """Return in one line which mass change holds labels back, and the command that lets it happen."""
    change = totals.mass_change
    return held_words(totals.context.name, change.id, change.message)


def _all(count: int) -> str:
    return "the only node" if count == 1 else f"all {count} nodes"


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
