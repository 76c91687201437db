"""Find out how a probe pod ended: its probe reports, or the reason why a report is missing or partial.

The reasons that the kubelet writes: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and
https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions.
"""

import re
import signal
from dataclasses import dataclass, replace
from typing import Any, Final

from gpuenv.api import names, reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.spec.device import GPUDevice
from gpuenv.api.tolerant import text
from gpuenv.plan.run import start_failure
from gpuenv.plan.run.outcome import Ended, attempt
from gpuenv.plan.snapshot import ContainerRecord, PodRecord
from gpuenv_probe import codec

OTHER_RUN: Final = "otherRun"
OTHER_STAGE: Final = "otherStage"
TERMINAL: Final = frozenset({"Succeeded", "Failed"})
"""Phases of a pod that has ended."""
PYTHON_TOO_OLD: Final = 65
"""Exit code of a probe that does not support the version of Python in the image."""
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
"""Exit code of a shell that did not find the command. 126 means that the command may not be executed.

An image's entry point can be a shell script that starts the probe (POSIX, Shell Command Language, 2.8.2).
"""
SEEN_CHARACTERS: Final = 200
"""How many characters of what a container wrote a message quotes."""
_EVICTIONS: Final = frozenset(
    {"Evicted", "NodeShutdown", "Shutdown", "Terminated", "NodeLost", "NodeAffinity"}
)
_STORAGE_EXCEEDED: Final = re.compile(
    r"exceeds the (total )?limit|exceeded its local ephemeral storage limit"
)
"""Matches the kubelet's message about a pod that it evicts because of the pod's own limits, not to relieve the node.

https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/eviction/eviction_manager.go
"""
_PREEMPTIONS: Final = frozenset({"Preempting", "Preempted"})


@dataclass(frozen=True, slots=True)
class _Stage:
    """A container that ran one stage, with its decoded probe report.

    ``report`` is None if the container has not terminated, or if its report cannot be used; ``kind`` then names the
    fault (a key of ``_KINDS``).
    """

    container: ContainerRecord
    report: dict[str, Any] | None
    kind: str = ""

    @property
    def complete(self) -> bool:
        return self.report is not None and self.report.get("complete") is True


def ended(pod: PodRecord, device: GPUDevice, *, overdue: bool) -> Ended:
    """Return the outcome of a pod that has ended. ``overdue``: it was deleted because its stage took too long."""
    facts = _read(pod.facts, names.FACTS_CONTAINER, pod.run_id)
    kernels = _read(pod.kernels, names.KERNELS_CONTAINER, pod.run_id)
    if facts.complete and kernels.complete:
        return Ended(facts=facts.report, kernels=kernels.report)
    found = _ended_from_outside(pod, device, kernels, overdue=overdue) or _trouble(facts) or _trouble(kernels)
    if found is None:
        found = _nothing_wrong(pod, facts, kernels)
    return replace(found, facts=facts.report, kernels=kernels.report) if found.answered else found


def _nothing_wrong(pod: PodRecord, facts: _Stage, kernels: _Stage) -> Ended:
    if facts.report is not None and kernels.report is not None:
        return Ended()  # A report is partial, and says itself why.
    if facts.container.exit_code is None:
        words = one_line(pod.message, 300) or pod.reason or "no container was started"
        return attempt(reasons.SandboxFailed, f"the pod ended before the probe began: {words}")
    return Ended(reasons.ProbeCrashed, "the pod ended before its second stage began")


def _read(container: ContainerRecord, stage: str, run_id: str) -> _Stage:
    if container.exit_code is None:
        return _Stage(container, None)
    try:
        report = codec.decode(container.message)
    except codec.CodecError as error:
        return _Stage(container, None, error.kind)
    if report.get("run") != run_id:
        return _Stage(container, None, OTHER_RUN)
    if report.get("stage") != stage:
        return _Stage(container, None, OTHER_STAGE)
    return _Stage(container, report)


