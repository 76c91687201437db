"""Compute when the next run of a validation is due, how urgent it is, and its run id."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gpuenv.api import reasons
from gpuenv.plan.context import Context, Validation
from gpuenv.plan.demand import demand
from gpuenv.plan.objects.times import is_ahead
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Attempt, NodeRecord, ReportRecord

JITTER: Final = 0.1
"""Largest share by which pauses between runs vary. Otherwise nodes validated together would be due together again."""


class Priority(IntEnum):
    """Why a run is due. The most urgent reason has the smallest value."""

    ON_DEMAND = 0
    CONFIRMATION = 1
    STALE = 2
    NEVER_VALIDATED = 3
    RETRY = 4
    AGE = 5


@dataclass(frozen=True, slots=True)
class Due:
    """The next run of a validation: why it is due, and when (``at``, in epoch seconds; 0 means at once)."""

    priority: Priority
    at: float


def next_run(validation: Validation, report: ReportRecord | None, now: float) -> Due:
    """Return when and why the next run is due, given the node report and the time. Holds and limits are not considered."""
    context, node = validation.context, validation.node
    if report is None:
        return Due(Priority.NEVER_VALIDATED, 0.0)
    if demand(context.revalidate, report.revalidate).asks_beyond(report.observed_demand):
        return Due(Priority.ON_DEMAND, 0.0)
    attempt, result = report.attempt, report.result
    if attempt is not None and validation.is_current(attempt.inputs_hash, attempt.fingerprint):
        if context.generation > report.environment_generation:
            return Due(Priority.RETRY, 0.0)  # The environment was changed; perhaps a pull secret was added.
        return _after(Priority.RETRY, attempt.at, _wait(validation, attempt), now)
    if result is None:
        return Due(Priority.NEVER_VALIDATED, 0.0)
    if not validation.is_current(result.inputs_hash, result.fingerprint):
        return Due(Priority.STALE, 0.0)
    if result.unconfirmed:
        return Due(Priority.CONFIRMATION, 0.0)
    spread = 1 + JITTER * (2 * fraction(context.uid, node.uid) - 1)
    return _after(Priority.AGE, result.validated_at, context.spec.revalidation_period_seconds * spread, now)


def _after(priority: Priority, stored: float, seconds: float, now: float) -> Due:
    """Return a run that is due so many seconds after a stored time, or at once if that time lies in the future.

    Such a time says only that a clock was wrong. A run that waited for it, or for as long again as it is ahead, would
    come late by as much as the clock was wrong.
    """
    return Due(priority, 0.0 if is_ahead(stored, now) else stored + seconds)


def _wait(validation: Validation, attempt: Attempt) -> float:
    context, node = validation.context, validation.node
    if reasons.behaviour(attempt.reason).next_run is reasons.NextRun.INTERVAL:
        return float(context.spec.revalidation_period_seconds)
    seconds = backoff(context.settings, attempt.count)
    return seconds * (1 + JITTER * fraction(context.uid, node.uid, attempt.run_id))


def backoff(settings: Settings, count: int) -> float:
    """Return the pause in seconds before the next run, after ``count`` runs in a row without a result."""
    doublings = min(max(count - 1, 0), 30)
    return float(min(settings.retry_seconds * 2.0**doublings, settings.retry_max_seconds))


def fraction(*parts: str) -> float:
    """Return a number from 0 to 1 computed from a hash of ``parts``, so that equal parts give equal numbers."""
    return int(hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8], 16) / 2**32


def run_id(context: Context, node: NodeRecord, number: int) -> str:
    """Return the id of run number ``number`` with the present inputs on the node in its present state."""
    text = "\0".join([context.uid, node.uid, node.fingerprint, context.inputs_hash, str(number)])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:10]


def next_run_id(context: Context, node: NodeRecord, report: ReportRecord | None) -> str:
    """Return the id of the next run. It stays the same until that run has ended, so that no run is created twice.

    Run numbers whose id is that of the report's result or attempt are skipped: if somebody deletes the report, the
    numbers start from 0 again, although a pod from before the deletion may already have used one of them.
    """
    if report is None:
        return run_id(context, node, 0)
    taken = {found.run_id for found in (report.result, report.attempt) if found is not None}
    numbers = range(report.runs, report.runs + len(taken) + 1)
    return next(found for number in numbers if (found := run_id(context, node, number)) not in taken)
