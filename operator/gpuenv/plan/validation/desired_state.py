"""One environment on one node: what its report, label and pods should be, and whether a run is due."""

from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api.reasons import Stale
from gpuenv.assess.model import Verdict
from gpuenv.plan.context import Context, Validation
from gpuenv.plan.model import (
    NEVER,
    DeletePod,
    LeaveNode,
    NodeRecord,
    PodRecord,
    ReportRecord,
    Result,
    SetLabel,
    SetNodeCondition,
    ValidationAction,
    WriteReport,
)
from gpuenv.plan.objects.node_report import status_of
from gpuenv.plan.run.clocks import is_over
from gpuenv.plan.validation.next_run import Due, demand, is_asked, next_run
from gpuenv.plan.validation.report_after_runs import AfterRuns, blank, report_after_runs
from gpuenv.plan.validation.selection import is_selected
from gpuenv.plan.validation.shown_verdict import WAITING, ShownVerdict, hold, missing_device, shown_verdict

_CONDITION_STATUS: Final = {
    Verdict.COMPATIBLE: "True",
    Verdict.DEGRADED: "True",
    Verdict.INCOMPATIBLE: "False",
    Verdict.UNKNOWN: "Unknown",
}


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What should become of one validation. It holds until ``recheck_at``, or until one of the records is replaced.

    ``before`` is the verdict that the report shows now, None without a report. ``due`` is a run that may start now.
    ``leaving``: the node is not selected, but something of the environment is still on it. ``asked``: a run was
    asked for by annotation, and no report answers it yet. ``assessed`` is the result of ``report`` where it holds
    under the tables and expectations of now.
    """

    node: str
    selected: bool
    shown: ShownVerdict = WAITING
    report: ReportRecord | None = None
    before: Verdict | None = None
    actions: tuple[ValidationAction, ...] = ()
    unwritten: bool = False
    """Whether the report, the label or the node condition still has to be written."""
    differs: bool = False
    """Whether one of them also says something else, or is not there; a new run with the same verdict is mere detail."""
    live: bool = False
    due: Due | None = None
    kept: PodRecord | None = None
    leaving: bool = False
    asked: bool = False
    assessed: Result | None = None
    recheck_at: float = NEVER
    fault: str = ""
    """The exception that kept this from being worked out."""


def desired_state(validation: Validation, now: float) -> DesiredState:
    """Return what should become of one validation at ``now``."""
    node, report = validation.node, validation.report
    if not is_selected(validation.context.spec, node, known=report is not None):
        return _outside(validation)
    if report is not None and report.node_uid and report.node_uid != node.uid:
        return _replaced(validation, report)
    runs = report_after_runs(validation, now)
    shown = shown_verdict(validation, runs.report)
    after = _after(validation, runs.report, shown, now)
    blocked = _is_blocked(validation)
    due = None if blocked or runs.live else next_run(validation, after)
    waits = due is not None and due.at > now
    observed = report.observed_revalidate if report is not None else ""
    actions = tuple(_actions(validation, after, shown, runs, now))
    unwritten = [one for one in actions if isinstance(one, WriteReport | SetLabel | SetNodeCondition)]
    return DesiredState(
        node=node.name,
        selected=True,
        shown=shown or WAITING,
        report=after,
        before=report.verdict if report is not None else None,
        actions=actions,
        unwritten=bool(unwritten),
        differs=any(
            not isinstance(one, WriteReport) or not _says_the_same(report, one.record) for one in unwritten
        ),
        live=runs.live,
        due=None if waits else due,
        kept=runs.kept,
        asked=not blocked and is_asked(demand(validation.context.revalidate, ""), observed),
        assessed=_assessed(validation, after),
        recheck_at=min(runs.until, due.at if due is not None and waits else NEVER),
    )


def _assessed(validation: Validation, report: ReportRecord | None) -> Result | None:
    """Return the report's result, or None if it is about other inputs or another state of the node."""
    result = report.result if report is not None else None
    if result is None or not validation.is_current(result.inputs_hash, result.fingerprint):
        return None
    return result


