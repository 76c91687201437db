"""Events: what has just changed, grouped, so that a fleet of thousands does not flood its cluster."""

from collections.abc import Iterable, Iterator
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.fleet.conditions import ACCEPTED, READY
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.model import EnvironmentRecord, PostEvent, WriteReport
from gpuenv.plan.validation.desired_state import DesiredState

NODES_NAMED: Final = 5


def verdict_events(environment: EnvironmentRecord, totals: Totals) -> Iterator[PostEvent]:
    """One about the environment for each (verdict, reason) that nodes came to, and one about each report."""
    groups: dict[tuple[Verdict, str], list[DesiredState]] = {}
    for one in totals.acting:
        if _is_transition(one):
            groups.setdefault((one.shown.verdict, one.shown.reason), []).append(one)
    for (verdict, reason), found in sorted(groups.items(), key=lambda group: -group[0][0].severity):
        kind, title = _type(verdict, reason), reason or verdict.value
        yield PostEvent(
            names.ENVIRONMENT_KIND, environment.name, environment.uid, kind, title, _grouped(verdict, found)
        )
        for one in found:
            if one.report is not None:
                before = f", was {one.before.value}" if one.before is not None else ""
                words = f"{verdict.value}{before}" + (f": {one.shown.message}" if one.shown.message else "")
                yield PostEvent(names.REPORT_KIND, one.report.name, one.report.uid, kind, title, words)


def _is_transition(state: DesiredState) -> bool:
    written = any(isinstance(action, WriteReport) for action in state.actions)
    return written and state.before is not state.shown.verdict


def _grouped(verdict: Verdict, found: Iterable[DesiredState]) -> str:
    ordered = sorted(found, key=lambda one: one.node)
    named = ", ".join(one.node for one in ordered[:NODES_NAMED])
    more = f" and {len(ordered) - NODES_NAMED} more" if len(ordered) > NODES_NAMED else ""
    message = ordered[0].shown.message
    count = f"{len(ordered)} node{'s' if len(ordered) > 1 else ''}"
    return f"{count} {verdict.value}: {named}{more}" + (f" ({message})" if message else "")


def _type(verdict: Verdict, reason: str) -> str:
    warns = verdict is not Verdict.COMPATIBLE and reasons.behaviour(reason).warns
    return "Warning" if warns else "Normal"


def condition_events(environment: EnvironmentRecord, status: dict[str, object]) -> Iterator[PostEvent]:
    """About the environment as a whole: refused, or every node answered."""
    known = mappings(environment.status.get("conditions"))
    old = {text(item.get("type")): item.get("status") for item in known}
    for condition in mappings(mapping(status).get("conditions")):
        kind, now = condition["type"], condition["status"]
        if old.get(kind) == now:
            continue
        if (kind, now) in ((ACCEPTED, "False"), (READY, "True")):
            type_ = "Warning" if reasons.behaviour(text(condition["reason"])).warns else "Normal"
            yield PostEvent(
                names.ENVIRONMENT_KIND,
                environment.name,
                environment.uid,
                type_,
                condition["reason"],
                condition["message"],
            )