def _ended_from_outside(pod: PodRecord, device: GPUDevice, kernels: _Stage, *, overdue: bool) -> Ended | None:
    """Return the outcome of a pod that was rejected, preempted, evicted, deleted or timed out; None for others."""
    words = one_line(pod.message, 400)
    if overdue or pod.reason == "DeadlineExceeded":
        return _timed_out(pod, kernels, words)
    if device.is_refused(pod.reason, pod.message):
        return attempt(reasons.GpusBusy, words or pod.reason)
    if pod.reason.startswith("OutOf"):
        return attempt(reasons.Unschedulable, words or pod.reason)
    if pod.reason in _PREEMPTIONS or pod.disruption == "PreemptionByScheduler":
        return attempt(reasons.Preempted, words or "a pod of higher priority took the place")
    if pod.reason == "Evicted" and _STORAGE_EXCEEDED.search(pod.message):
        return attempt(reasons.StorageExceeded, words)
    if pod.reason in _EVICTIONS or pod.disruption:
        return attempt(reasons.Evicted, words or pod.disruption or pod.reason)
    if pod.reason == "UnexpectedAdmissionError":
        return attempt(reasons.SandboxFailed, words, runtime_error=pod.message[:4000])
    is_deleted = pod.vanished or pod.deleting_since is not None
    cut_short = kernels.report is None or text(kernels.report.get("ended")).startswith("sig")
    if is_deleted and cut_short and not pod.seen.ended_first:
        return attempt(reasons.ProbePodDeleted, "the probe pod was deleted before it reported")
    return None


def _timed_out(pod: PodRecord, kernels: _Stage, words: str) -> Ended:
    if pod.facts.started_at is None:
        return attempt(
            reasons.SandboxFailed, f"the probe did not start in time: {words or 'no reason given'}"
        )
    stage = names.FACTS_CONTAINER if pod.kernels.started_at is None else names.KERNELS_CONTAINER
    where = _where(kernels) if stage == names.KERNELS_CONTAINER else ""
    return Ended(reasons.ProbeTimeout, f"the {stage} stage did not end in time and was stopped{where}")


def _trouble(stage: _Stage) -> Ended | None:
    """Return the outcome that follows from how one container ended; None if it ended well or has not ended."""
    container = stage.container
    if container.exit_code is None:
        return None
    if container.reason == "OOMKilled":
        return Ended(reasons.OomKilled, "the probe was killed because it exceeded its memory limit")
    if container.reason in start_failure.START:
        return start_failure.start_error(container.reason, container.message)
    if stage.report is None and container.exit_code in _BY_EXIT_CODE:
        reason, words = _BY_EXIT_CODE[container.exit_code]
        return Ended(reason, one_line(container.message, SEEN_CHARACTERS) or words)
    if container.exit_code != 0:
        return Ended(reasons.ProbeCrashed, _crash(stage))
    if stage.report is None:
        seen = one_line(container.message, SEEN_CHARACTERS)
        shown = f"; it begins with: {seen}" if seen else ""
        return Ended(reasons.ReportInvalid, f"{_KINDS.get(stage.kind, stage.kind)}{shown}")
    return None


def _crash(stage: _Stage) -> str:
    code = stage.container.exit_code or 0
    number = stage.container.signal or (code - 128 if 128 < code < 160 else 0)
    how = f"by signal {number}{_signal_name(number)}" if number else f"with exit code {code}"
    seen = one_line(stage.container.message, SEEN_CHARACTERS) if stage.report is None else ""
    return f"the probe ended {how}{_where(stage)}" + (f"; its last words: {seen}" if seen else "")


def _where(stage: _Stage) -> str:
    """Return what a stage was doing when it ended, such as `` during matmul``; "" if its report does not say so."""
    words = one_line(text((stage.report or {}).get("ended")), 100)
    _, found, activity = f" {words}".partition(" during ")
    return f" during {activity}" if found else ""


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


_BY_EXIT_CODE: Final = {
    PYTHON_TOO_OLD: (reasons.PythonTooOld, "the image's Python is older than 3.8"),
    NOT_EXECUTABLE: (reasons.PythonUnreadable, "the entry point may not run the interpreter (exit code 126)"),
    NOT_FOUND: (reasons.PythonMissing, "the entry point found no interpreter (exit code 127)"),
}
_KINDS: Final = {
    "empty": "the probe's report is empty",
    "truncated": "the probe's report is cut off",
    "notAReport": "the termination message is no report of the probe",
    "schemaVersion": "the probe's report is of another schema version",
    "tooLarge": "the probe's report is larger than allowed",
    OTHER_RUN: "the report is of another run",
    OTHER_STAGE: "the report is of the other stage",
}
