"""Compute the desired state of a validation: report, label, node condition and pods, and whether a run is due."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import (
    DeletePod,
    LeaveNode,
    LookAtPod,
    SetLabel,
    SetNodeCondition,
    ValidationAction,
    WriteReport,
)
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.context import Assessed, Context, Validation
from gpuenv.plan.demand import NOTHING_ASKED, demand
from gpuenv.plan.moment import Moment
from gpuenv.plan.objects.node_report import Json, fitted
from gpuenv.plan.run.clocks import is_over
from gpuenv.plan.snapshot import (
    NEVER,
    Departure,
    NodeRecord,
    PodRecord,
    Refusal,
    ReportRecord,
    Result,
)
from gpuenv.plan.validation.departure import departure, open_departure, retractions
from gpuenv.plan.validation.next_run import Due, next_run
from gpuenv.plan.validation.report_after_runs import (
    NOT_ALLOWED,
    AfterRuns,
    blank,
    report_after_runs,
    without_refused,
)
from gpuenv.plan.validation.selection import is_selected
from gpuenv.plan.validation.shown_verdict import WAITING, ShownVerdict, obstacle, shown_verdict

MAX_CONDITION_BYTES: Final = 1024
"""The longest message of a node's condition, in bytes. The admission policy of the chart refuses a longer one."""
_MARKS: Final = (SetLabel, SetNodeCondition)
"""The actions that make a node show the verdict."""
_CONDITION_STATUS: Final = {
    Verdict.COMPATIBLE: "True",
    Verdict.DEGRADED: "False",
    Verdict.INCOMPATIBLE: "False",
    Verdict.UNKNOWN: "Unknown",
}


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What node report, label, condition and pods of one validation should be, and the actions that lead there.

    It is valid until ``recheck_at`` (epoch seconds), or until a record of the validation is replaced. ``report`` is
    the node report as it is after the actions. ``before`` is the verdict in the stored node report, None if there is
    none. ``due`` is a run that may start now. ``live``: a probe pod is on the node and may still end by itself.
    ``kept`` is a failed pod that is kept for its log. ``leaving``: the node is not selected, but label, condition or
    report of the environment still exist. ``asked``: the environment's revalidate annotation asks for a run that can
    start or is under way, and the stored node report does not take the annotation into account yet. ``assessed`` is the
    result of ``report``, assessed with the present expectations and tables; None if it is not current. ``outdated``: it
    is current, but has to be assessed again by the next plan, because this one had no time.
    """

    node: str
    selected: bool
    shown: ShownVerdict = WAITING
    report: ReportRecord | None = None
    before: Verdict | None = None
    actions: tuple[ValidationAction, ...] = ()
    differs: bool = False
    """Whether one of them is missing or shows another verdict or reason, so that its write changes what people see."""
    refused: bool = False
    """Whether the API server refuses to store the report, and nobody knows for how long."""
    live: bool = False
    due: Due | None = None
    kept: PodRecord | None = None
    departure: Departure | None = None
    """How the node stopped being Compatible, if it counts for a mass change; else None."""
    retractions: tuple[ValidationAction, ...] = ()
    """Those actions, because of ``departure``, by which a label or condition that says Compatible says so no more."""
    leaving: bool = False
    asked: bool = False
    assessed: Assessed | None = None
    outdated: bool = False
    recheck_at: float = NEVER
    fault: str = ""
    """The exception because of which the state could not be computed, with the names of environment and node; or ""."""

    @property
    def unwritten(self) -> bool:
        """Whether the report, the label or the node condition still has to be written."""
        return any(isinstance(one, (WriteReport, *_MARKS)) for one in self.actions)

    @property
    def unpublished(self) -> bool:
        """Whether the label or the node condition still has to be written."""
        return any(isinstance(one, _MARKS) for one in self.actions)


def desired_state(validation: Validation, now: Moment, allowance: Allowance) -> DesiredState:
    """Return the desired state of a validation at ``now``, as far as ``allowance`` allows."""
    node, report = validation.node, validation.report
    if not is_selected(validation.context.spec, node, known=report is not None):
        return _outside(validation)
    if report is not None and report.node_uid and report.node_uid != node.uid:
        return _replaced(validation, report)
    if report is None and validation.context.not_allowed:
        return DesiredState(node.name, selected=True, actions=_deletions(validation.pods, NOT_ALLOWED))
    runs = report_after_runs(validation, now, allowance)
    shown = shown_verdict(validation, runs.report)
    after, status = _after(validation, runs, shown, now.wall)
    refusal = validation.refusal if status is not None else None
    if refusal is not None and refusal.of_content and runs.report is not None:
        minimal = without_refused(validation, runs.report, refusal, now)
        runs = replace(runs, report=minimal, outdated=False)
        shown = shown_verdict(validation, runs.report)
        after, status = _after(validation, runs, shown, now.wall)
    blocked = _is_blocked(validation)
    due = None if blocked or runs.live else next_run(validation, after, now.wall)
    waits = due is not None and due.at > now.wall
    observed = report.observed_demand if report is not None else NOTHING_ASKED
    actions = tuple(_actions(validation, after, status, runs))
    departed = open_departure(validation, after)
    return DesiredState(
        node=node.name,
        selected=True,
        shown=shown or WAITING,
        report=after,
        before=report.verdict if report is not None else None,
        actions=actions,
        differs=any(
            isinstance(one, _MARKS)
            or (isinstance(one, WriteReport) and not _says_the_same(report, one.record))
            for one in actions
        ),
        refused=validation.refusal is not None,
        live=runs.live,
        due=None if waits else due,
        kept=runs.kept,
        departure=departed,
        retractions=retractions(validation.context.name, node, actions) if departed is not None else (),
        asked=(runs.live or not blocked)
        and demand(validation.context.revalidate, "").asks_all_beyond(observed),
        assessed=None if runs.outdated else _assessed(validation, after),
        outdated=runs.outdated,
        recheck_at=min(runs.until, now.steady_at(due.at) if due is not None and waits else NEVER),
    )


def held_back(state: DesiredState) -> DesiredState:
    """Return the state without the actions by which the node would show Compatible no more."""
    held = replace(state, actions=tuple(one for one in state.actions if one not in state.retractions))
    return replace(held, differs=held.unwritten)


def _assessed(validation: Validation, report: ReportRecord | None) -> Assessed | None:
    """Return the report's result, or None if it is not current, that is, about other inputs or a changed node."""
    result = report.result if report is not None else None
    if result is None or not validation.is_current(result.inputs_hash, result.fingerprint):
        return None
    return Assessed(result, validation.context.assessment_key(result))


