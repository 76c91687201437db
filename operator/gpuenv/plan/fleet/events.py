"""Kubernetes Events: verdicts and conditions that have just changed, grouped so that they do not flood a cluster.

Events about a verdict are made from reports that are written, never from reports that are merely planned.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.fleet.conditions import ACCEPTED, READY
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.model import (
    NEVER,
    EnvironmentRecord,
    PostEvent,
    ReportRecord,
    Snapshot,
    Unannounced,
    ValidationKey,
    WriteReport,
)

NODES_NAMED: Final = 5
GATHER_SECONDS: Final = 60.0
"""So long an Event about an environment waits for more nodes that are about to come to the same verdict."""

_Outcome = tuple[Verdict, str]
"""(verdict, reason): nodes that share it are named in one Event."""


@dataclass(frozen=True, slots=True)
class Announcements:
    """Events to post now, and the new verdicts that are announced later, at ``wake_at`` at the latest."""

    events: tuple[PostEvent, ...]
    unannounced: Mapping[ValidationKey, Unannounced]
    wake_at: float


def announcements(snapshot: Snapshot, fleets: Iterable[Totals], now: float) -> Announcements:
    """Announce the verdicts of reports that were written: each to its report at once, then to its environment.

    An environment is told once for each verdict and reason. That waits while more reports with the same verdict
    and reason are being written, so that a change of a whole fleet, which takes minutes, makes few Events.
    """
    events: list[PostEvent] = []
    groups: dict[str, dict[_Outcome, dict[ValidationKey, Unannounced]]] = {}
    for key in sorted({**snapshot.unannounced, **snapshot.new_verdicts}):
        report, new = snapshot.reports.get(key), snapshot.new_verdicts.get(key)
        environment = snapshot.environments.get(key[0])
        if report is None or environment is None or environment.deleting:
            continue
        if new is not None and new.before is not report.verdict:
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


def _expected(totals: Totals, snapshot: Snapshot) -> frozenset[_Outcome]:
    """Return the new verdicts that reports of an environment are about to show, without those that were refused."""
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
    """Return the Event that names the nodes of ``reports``, which share their verdict and reason."""
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
    """Announce that the environment was not accepted, or that every node has answered."""
    known = mappings(environment.status.get("conditions"))
    old = {text(item.get("type")): item.get("status") for item in known}
    for condition in mappings(mapping(status).get("conditions")):
        kind, now = condition["type"], condition["status"]
        if old.get(kind) == now:
            continue
        if (kind, now) in ((ACCEPTED, "False"), (READY, "True")):
            yield PostEvent(
                names.ENVIRONMENT_KIND,
                environment.name,
                environment.uid,
                "Warning" if reasons.behaviour(text(condition["reason"])).warns else "Normal",
                condition["reason"],
                condition["message"],
            )