def _outside(validation: Validation) -> DesiredState:
    """Return the state of a node that is not selected, or not any more: label and report go after a grace period."""
    name, node = validation.context.name, validation.node
    marked = name in node.compat or name in node.compat_conditions
    actions = tuple(
        DeletePod(pod.name, pod.uid, "the node is not selected any more")
        for pod in validation.pods
        if not pod.vanished and pod.deleting_since is None
    )
    return DesiredState(
        node.name,
        selected=False,
        report=validation.report,
        actions=actions,
        live=any(not is_over(pod) for pod in validation.pods),
        leaving=marked or validation.report is not None,
    )


def _replaced(validation: Validation, report: ReportRecord) -> DesiredState:
    """Return the state of a node whose report is about an earlier node of that name: it starts from nothing."""
    shown = ShownVerdict(Verdict.UNKNOWN, Stale, "the node was replaced by another one of the same name")
    leave = LeaveNode(validation.context.name, validation.node.name, report.node_uid, gone=True)
    return DesiredState(
        validation.node.name,
        selected=True,
        shown=shown,
        report=report,
        before=report.verdict,
        actions=(leave,),
    )


def _after(
    validation: Validation, report: ReportRecord | None, shown: ShownVerdict | None, now: float
) -> ReportRecord | None:
    """Return the report with the verdict that it shows, or the present one when nothing would be written."""
    if shown is None:
        return None
    base, before = report or blank(validation), validation.report
    since = base.current_since if base.current_since and base.current == shown.current else float(int(now))
    after = replace(
        base,
        verdict=shown.verdict,
        reason=shown.reason,
        message=shown.message,
        current=shown.current,
        current_since=since,
        # An attempt without a result answers the generation that it was made for.
        answered_generation=base.answered_generation if base.attempt else validation.context.generation,
    )
    return before if before is not None and _same(after, before) else after


def _same(new: ReportRecord, old: ReportRecord) -> bool:
    """Return whether there is nothing to write. A new generation that changed nothing here is no reason to write."""
    return (
        new.result is old.result
        and new.attempt is old.attempt
        and (new.verdict, new.reason, new.message, new.runs, new.observed_revalidate, new.current)
        == (old.verdict, old.reason, old.message, old.runs, old.observed_revalidate, old.current)
    )


def _says_the_same(old: ReportRecord | None, new: ReportRecord) -> bool:
    """Return whether a report already shows the verdict of a new one."""
    return old is not None and (old.verdict, old.reason, old.current) == (
        new.verdict,
        new.reason,
        new.current,
    )


def _is_blocked(validation: Validation) -> bool:
    """Return whether nothing may be started on the node for this environment."""
    context, node = validation.context, validation.node
    return bool(context.spec.suspend or validation.stuck or hold(node) or missing_device(context, node))


def _actions(
    validation: Validation,
    after: ReportRecord | None,
    shown: ShownVerdict | None,
    runs: AfterRuns,
    now: float,
) -> list[ValidationAction]:
    """Return the writes in order: the report, then label and node condition, then the deletion of unneeded pods."""
    actions: list[ValidationAction] = []
    if after is not None and shown is not None and after is not validation.report:
        actions.append(
            WriteReport(
                environment=validation.context.name,
                environment_uid=validation.context.uid,
                node=validation.node.name,
                node_uid=validation.node.uid,
                name=after.name,
                exists=validation.report is not None,
                status=status_of(after, remediation=shown.remediation, now=now),
                record=after,
            )
        )
    actions += _node_writes(validation.context, validation.node, shown)
    actions += [DeletePod(pod.name, pod.uid, why) for pod, why in runs.delete]
    return actions


def _node_writes(context: Context, node: NodeRecord, shown: ShownVerdict | None) -> list[ValidationAction]:
    """Return the writes of node label and node condition: set where they are wanted, removed where they are not."""
    writes: list[ValidationAction] = []
    spec, name = context.spec, context.name
    label, condition = node.compat.get(name), node.compat_conditions.get(name)
    if shown is not None and spec.node_label:
        if label != shown.verdict.value:
            writes.append(SetLabel(name, node.name, node.uid, shown.verdict.value))
    elif label is not None and not spec.node_label:
        writes.append(SetLabel(name, node.name, node.uid, None))
    if shown is not None and spec.node_condition:
        wanted = (_CONDITION_STATUS[shown.verdict], shown.reason or shown.verdict.value)
        if condition != wanted:
            writes.append(SetNodeCondition(name, node.name, *wanted, shown.message))
    elif condition is not None and not spec.node_condition:
        writes.append(SetNodeCondition(name, node.name, None))
    return writes