def _outside(validation: Validation) -> DesiredState:
    """Return the desired state for a node that is not selected, or no longer: its probe pods are deleted at once.

    Label, condition and report are removed after a grace period (:mod:`gpuenv.plan.fleet.leaving`).
    """
    name, node = validation.context.name, validation.node
    marked = name in node.compat or name in node.compat_conditions
    actions = _deletions(validation.pods, "the node is not selected any more")
    return DesiredState(
        node.name,
        selected=False,
        report=validation.report,
        actions=actions,
        live=any(not is_over(pod) for pod in validation.pods),
        leaving=marked or validation.report is not None,
    )


def _deletions(pods: Iterable[PodRecord], why: str) -> tuple[DeletePod, ...]:
    """Return the deletion of each pod that still exists and whose deletion has not begun."""
    return tuple(
        DeletePod(pod.name, pod.uid, why) for pod in pods if not pod.vanished and pod.deleting_since is None
    )


def _replaced(validation: Validation, report: ReportRecord) -> DesiredState:
    """Return the desired state for a node whose report is about an earlier node of the same name.

    Everything that belongs to the earlier node is removed first.
    """
    shown = ShownVerdict(
        Verdict.UNKNOWN, reasons.Stale, "the node was replaced by another one of the same name"
    )
    leave = LeaveNode(validation.context.name, validation.node.name, report.node_uid, gone=True)
    return DesiredState(
        validation.node.name,
        selected=True,
        shown=shown,
        report=report,
        before=report.verdict,
        actions=(leave,),
        asked=bool(validation.context.revalidate),
    )


def _after(
    validation: Validation, runs: AfterRuns, shown: ShownVerdict | None, now: float
) -> tuple[ReportRecord | None, Json | None]:
    """Return the report with the verdict to show, and the status to write.

    If nothing has to be written, return the present report object, and None.
    """
    if shown is None:
        return None, None
    base, before = runs.report or blank(validation), validation.report
    if before is not None and base is before and _shows(before, shown):
        return before, None
    today = float(int(now))
    since = base.current_since if base.current_since and base.current == shown.current else today
    same_answer = _answer(base.verdict) == _answer(shown.verdict)
    after = replace(
        base,
        verdict=shown.verdict,
        reason=shown.reason,
        message=shown.message,
        current=shown.current,
        current_since=since,
        verdict_since=base.verdict_since if base.verdict_since and same_answer else today,
        departure=departure(validation, shown, base, now),
        left_since=None,
        # An attempt takes into account the generation for which its run was started, and no later one.
        environment_generation=base.environment_generation
        if base.attempt or runs.outdated
        else validation.context.generation,
    )
    if before is not None and _same(after, before):
        return before, None
    # Only what is stored counts: a message that is too long for the schema would differ from the stored one forever.
    status, after = fitted(after, remedies=shown.remedies, now=now)
    return (before, None) if before is not None and _same(after, before) else (after, status)


