"""From the pods of one (environment, node) to its report: which run ended how, and what that leaves of the report."""

from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api import names, reasons
from gpuenv.assess.model import Verdict
from gpuenv.plan.context import Validation, knows_more, same_node
from gpuenv.plan.model import Attempt, PodRecord, ReportRecord, Result
from gpuenv.plan.objects.node_report import clip
from gpuenv.plan.run.clocks import is_over, is_stuck, observe
from gpuenv.plan.run.outcome import Ended, Running
from gpuenv.plan.validation.assessing import assessed_again, cure, new_result, runtime_verdict
from gpuenv.plan.validation.next_run import demand, next_run_id, run_id

NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class AfterRuns:
    """The report as it should be (what is displayed comes later), and what is to be done with the pods.

    ``kept`` is a failed pod that may stay for its logs. ``until``: when the run at hand has to be looked at again.
    """

    report: ReportRecord | None
    live: bool = False
    delete: tuple[tuple[PodRecord, str], ...] = ()
    kept: PodRecord | None = None
    until: float = NEVER


def report_after_runs(validation: Validation, now: float) -> AfterRuns:
    """Takes over what has ended since the report was written."""
    report, rejection = validation.report, validation.rejection
    if rejection is not None and rejection.run_id == next_run_id(validation.context, validation.node, report):
        # The refused pod would have answered what is asked now; asking again must not hammer the API server.
        token = demand(validation.context.revalidate, report.revalidate if report else "")
        said = _Said(rejection.run_id, rejection.reason, rejection.message, rejection.remediation, token)
        report = _tried(validation, report, said, now)
    delete: list[tuple[PodRecord, str]] = []
    kept: PodRecord | None = None
    until = NEVER
    running = later = False
    for pod in sorted(validation.pods, key=_newest_ended_first):
        why = _superfluous(validation, report, pod, running=running, later=later)
        if not why:
            running = not is_over(pod)
            report, until, why = _follow(validation, report, pod, now)
        later = later or is_over(pod)
        if why and pod.phase == "Failed" and not pod.vanished and kept is None and why in _LOGS_MATTER:
            kept = pod
        elif why and not pod.vanished and pod.deleting_since is None:
            delete.append((pod, why))
    if report is not None and report.result is not None:
        report = _reassessed(validation, report, report.result)
    live = any(
        not is_over(pod) and not is_stuck(pod, validation.context.settings, now) for pod in validation.pods
    )
    return AfterRuns(report, live, tuple(delete), kept, until)


def _newest_ended_first(pod: PodRecord) -> tuple[bool, float, str]:
    """Then what runs, oldest first."""
    return (False, -pod.created_at, pod.name) if is_over(pod) else (True, pod.created_at, pod.name)


_SETTLED: Final = "its outcome is recorded"
_OVERDUE: Final = "its time is up"
_LOGS_MATTER: Final = frozenset({_SETTLED})
_LINGERING: Final = 16
"""Runs back that a pod which does not go (a finalizer of somebody's) is still recognised."""


def _superfluous(
    validation: Validation, report: ReportRecord | None, pod: PodRecord, *, running: bool, later: bool
) -> str:
    """Why nobody waits for this pod; empty for the run at hand. ``later``: one that began later has ended."""
    if report is not None and _is_settled(validation, report, pod):
        return _SETTLED
    if not validation.is_current(pod.inputs_hash, pod.fingerprint):
        return "the image, other inputs or the node changed since it was created"
    if validation.context.spec.suspend and (
        pod.deleting_since is not None or not is_over(pod) or pod.vanished
    ):
        return "the environment is suspended"
    if later and is_over(pod):
        return "a later run has ended"
    return "another probe pod runs for this node" if running else ""


def _is_settled(validation: Validation, report: ReportRecord, pod: PodRecord) -> bool:
    """Whether the report has taken over this run, however long its pod lingers. Run ids count up with ``runs``."""
    known = {
        run_id(validation.context, validation.node, number)
        for number in range(max(0, report.runs - _LINGERING), report.runs)
    }
    known |= {found.run_id for found in (report.result, report.attempt) if found is not None}
    return pod.run_id in known


