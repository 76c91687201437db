"""Record why a node stops being Compatible, unless somebody wanted it, so that a mass change can be noticed.

:mod:`gpuenv.plan.fleet.mass_change` counts these departures, and may hold labels back because of them. They are stored in
node reports, so that a restart of the operator forgets none.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import SetLabel, SetNodeCondition, ValidationAction
from gpuenv.plan.context import Validation, driver_changed, same_machine
from gpuenv.plan.objects.times import is_ahead
from gpuenv.plan.snapshot import Departure, NodeRecord, ReportRecord, Result
from gpuenv.plan.validation.shown_verdict import ShownVerdict

MAX_CAUSE: Final = 128
"""The largest number of characters of a cause. Images and node labels contribute to it."""
_DIGITS: Final = 12
"""How many digits of an image's digest a cause names."""


def departure(
    validation: Validation, shown: ShownVerdict, after: ReportRecord, now: float
) -> Departure | None:
    """Return how the node stopped being Compatible; None if it is, if it never was, or if somebody wanted the change.

    ``after`` is the report with all runs so far. The verdict in the stored report says whether the node was Compatible.
    """
    stored = validation.report
    if stored is None or shown.verdict is Verdict.COMPATIBLE or _is_wanted(validation, stored):
        return None
    known = stored.departure
    if known is not None and is_ahead(known.at, now):
        return replace(known, at=float(int(now)))
    if known is not None or stored.verdict is not Verdict.COMPATIBLE:
        return known
    cause = one_line(_cause(validation, stored.result, after.result, shown), MAX_CAUSE)
    return Departure(float(int(now)), cause, validation.context.accepted_change)


def _is_wanted(validation: Validation, stored: ReportRecord) -> bool:
    """Return whether somebody has changed the environment's inputs or expectations since the stored verdict."""
    last = stored.result or stored.attempt
    inputs_changed = last is not None and last.inputs_hash != validation.context.inputs_hash
    return inputs_changed or validation.context.expectations_changed


def open_departure(validation: Validation, after: ReportRecord | None) -> Departure | None:
    """Return the departure in the report if it counts, and if the node's label may be held back because of it.

    It does not after it was accepted, nor while the last evidence is gone: the node was rebooted since the last run, or
    the API server refuses the report. Then the label says Unknown at once, whatever happens to other nodes.
    """
    if after is None or after.departure is None or after.result is None or validation.refusal is not None:
        return None
    if not same_machine(after.result.fingerprint, validation.node.fingerprint):
        return None
    # It is greater if the environment's status, which remembers the number, was lost.
    is_open = after.departure.accepted_change >= validation.context.accepted_change
    return after.departure if is_open else None


def retractions(
    environment: str, node: NodeRecord, actions: Iterable[ValidationAction]
) -> tuple[ValidationAction, ...]:
    """Return those actions by which a node that shows Compatible will show a worse verdict."""
    shows = node.compat.get(environment) == Verdict.COMPATIBLE.value
    is_true = node.compat_conditions.get(environment, ("", ""))[0] == "True"
    return tuple(
        one
        for one in actions
        if (isinstance(one, SetLabel) and shows and one.value is not None)
        or (isinstance(one, SetNodeCondition) and is_true and one.status not in (None, "True"))
    )


# ---- causes ----------------------------------------------------------------------------------------------


def _cause(validation: Validation, before: Result | None, after: Result | None, shown: ShownVerdict) -> str:
    """Return in a few words what has changed. Nodes that leave Compatible for the same cause get the same words."""
    reason = shown.reason or shown.verdict.value
    if before is None or after is None:
        return reason
    driver = _driver(validation, before, after)
    if driver:
        return driver
    if not same_machine(before.fingerprint, validation.node.fingerprint):
        return "reboot"
    if before.run_id == after.run_id:
        return reason if after.verdict is Verdict.COMPATIBLE else f"{reason} without a new run"
    return _image(before, after) or reason


def _driver(validation: Validation, before: Result, after: Result) -> str:
    """Return the change of the driver, as labels or the new run name it, or "" if it did not change."""
    old, new = dict(before.versions).get("driver", ""), dict(after.versions).get("driver", "")
    if driver_changed(before.fingerprint, validation.node.fingerprint):
        new = validation.node.facts.driver_version or new
    return f"driver {old} -> {new}" if old and new and old != new else ""


def _image(before: Result, after: Result) -> str:
    """Return the change of the content of the image, or "" if it is the same, or the digests cannot be compared."""
    (kind, _, old), (new_kind, _, new) = (
        before.image_digest.rpartition(":"), after.image_digest.rpartition(":"),
    )  # fmt: skip
    differs = bool(old and new) and kind == new_kind and old != new
    return f"image content {old[:_DIGITS]} -> {new[:_DIGITS]}" if differs else ""