def _shows(report: ReportRecord, shown: ShownVerdict) -> bool:
    """Return whether the report already shows exactly this verdict, and says nothing more that may have to go."""
    return (report.verdict, report.reason, report.message, report.current) == (
        shown.verdict,
        shown.reason,
        shown.message,
        shown.current,
    ) and (report.departure, report.left_since) == (None, None)


def _answer(verdict: Verdict) -> bool | None:
    """Return whether the verdict is Compatible, or None if it is Unknown."""
    return None if verdict is Verdict.UNKNOWN else verdict is Verdict.COMPATIBLE


def _same(new: ReportRecord, old: ReportRecord) -> bool:
    """Return whether the new report need not be written: it says the same as the old one, but for the generation."""
    return (
        _is_same_result(new.result, old.result)
        and new.attempt == old.attempt
        and (new.departure, new.left_since) == (old.departure, old.left_since)
        and (new.verdict, new.reason, new.message, new.runs, new.observed_demand, new.current)
        == (old.verdict, old.reason, old.message, old.runs, old.observed_demand, old.current)
    )


def _is_same_result(new: Result | None, old: Result | None) -> bool:
    """Return whether two results are equal, whatever their assessments were based on."""
    if new is None or old is None or new is old:
        return new is old
    return replace(new, assessment_key=old.assessment_key) == old


def _says_the_same(old: ReportRecord | None, new: ReportRecord) -> bool:
    """Return whether the old report already shows the same verdict and reason as the new one."""
    return old is not None and (old.verdict, old.reason, old.current) == (
        new.verdict,
        new.reason,
        new.current,
    )


def _is_blocked(validation: Validation) -> bool:
    """Return whether no run of this environment may start on the node."""
    context, node = validation.context, validation.node
    stopped = context.spec.suspend or context.not_allowed
    return bool(stopped or validation.stuck or obstacle(context.spec, node))


def _actions(
    validation: Validation,
    after: ReportRecord | None,
    status: Json | None,
    runs: AfterRuns,
) -> list[ValidationAction]:
    """Return the actions in order: write the report, then label and node condition, then delete unneeded pods.

    ``status`` is that of the report ``after``, None if it need not be written. If the API server has refused it, the
    label becomes Unknown first: no verdict may outlive a result that cannot be stored.
    """
    actions: list[ValidationAction] = []
    if after is not None and status is not None:
        if validation.refusal is not None:
            actions += _unknown_while_refused(validation, after, validation.refusal)
        actions.append(
            WriteReport(
                environment=validation.context.name,
                environment_uid=validation.context.uid,
                node=validation.node.name,
                node_uid=validation.node.uid,
                name=after.name,
                exists=validation.report is not None,
                status=status,
                record=after,
            )
        )
    marks = _node_writes(validation.context, validation.node, after)
    actions += [mark for mark in marks if mark not in actions]
    actions += [DeletePod(pod.name, pod.uid, why) for pod, why in runs.delete]
    if runs.look is not None:
        actions.append(LookAtPod(validation.context.name, validation.node.name, runs.look.name))
    return actions


def _unknown_while_refused(
    validation: Validation, report: ReportRecord, refusal: Refusal
) -> list[ValidationAction]:
    """Return the actions that make the node's label and condition Unknown before the report is written again."""
    if report.verdict is not Verdict.UNKNOWN:
        message = one_line(refusal.message)
        report = replace(report, verdict=Verdict.UNKNOWN, reason=reasons.ReportRefused, message=message)
    return _node_writes(validation.context, validation.node, report)


def _node_writes(context: Context, node: NodeRecord, report: ReportRecord | None) -> list[ValidationAction]:
    """Return the actions that set the node's label and condition to the report's verdict, or remove disabled ones."""
    writes: list[ValidationAction] = []
    spec, name = context.spec, context.name
    label, condition = node.compat.get(name), node.compat_conditions.get(name)
    publishes_label, publishes_condition = spec.node_label != "None", spec.node_condition != "None"
    if report is not None and publishes_label:
        if label != report.verdict.value:
            writes.append(SetLabel(name, node.name, node.uid, report.verdict.value))
    elif label is not None and not publishes_label:
        writes.append(SetLabel(name, node.name, node.uid, None))
    if report is not None and publishes_condition:
        wanted = (_CONDITION_STATUS[report.verdict], report.reason or report.verdict.value)
        if condition != wanted:
            writes.append(SetNodeCondition(name, node.name, *wanted, condition_message(report.message)))
    elif condition is not None and not publishes_condition:
        writes.append(SetNodeCondition(name, node.name, None))
    return writes


def condition_message(text: str) -> str:
    """Return a text, cut to the bytes that the message of a node's condition may have."""
    return text.encode()[:MAX_CONDITION_BYTES].decode(errors="ignore")
