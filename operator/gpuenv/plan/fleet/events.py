"""Kubernetes Events about verdicts and conditions that have changed, grouped so that a cluster gets few of them.

Events about verdicts are based on node reports that have been written, never on writes that are only planned.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.api.objects import held_words
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import PostEvent, WriteReport
from gpuenv.plan.fleet.conditions import ACCEPTED, PUBLISHED, READY
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.environment_memory import environment_memory
from gpuenv.plan.snapshot import NEVER, EnvironmentRecord, ReportRecord, Snapshot, Unannounced, ValidationKey

NODES_NAMED: Final = 5
GATHER_SECONDS: Final = 60.0
"""How long an Event about an environment is delayed while more nodes are about to show the same verdict."""

_ANNOUNCED: Final = (
    (READY, "True", reasons.NoMatchingNodes),
    (PUBLISHED, "False", reasons.LabelRefused),
    (PUBLISHED, "False", reasons.StatusRefused),
)
"""(type, status, reason) of conditions that get an Event whenever they begin to hold, whatever they were before."""

_Outcome = tuple[Verdict, str]
"""(verdict, reason). One Event names all nodes for which both are the same."""


@dataclass(frozen=True, slots=True)
class Announcements:
    """The Events to post now, and the new verdicts to announce later, at ``wake_at`` (steady seconds) at the latest."""

    events: tuple[PostEvent, ...]
    unannounced: Mapping[ValidationKey, Unannounced]
    wake_at: float


def announcements(snapshot: Snapshot, fleets: Iterable[Totals], now: float) -> Announcements:
    """Return the Events about new verdicts of written node reports, for the reports and for their environments.

    Each report gets its Event at once, but none for a first verdict that is Compatible: the report itself says so, and a
    new fleet would get an Event for every node. An environment gets one Event for each verdict and reason. That Event is delayed
    while more reports with the same verdict and reason are about to be written, so that a change of a whole fleet,
    which takes minutes, leads to few Events. ``now`` is in steady seconds.
    """
    events: list[PostEvent] = []
    groups: dict[str, dict[_Outcome, dict[ValidationKey, Unannounced]]] = {}
    for key in sorted({**snapshot.unannounced, **snapshot.new_verdicts}):
        report, new = snapshot.reports.get(key), snapshot.new_verdicts.get(key)
        environment = snapshot.environments.get(key[0])
        if report is None or environment is None or environment.deleting:
            continue
        if new is not None and _is_news(new.before, report.verdict):
            events.append(_report_event(report, new.before))
        known = snapshot.unannounced.get(key) or Unannounced(new.before if new is not None else None, now)
        if known.before is not report.verdict:
            same = groups.setdefault(report.environment, {}).setdefault((report.verdict, report.reason), {})
            same[key] = known
    unannounced: dict[ValidationKey, Unannounced] = {}
    wake_at = NEVER
    totals = {one.context.name: one for one in fleets}
    for name, outcomes in sorted(groups.items()):
        expected = _expected(totals[name], snapshot) if name in totals else frozenset()
        for outcome, found in sorted(outcomes.items(), key=lambda entry: -entry[0][0].severity):
            until = min(one.since for one in found.values()) + GATHER_SECONDS
            if outcome in expected and now < until:
                unannounced |= found
                wake_at = min(wake_at, until)
            else:
                reports = [snapshot.reports[key] for key in found]
                events.append(_environment_event(snapshot.environments[name], reports))
    return Announcements(tuple(events), unannounced, wake_at)


def _is_news(before: Verdict | None, now: Verdict) -> bool:
    return before is not now and (before is not None or now is not Verdict.COMPATIBLE)


def _expected(totals: Totals, snapshot: Snapshot) -> frozenset[_Outcome]:
    """Return the new verdicts that reports of an environment are about to show, each with its reason.

    Reports that the API server refused to store are left out.
    """
    return frozenset(
        (one.shown.verdict, one.shown.reason)
        for one in totals.acting
        if one.before is not one.shown.verdict
        and (totals.context.name, one.node) not in snapshot.refusals
        and any(isinstance(action, WriteReport) for action in one.actions)
    )


def _report_event(report: ReportRecord, before: Verdict | None) -> PostEvent:
    was = f", was {before.value}" if before is not None else ""
    words = f"{report.verdict.value}{was}" + (f": {report.message}" if report.message else "")
    return PostEvent(names.REPORT_KIND, report.name, report.uid, _type(report), _reason(report), words)


def _environment_event(environment: EnvironmentRecord, reports: list[ReportRecord]) -> PostEvent:
    """Return the Event about an environment that names the nodes of these reports.

    The reports must have the same verdict and the same reason.
    """
    first = min(reports, key=lambda report: report.node)
    named = ", ".join(sorted(report.node for report in reports)[:NODES_NAMED])
    more = f" and {len(reports) - NODES_NAMED} more" if len(reports) > NODES_NAMED else ""
    count = f"{len(reports)} node{'s' if len(reports) > 1 else ''}"
    words = f"{count} {first.verdict.value}: {named}{more}" + (f" ({first.message})" if first.message else "")
    return PostEvent(
        names.ENVIRONMENT_KIND, environment.name, environment.uid, _type(first), _reason(first), words
    )


def _reason(report: ReportRecord) -> str:
    return report.reason or report.verdict.value


def _type(report: ReportRecord) -> str:
    warns = report.verdict is not Verdict.COMPATIBLE and reasons.behaviour(report.reason).warns
    return "Warning" if warns else "Normal"


def condition_events(environment: EnvironmentRecord, status: dict[str, object]) -> Iterator[PostEvent]:
    """Yield an Event for each change of a condition that people want to hear about.

    These are: Accepted becomes False, Ready becomes True, no node is selected any more, and the API server refuses a
    label or the status.
    """
    known = mappings(environment.status.get("conditions"))
    old = {text(item.get("type")): (item.get("status"), item.get("reason")) for item in known}
    for condition in mappings(mapping(status).get("conditions")):
        kind, now = condition["type"], (condition["status"], condition["reason"])
        before = old.get(kind, ("", ""))
        became = before[0] != now[0] and (kind, now[0]) in ((ACCEPTED, "False"), (READY, "True"))
        if became or (before != now and (kind, *now) in _ANNOUNCED):
            yield PostEvent(
                names.ENVIRONMENT_KIND,
                environment.name,
                environment.uid,
                "Warning" if reasons.behaviour(text(condition["reason"])).warns else "Normal",
                condition["reason"],
                condition["message"],
            )


def mass_change_events(environment: EnvironmentRecord, status: dict[str, object]) -> Iterator[PostEvent]:
    """Yield an Event when a mass change begins to hold labels back, becomes another one, or ends."""
    before, after = mapping(environment.status, "massChange"), mapping(status, "massChange")
    known, now = text(before.get("id")), text(after.get("id"))
    if known == now:
        return
    if now:
        message = held_words(environment.name, now, text(after.get("message")))
    elif environment_memory(status).accepted_change > environment_memory(environment.status).accepted_change:
        message = f"change {known} was accepted: nodes show their verdicts again"
    else:
        message = f"change {known} is over: nodes show their verdicts again"
    yield PostEvent(
        names.ENVIRONMENT_KIND,
        environment.name,
        environment.uid,
        "Warning" if now else "Normal",
        reasons.MassChange,
        message,
    )
