"""Compute the node report of a validation from its probe pods, and which of the pods can be deleted.

This takes three passes. The first writes the newest run that has ended into the report. The second chooses the current
run and looks at its state. The third lists every pod that is no longer needed, with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.remedies import Remedies
from gpuenv.assess.model import Verdict
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.context import Validation, knows_more, same_node
from gpuenv.plan.demand import Demand
from gpuenv.plan.moment import Moment
from gpuenv.plan.run.clocks import is_over, is_stuck, is_time_up, observe
from gpuenv.plan.run.outcome import Ended, Running
from gpuenv.plan.snapshot import NEVER, Attempt, PodRecord, Refusal, ReportRecord, Result
from gpuenv.plan.validation.assessing import (
    assessed_again,
    is_outdated,
    new_result,
    remedies_of,
    remedies_of_end,
    runtime_verdict,
)
from gpuenv.plan.validation.next_run import next_run_id, run_id


@dataclass(frozen=True, slots=True)
class AfterRuns:
    """The node report with all runs so far, but without the verdict to show, and what to do with the probe pods.

    ``live``: a probe pod of the validation exists and may still end by itself. ``delete`` holds the pods to delete,
    each with the reason. ``kept`` is a failed pod that is kept for its log. ``until`` is when the current run has to be
    looked at again, in steady seconds. ``outdated``: the report's result was assessed with other expectations, tables or
    peers than the present ones, and this plan has no time to assess it again.
    """

    report: ReportRecord | None
    live: bool = False
    delete: tuple[tuple[PodRecord, str], ...] = ()
    kept: PodRecord | None = None
    until: float = NEVER
    look: PodRecord | None = None
    """A pod that has to be read from the API server before the time limits of its run count."""
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class _Current:
    """The current run of a validation. ``pod`` is its probe pod, None if there is no current run.

    ``until`` is when the run has to be looked at again, in steady seconds. ``overdue``: it has exceeded a time limit.
    """

    pod: PodRecord | None = None
    until: float = NEVER
    overdue: bool = False
    unconfirmed: bool = False
    """Whether a time limit is over, but only as far as the cache knows."""


def report_after_runs(validation: Validation, now: Moment, allowance: Allowance) -> AfterRuns:
    """Return the report with everything that has happened since it was written, and what to do with the pods.

    If ``allowance`` leaves a result to the next plan, the report stays as it is in this respect.
    """
    ended = sorted(
        (pod for pod in validation.pods if is_over(pod)), key=lambda pod: (-pod.created_at, pod.name)
    )
    others = sorted(
        (pod for pod in validation.pods if not is_over(pod)), key=lambda pod: (pod.created_at, pod.name)
    )
    report = _after_rejection(validation, now)
    newest = _newest(validation, report, ended)
    if newest is not None and not allowance.take():
        return AfterRuns(report, live=True, until=now.steady, outdated=_is_outdated(validation, report))
    if newest is not None:
        report = _after_pod(validation, report, newest, now)[0]
    report, current = _after_current(validation, report, others, now)
    kept: PodRecord | None = None
    delete: list[tuple[PodRecord, str]] = []
    for pod, why in _unneeded(validation, report, ended, others, current):
        if why == _RECORDED and pod.phase == "Failed" and not pod.vanished and kept is None:
            kept = pod
        elif not pod.vanished and pod.deleting_since is None:
            delete.append((pod, why))
    outdated = _is_outdated(validation, report)
    if report is not None and report.result is not None:
        if outdated and allowance.take():
            report, outdated = _reassessed(validation, report, report.result), False
        report = _completed(validation, report, report.result)
    live = any(not is_stuck(pod, validation.context.settings, now.steady) for pod in others)
    look = current.pod if current.unconfirmed else None
    return AfterRuns(report, live, tuple(delete), kept, current.until, look, outdated)


def without_refused(
    validation: Validation, report: ReportRecord, refusal: Refusal, now: Moment
) -> ReportRecord:
    """Return the report with an attempt in place of everything that its last run found.

    The API server refused to store the report. Without facts and checks it is small and contains no foreign text. The
    earlier result is dropped, too: a verdict must not outlive a later result that could not be stored.
    """
    run = report.attempt or report.result
    if run is None:
        return report
    remedies = remedies_of(validation.context, reasons.ReportRefused)
    message = f"the API server refused to store the result of this run: {one_line(refusal.message)}"
    no_result = _NoResult(run.run_id, reasons.ReportRefused, message, remedies, report.observed_demand)
    tried = _tried(validation, validation.report, no_result, now)
    assert tried.attempt is not None
    attempt = replace(tried.attempt, inputs_hash=run.inputs_hash, fingerprint=run.fingerprint)
    return replace(tried, runs=report.runs, attempt=attempt, result=None)


# ---- first pass: runs that have ended --------------------------------------------------------------------


def _after_rejection(validation: Validation, now: Moment) -> ReportRecord | None:
    """Return the report, with an attempt if the API server has refused to create the next probe pod."""
    report, rejection = validation.report, validation.rejection
    if rejection is None or rejection.attempt.run_id != next_run_id(
        validation.context, validation.node, report
    ):
        return report
    # The refused run counts as one that took its revalidate annotations into account. Otherwise it would be due again at
    # once, without a pause, as long as the API server refuses it.
    refused = rejection.attempt
    no_result = _NoResult(refused.run_id, refused.reason, refused.message, refused.remedies, rejection.demand)
    return _tried(validation, report, no_result, now)


def _newest(
    validation: Validation, report: ReportRecord | None, ended: Sequence[PodRecord]
) -> PodRecord | None:
    """Return the newest pod that has ended, if its run is not in the report yet. Earlier runs would add nothing to it."""
    return ended[0] if ended and not _reason_to_ignore(validation, report, ended[0]) else None


# ---- second pass: the current run ------------------------------------------------------------------------


def _after_current(
    validation: Validation, report: ReportRecord | None, others: Sequence[PodRecord], now: Moment
) -> tuple[ReportRecord | None, _Current]:
    """Return the report, and the current run: that of the oldest pod that has not ended and is still needed.

    The report includes the current run if its outcome is known before its pod ends. For example, a pod whose image
    cannot be pulled will never report anything.
    """
    for pod in others:
        if not _reason_to_ignore(validation, report, pod):
            return _after_pod(validation, report, pod, now)
    return report, _Current()


def _after_pod(
    validation: Validation, report: ReportRecord | None, pod: PodRecord, now: Moment
) -> tuple[ReportRecord | None, _Current]:
    if not pod.uid:
        return report, _Current(pod, unconfirmed=True)
    outcome = observe(pod, validation.node, validation.context.spec, validation.context.settings, now.steady)
    if is_time_up(pod, outcome) and not pod.confirmed:
        return report, _Current(pod, unconfirmed=True)
    match outcome:
        case Running(until=until, overdue=overdue):
            return report, _Current(pod, NEVER if overdue else until, overdue)
        case Ended():
            return _concluded(validation, report, pod, outcome, now), _Current(pod)
    return report, _Current(pod)


# ---- third pass: pods that are no longer needed ----------------------------------------------------------

_RECORDED: Final = "its outcome is recorded"
NOT_ALLOWED: Final = "the administrator's limits do not allow the environment"
_LINGERING: Final = 16
"""How many of the latest run ids are recognised. Another tool's finalizer can keep a pod through several runs."""


