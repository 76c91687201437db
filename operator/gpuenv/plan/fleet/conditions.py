"""The status conditions of an environment. All are always set: ``kubectl wait`` waits forever for a missing one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import reasons
from gpuenv.api.tolerant import mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.snapshot import EnvironmentRecord

Json = dict[str, Any]

ACCEPTED: Final = "Accepted"
READY: Final = "Ready"
COMPATIBLE: Final = "Compatible"
CONSISTENT: Final = "Consistent"
MAX_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its transition time. ``status`` is ``True``, ``False`` or ``Unknown``."""

    type: str
    status: str
    reason: str
    message: str


def conditions(environment: EnvironmentRecord, totals: Totals | None, refusal: str, now: float) -> list[Json]:
    """Return all conditions as JSON. A transition time changes only together with the status of its condition.

    ``totals`` is None if the specification is invalid. ``refusal`` is the API server's error message about a result
    that it refused to store, "" if it refused none. ``now`` is in epoch seconds.
    """
    found = untimed_conditions(environment, totals, refusal)
    old = {text(item.get("type")): item for item in mappings(environment.status.get("conditions"))}
    return [_json(one, old.get(one.type, {}), environment.generation, now) for one in found]


def _json(condition: Condition, old: Mapping[str, Any], generation: int, now: float) -> Json:
    kept = old.get("lastTransitionTime") if old.get("status") == condition.status else None
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message[:MAX_MESSAGE],
        "lastTransitionTime": kept if isinstance(kept, str) else show_time(now),
        "observedGeneration": generation,
    }


def untimed_conditions(
    environment: EnvironmentRecord, totals: Totals | None, refusal: str = ""
) -> list[Condition]:
    """Return all conditions without their transition times: Accepted, Ready, Compatible, Consistent."""
    if totals is None:
        refused = (reasons.SpecInvalid, environment.spec_error or "the specification cannot be understood")
        return [
            Condition(ACCEPTED, "False", *refused),
            Condition(READY, "False", *refused),
            Condition(COMPATIBLE, "Unknown", *refused),
            Condition(CONSISTENT, "Unknown", *refused),
        ]
    return [
        Condition(ACCEPTED, "True", reasons.SpecAccepted, "the specification makes sense"),
        _once_written(environment, _ready(totals), "False", totals, refusal),
        _once_written(environment, _compatible(totals), "Unknown", totals, refusal),
        _consistent(totals),
    ]


def _once_written(
    environment: EnvironmentRecord, condition: Condition, instead: str, totals: Totals, refusal: str
) -> Condition:
    """Return the condition, but with the status ``instead`` if it would become True before all results are written.

    Whoever waits for the condition thus finds every report and label in place. Once it is True, it stays True while a
    new run writes the same verdict again.
    """
    missing = len(totals.differing if _is_true(environment, condition.type) else totals.unwritten)
    if condition.status != "True" or not missing:
        return condition
    message = f"{missing} result{' is' if missing == 1 else 's are'} not written yet"
    return Condition(
        condition.type,
        instead,
        reasons.ValidationRunning,
        message + (f": {refusal}" if refusal else ""),
    )


def _is_true(environment: EnvironmentRecord, kind: str) -> bool:
    """Return whether the environment's status has this condition as True for the present generation."""
    return any(
        (one.get("type"), one.get("status"), one.get("observedGeneration"))
        == (kind, "True", environment.generation)
        for one in mappings(environment.status.get("conditions"))
    )


def _ready(totals: Totals) -> Condition:
    if totals.selected == 0:
        return Condition(
            READY, "False", reasons.NoMatchingNodes, "spec.nodes.selector matches no node with GPUs"
        )
    if totals.answered >= totals.selected:
        return Condition(
            READY, "True", reasons.AllAnswered, f"all {_nodes(totals.selected)} have their answer"
        )
    missing = totals.selected - totals.answered
    message = f"{missing} of {_nodes(totals.selected)} without answer ({totals.running} running)"
    if totals.context.spec.suspend:
        return Condition(
            READY, "False", reasons.Suspended, f"{message}; nothing starts while spec.suspend is true"
        )
    return Condition(READY, "False", reasons.ValidationRunning, message)


def _compatible(totals: Totals) -> Condition:
    counts = {verdict: totals.verdicts.get(verdict, 0) for verdict in Verdict}
    total = _nodes(totals.selected)
    if totals.selected == 0:
        return Condition(COMPATIBLE, "Unknown", reasons.NoMatchingNodes, "no node is selected")
    if counts[Verdict.INCOMPATIBLE]:
        message = f"{counts[Verdict.INCOMPATIBLE]} of {total} incompatible: {_worst(totals)}"
        return Condition(COMPATIBLE, "False", reasons.SomeIncompatible, message)
    if counts[Verdict.UNKNOWN]:
        message = f"{counts[Verdict.UNKNOWN]} of {total} unknown"
        worst = _worst(totals)
        reason = reasons.SomeUnknown if totals.answered >= totals.selected else reasons.ValidationRunning
        return Condition(COMPATIBLE, "Unknown", reason, message + (f": {worst}" if worst else ""))
    if counts[Verdict.DEGRADED]:
        message = f"{counts[Verdict.DEGRADED]} of {total} degraded: {_worst(totals)}"
        return Condition(COMPATIBLE, "True", reasons.SomeDegraded, message)
    return Condition(COMPATIBLE, "True", reasons.AllCompatible, f"all {total} compatible")


def _worst(totals: Totals) -> str:
    """Return the three worst problems as text: their reasons, each with the number of nodes."""
    return ", ".join(f"{one.reason} ({one.count})" for one in totals.problems[:3])


def _consistent(totals: Totals) -> Condition:
    """Return the condition Consistent: all nodes ran the same versions, and on each platform the same image digest."""
    if not totals.contents:
        return Condition(CONSISTENT, "Unknown", reasons.ContentUnknown, "no node has reported what it ran")
    digests: dict[tuple[str, bool], set[str]] = {}
    versions: dict[str, set[str]] = {}
    for (digest, platform, found), _ in totals.contents:
        if digest:
            # The digests of a configuration and of a manifest differ even if the content is the same.
            digests.setdefault((platform, digest.startswith("sha256:")), set()).add(digest)
        for name, version in found:
            versions.setdefault(name, set()).add(version)
    differing = [
        f"{name} {' and '.join(sorted(found)[:3])}"
        for name, found in sorted(versions.items())
        if len(found) > 1
    ]
    several = max((len(found) for found in digests.values()), default=0)
    if several > 1:
        differing.insert(0, f"{several} different contents under one name")
    if differing:
        return Condition(CONSISTENT, "False", reasons.DifferentContent, "; ".join(differing))
    return Condition(CONSISTENT, "True", reasons.OneContent, "all nodes ran the same content")


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
