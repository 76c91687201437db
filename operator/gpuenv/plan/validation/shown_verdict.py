"""Choose the verdict that a node report shows: that of the current result, or Unknown with a reason."""

from dataclasses import dataclass
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.reasons import Reason
from gpuenv.api.remedies import Remedies
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.api.tolerant import mapping, text
from gpuenv.assess.model import Verdict
from gpuenv.assess.sources.probe.probe_document import FACTS
from gpuenv.plan.context import Context, Validation, same_node
from gpuenv.plan.objects import stored_document
from gpuenv.plan.snapshot import NodeRecord, PodRecord, ReportRecord, Result
from gpuenv.plan.validation.assessing import remedies_of


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """The verdict that a node report shows.

    ``answered``: no run is expected to change the verdict soon. ``current``: the verdict is that of a current result,
    that is, of a run with the present inputs on the node in its present state.
    """

    verdict: Verdict
    reason: str = ""
    message: str = ""
    remedies: Remedies = ()
    answered: bool = False
    current: bool = False


WAITING: Final = ShownVerdict(Verdict.UNKNOWN, reasons.NotYetValidated, "no probe has run yet")


def shown_verdict(validation: Validation, report: ReportRecord | None) -> ShownVerdict | None:
    """Return the verdict that the node report should show, or None if there is no report and none is needed yet.

    ``report`` is the report with all runs so far, None if there is none.
    """
    context, node, stuck = validation.context, validation.node, validation.stuck
    result = report.result if report is not None else None
    valid = result is not None and validation.is_current(result.inputs_hash, result.fingerprint)
    if stuck is not None and (stuck.environment == context.name or not valid):
        return _stuck(context, stuck)
    absent = missing_device(context.spec, node)
    if absent:
        return _unknown(context, reasons.GpuNotAdvertised, absent)
    if result is not None and valid:
        return _result(result, report)
    held = hold(node)
    if held:
        return _unknown(context, reasons.HeldOff, f"held off: {held}{_former(result)}")
    attempt = report.attempt if report is not None else None
    if (
        report is not None
        and attempt is not None
        and validation.is_current(attempt.inputs_hash, attempt.fingerprint)
    ):
        message, remedies = attempt.message + _former(result), attempt.remedies
        # If the environment was changed since, only the next run answers the change.
        answered = report.environment_generation >= context.generation
        return ShownVerdict(Verdict.UNKNOWN, attempt.reason, message, remedies, answered=answered)
    if result is not None:
        return ShownVerdict(
            Verdict.UNKNOWN, reasons.Stale, _stale(context, node, result), remedies_of(context, reasons.Stale)
        )
    return WAITING if report is not None else None


def hold(node: NodeRecord) -> str:
    """Return why no run may start on the node now, or "" if a run may start."""
    return node.hold or ("" if node.ready else "the node is not ready")


def obstacle(spec: EnvironmentSpec, node: NodeRecord) -> str:
    """Return why no run of the environment may start on the node now, or "" if one may start."""
    return hold(node) or missing_device(spec, node)


def missing_device(spec: EnvironmentSpec, node: NodeRecord) -> str:
    """Return a message that the node offers no allocatable device, or "" if it offers at least one.

    The device is the one that the environment's probe requests.
    """
    resource = spec.probe.device.resource_name
    capacity, allocatable = node.devices.get(resource, (0, 0))
    if allocatable > 0:
        return ""
    if resource not in node.devices:
        return f"the node does not advertise {resource} at all"
    return f"the node advertises {capacity} {resource}, of which {allocatable} can be used"


def _unknown(context: Context, reason: Reason, message: str) -> ShownVerdict:
    return ShownVerdict(Verdict.UNKNOWN, reason, message, remedies_of(context, reason), answered=True)


def _stuck(context: Context, pod: PodRecord) -> ShownVerdict:
    whose = "" if pod.environment == context.name else f" (of environment {pod.environment})"
    message = f"probe pod {pod.name}{whose} was deleted and does not end; the node is probed no more until it is gone"
    return _unknown(context, reasons.ProbeStuck, message)


def _result(result: Result, report: ReportRecord | None) -> ShownVerdict:
    found = (check.remedies for check in result.checks if check.reason == result.reason)
    remedies = next(found, ()) if result.reason else ()
    waits = bool(result.unconfirmed) and (report is None or report.attempt is None)
    return ShownVerdict(
        result.verdict, result.reason, result.message, remedies, answered=not waits, current=True
    )


def _former(result: Result | None) -> str:
    return (
        f" (before: {result.verdict.value}, of other inputs or an earlier state of the node)"
        if result
        else ""
    )


def _stale(context: Context, node: NodeRecord, result: Result) -> str:
    """Return a message about what changed since the last run (inputs, node or driver), as far as it is known."""
    changed = []
    if result.inputs_hash != context.inputs_hash:
        changed.append("the image or other inputs of the probe changed")
    if not same_node(result.fingerprint, node.fingerprint):
        before = text(mapping(stored_document.unpack(result.probe), FACTS, "driver").get("version"))
        driver = node.facts.driver_version
        if before and driver and before != driver:
            changed.append(f"the driver changed from {before} to {driver}")
        else:
            changed.append("the node was rebooted or its driver changed")
    return f"{' and '.join(changed)} since the last run, which said {result.verdict.value}"