def _unneeded(
    validation: Validation,
    report: ReportRecord | None,
    ended: Sequence[PodRecord],
    others: Sequence[PodRecord],
    current: _Current,
) -> Iterator[tuple[PodRecord, str]]:
    """Yield the pods that are no longer needed, each with the reason."""
    for pod in ended:
        yield pod, _reason_to_ignore(validation, report, pod) or "a later run has ended"
    for pod in others:
        why = _reason_to_ignore(validation, report, pod)
        if not why and pod is current.pod:
            why = "its time is up" if current.overdue else ""
        elif not why:
            why = "another probe pod runs for this node"
        if why:
            yield pod, why


def _reason_to_ignore(validation: Validation, report: ReportRecord | None, pod: PodRecord) -> str:
    """Return why the outcome of this pod's run does not matter any more, or "" if it still matters."""
    if report is not None and _is_recorded(validation, report, pod):
        return _RECORDED
    if not validation.is_current(pod.inputs_hash, pod.fingerprint):
        return "the image, other inputs or the node changed since it was created"
    if is_over(pod) and not pod.vanished and pod.deleting_since is None:
        return ""
    if validation.context.not_allowed:
        return NOT_ALLOWED
    return "the environment is suspended" if validation.context.spec.suspend else ""


def _is_recorded(validation: Validation, report: ReportRecord, pod: PodRecord) -> bool:
    """Return whether the report already includes the run of this pod.

    Run ids are computed from run numbers, so the ids of the last ``_LINGERING`` runs can be computed again.
    """
    known = {
        run_id(validation.context, validation.node, number)
        for number in range(max(0, report.runs - _LINGERING), report.runs)
    }
    known |= {found.run_id for found in (report.result, report.attempt) if found is not None}
    return pod.run_id in known


# ---- one run in the report -------------------------------------------------------------------------------


