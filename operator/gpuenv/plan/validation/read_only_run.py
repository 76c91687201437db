"""Say where the read-only root file system of a probe pod may be the cause of what a run found.

An image's entry point often writes files when it starts. What it prints about a failure is only in the pod's log, which
the operator does not read, so that the cause cannot always be known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.spec.environment import ProbeSpec
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Check, Status
from gpuenv.assess.policies.read_only_root import refused_write
from gpuenv.knowledge import Knowledge
from gpuenv.plan.run.outcome import Ended

_CURE: Final = "set spec.probe.rootFilesystem: Writable"


def explained(ended: Ended, probe: ProbeSpec, knowledge: Knowledge) -> Ended:
    """Return the outcome of a run with the reason ReadOnlyFilesystem if the last words of its pod show this cause.

    If the pod left no report at all, the message says how to recognise this cause in the pod's log.
    """
    unreadable = ended.reason in (reasons.ProbeCrashed, reasons.ReportInvalid)
    if probe.root_filesystem != "ReadOnly" or not unreadable:
        return ended
    if refused_write(ended.message, knowledge):
        return replace(ended, reason=reasons.ReadOnlyFilesystem)
    if ended.facts is None and ended.kernels is None:
        hint = f"if its log (kubectl logs) says 'Read-only file system', {_CURE}"
        return replace(ended, message=f"{ended.message}; {hint}")
    return ended


def doubts(checks: Iterable[Check], facts: Facts, probe: ProbeSpec, knowledge: Knowledge) -> Iterator[Check]:
    """Yield a Note if a check failed in a container whose entry point could not write to the root file system.

    The entry point may have failed to prepare the image, without a sign of it in the probe report.
    """
    confined = probe.use_entrypoint and facts.container.root_read_only is True
    if confined and any(check.status is Status.FAIL for check in checks):
        text = knowledge.reasons[reasons.ReadOnlyFilesystem]
        message = (
            f"the root file system was read-only: if the image's entry point writes outside /tmp, {_CURE}"
        )
        yield Check(
            check_names.PROBE_POD,
            Status.NOTE,
            reasons.ReadOnlyFilesystem,
            message,
            text.remedies,
            text.source,
        )