def _follow(
    validation: Validation, report: ReportRecord | None, pod: PodRecord, now: float
) -> tuple[ReportRecord | None, float, str]:
    """The run at hand: the report after it, when to look again, and why its pod may go (if it may)."""
    outcome = observe(pod, validation.node, validation.context.spec, validation.context.settings, now)
    if isinstance(outcome, Running):
        if outcome.overdue:
            return report, NEVER, _OVERDUE
        return report, outcome.until, ""
    if isinstance(outcome, Ended):
        return _concluded(validation, report, pod, outcome, now), NEVER, _SETTLED
    return report, NEVER, ""


def _concluded(
    validation: Validation, report: ReportRecord | None, pod: PodRecord, ended: Ended, now: float
) -> ReportRecord:
    said = _Said(
        pod.run_id, ended.reason, ended.message, cure(validation.context, ended.reason), pod.revalidate
    )
    if not ended.answered and runtime_verdict(validation.context, ended.runtime_error) is None:
        return _tried(validation, report, said, now)
    result = new_result(validation, pod, ended, now, previous=report.result if report is not None else None)
    if result.verdict is Verdict.UNKNOWN and _is_retried(result.reason):
        remedy = cure(validation.context, result.reason)
        said = _Said(pod.run_id, result.reason, result.message, remedy, pod.revalidate)
        tried = _tried(validation, report, said, now)
        if result.reason == reasons.GpuBusy:
            return tried
        return replace(tried, result=_with_doubt(result, report.result if report is not None else None))
    return replace(_begun(validation, report, pod.revalidate), result=result, attempt=None)


def _is_retried(reason: str) -> bool:
    """Return whether the run gave no answer that is worth keeping until the interval is over."""
    return reasons.behaviour(reason).next_run is reasons.NextRun.BACKOFF


def _with_doubt(result: Result, previous: Result | None) -> Result:
    """A crash neither confirms nor clears what a run before it has seen once."""
    if previous is None or result.unconfirmed or previous.inputs_hash != result.inputs_hash:
        return result
    known = same_node(previous.fingerprint, result.fingerprint)
    return replace(result, unconfirmed=previous.unconfirmed) if known else result


@dataclass(frozen=True, slots=True)
class _Said:
    """How a try ended, in words. ``token``: the on-demand tokens that it answers."""

    run_id: str
    reason: str
    message: str
    remediation: str
    token: str


def blank(validation: Validation) -> ReportRecord:
    """Return the first report of a validation, with nothing in it yet."""
    return ReportRecord(
        name=names.report_name(validation.context.name, validation.node.name),
        uid="",
        environment=validation.context.name,
        node=validation.node.name,
        node_uid=validation.node.uid,
        verdict=Verdict.UNKNOWN,
        reason="",
        message="",
        answered_generation=validation.context.generation,
    )


def _begun(validation: Validation, report: ReportRecord | None, token: str) -> ReportRecord:
    """The report after one more run, whatever its outcome."""
    base = report or blank(validation)
    generation = validation.context.generation
    return replace(base, runs=base.runs + 1, answered_generation=generation, observed_revalidate=token)


def _tried(validation: Validation, report: ReportRecord | None, said: _Said, now: float) -> ReportRecord:
    """The report after a try without an answer; tries in a row under the same circumstances are counted."""
    last = report.attempt if report is not None else None
    again = last is not None and validation.is_current(last.inputs_hash, last.fingerprint)
    attempt = Attempt(
        run_id=said.run_id,
        reason=said.reason,
        message=clip(said.message),
        remediation=clip(said.remediation),
        at=float(int(now)),
        inputs_hash=validation.context.inputs_hash,
        fingerprint=validation.node.fingerprint,
        count=last.count + 1 if last is not None and again else 1,
    )
    return replace(_begun(validation, report, said.token), attempt=attempt)


def _reassessed(validation: Validation, report: ReportRecord, result: Result) -> ReportRecord:
    if not validation.is_current(result.inputs_hash, result.fingerprint):
        return report
    again = assessed_again(validation, result)
    if knows_more(validation.node.fingerprint, again.fingerprint):
        again = replace(again, fingerprint=validation.node.fingerprint)
    return report if again is result else replace(report, result=again)