def _concluded(
    validation: Validation, report: ReportRecord | None, pod: PodRecord, ended: Ended, now: Moment
) -> ReportRecord:
    """Return the report with a run that has ended: with its result, with an attempt, or with both.

    If the result is Unknown for a reason that a later run may clear up, the run also counts as an attempt, so that the
    next run starts after a pause.
    """
    no_result = _NoResult(
        pod.run_id,
        ended.reason,
        ended.message,
        remedies_of_end(validation.context, ended),
        pod.demand,
    )
    if not ended.answered and runtime_verdict(validation.context, ended.runtime_error) is None:
        return _tried(validation, report, no_result, now)
    previous = report.result if report is not None else None
    result = new_result(validation, pod, ended, now.wall, previous=previous)
    if result.verdict is Verdict.UNKNOWN and _is_retried(result.reason):
        remedies = remedies_of(validation.context, result.reason)
        no_result = _NoResult(pod.run_id, result.reason, result.message, remedies, pod.demand)
        tried = _tried(validation, report, no_result, now)
        if result.reason == reasons.GpuBusy:
            return tried
        return replace(tried, result=_with_doubt(result, previous), owes_answer=False)
    begun = _begun(validation, report, pod.demand)
    return replace(begun, result=result, attempt=None, owes_answer=False)


def _is_retried(reason: str) -> bool:
    """Return whether a run that ended with this reason is repeated after a pause, and not only at the interval."""
    return reasons.behaviour(reason).next_run is reasons.NextRun.BACKOFF


def _with_doubt(result: Result, previous: Result | None) -> Result:
    """Return the Unknown result of a run, with the unconfirmed reason of the previous result.

    A run that crashed, for example, neither confirms nor refutes that reason. If inputs or node have changed since, the
    reason is dropped.
    """
    if previous is None or result.unconfirmed or previous.inputs_hash != result.inputs_hash:
        return result
    known = same_node(previous.fingerprint, result.fingerprint)
    return replace(result, unconfirmed=previous.unconfirmed) if known else result


@dataclass(frozen=True, slots=True)
class _NoResult:
    """Why a run led to no result. ``demand``: the revalidate annotations that the run took into account."""

    run_id: str
    reason: str
    message: str
    remedies: Remedies
    demand: Demand


def blank(validation: Validation) -> ReportRecord:
    """Return a new report of a validation, without any run in it."""
    return ReportRecord(
        name=names.report_name(validation.context.name, validation.node.name),
        uid="",
        environment=validation.context.name,
        node=validation.node.name,
        node_uid=validation.node.uid,
        verdict=Verdict.UNKNOWN,
        reason="",
        message="",
        environment_generation=validation.context.generation,
    )


def _begun(validation: Validation, report: ReportRecord | None, demand: Demand) -> ReportRecord:
    """Return the report with one more run counted, of any outcome. ``demand`` becomes its ``observed_demand``."""
    base = report or blank(validation)
    generation = validation.context.generation
    return replace(base, runs=base.runs + 1, environment_generation=generation, observed_demand=demand)


def _tried(
    validation: Validation, report: ReportRecord | None, no_result: _NoResult, now: Moment
) -> ReportRecord:
    """Return the report with an attempt, that is, a run without a result.

    The attempt counts how many such runs followed each other with the same inputs on the same node.
    """
    before = report or blank(validation)
    last = before.attempt
    again = last is not None and validation.is_current(last.inputs_hash, last.fingerprint)
    attempt = Attempt(
        run_id=no_result.run_id,
        reason=no_result.reason,
        message=no_result.message,
        remedies=no_result.remedies,
        at=float(int(now.wall)),
        inputs_hash=validation.context.inputs_hash,
        fingerprint=validation.node.fingerprint,
        count=last.count + 1 if last is not None and again else 1,
    )
    owes = before.owes_answer or no_result.demand.asks_beyond(before.observed_demand)
    return replace(_begun(validation, report, no_result.demand), attempt=attempt, owes_answer=owes)


def _is_outdated(validation: Validation, report: ReportRecord | None) -> bool:
    """Return whether the report has a result that is current, but has to be assessed again."""
    result = report.result if report is not None else None
    if result is None or not validation.is_current(result.inputs_hash, result.fingerprint):
        return False
    return is_outdated(validation, result)


def _reassessed(validation: Validation, report: ReportRecord, result: Result) -> ReportRecord:
    """Return the report with its result assessed by the present expectations and tables."""
    again = assessed_again(validation, result)
    return report if again is result else replace(report, result=again)


def _completed(validation: Validation, report: ReportRecord, result: Result | None) -> ReportRecord:
    """Return the report with the driver in the result's fingerprint, if the node's labels name it only since the run."""
    fingerprint = validation.node.fingerprint
    if result is None or not validation.is_current(result.inputs_hash, result.fingerprint):
        return report
    if not knows_more(fingerprint, result.fingerprint):
        return report
    return replace(report, result=replace(result, fingerprint=fingerprint))
