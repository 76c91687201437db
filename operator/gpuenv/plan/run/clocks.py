"""Decide whether a probe pod is within its time limits, has exceeded one, has ended, or is stuck.

All times here are in steady seconds, and count from the moment at which the operator first saw a state of the pod
(:mod:`gpuenv.plan.run.first_seen`). No timestamp in the pod ends a run, because clocks differ.

Scheduling, pod set-up, image pull and each stage have separate time limits, because a slow registry does not mean that
the node is broken. A pod whose stage exceeds its limit is deleted, and what it reports while it ends still counts.
"""

from typing import Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.run.ended_pod import TERMINAL, ended
from gpuenv.plan.run.outcome import Ended, Outcome, Running, Stuck, attempt
from gpuenv.plan.run.start_failure import in_user_namespace, waiting
from gpuenv.plan.run.unschedulable import not_placed
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import NEVER, NodeRecord, PodRecord

MIN_SLACK: Final = 5.0
MAX_SLACK: Final = 30.0
PATIENCE_SECONDS: Final = 15.0
"""How long a pod that waits for a GPU keeps its place. Schedulers answer within seconds, even on a large cluster."""
LONG_SECONDS: Final = 60.0
"""How old a pod is when it counts as long. Most runs take less time, unless the image has to be pulled first."""


def observe(
    pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec, settings: Settings, now: float
) -> Outcome:
    """Return the outcome of a probe pod's run, as far as it is known at ``now`` (steady seconds).

    The pod must have been created with the current inputs. ``node`` is None if the node no longer exists.
    """
    outcome = _outcome(pod, node, spec, settings, now)
    return in_user_namespace(outcome) if pod.user_namespace else outcome


def _outcome(
    pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec, settings: Settings, now: float
) -> Outcome:
    if is_over(pod):
        return ended(pod, spec.probe.device, overdue=_was_overdue(pod, spec))
    if pod.deleting_since is not None:
        return Stuck() if is_stuck(pod, settings, now) else Running(stuck_from(pod, settings))
    return waiting(pod.facts) or waiting(pod.kernels) or _clock(pod, node, spec, now)


def is_over(pod: PodRecord) -> bool:
    """Return whether the pod has ended or no longer exists, so that it occupies no device."""
    return pod.vanished or pod.phase in TERMINAL


def is_time_up(pod: PodRecord, outcome: Outcome) -> bool:
    """Return whether ``outcome``, the outcome of a pod's run, follows from a time limit, and not from what the pod shows."""
    if is_over(pod) or waiting(pod.facts) or waiting(pod.kernels):
        return False
    return outcome.overdue if isinstance(outcome, Running) else isinstance(outcome, Ended)


def is_stuck(pod: PodRecord, settings: Settings, now: float) -> bool:
    """Return whether the pod was deleted, but has not ended ``settings.stuck_seconds`` after its grace period."""
    return now >= stuck_from(pod, settings)


def stuck_from(pod: PodRecord, settings: Settings) -> float:
    """Return when the pod, if it does not end before, counts as stuck; NEVER if it was not deleted or has ended.

    A stuck pod takes no place. So only what this operator has seen of the deletion counts, and no timestamp: a clock that
    is wrong must not let more pods run than allowed.
    """
    if is_over(pod) or pod.seen.deleting is None:
        return NEVER
    return pod.seen.deleting + pod.deletion_grace + settings.stuck_seconds


def waits_from(pod: PodRecord) -> float:
    """Return when the pod, if nothing changes, counts as waiting for a GPU; NEVER if it does not.

    Only a pod that a scheduler has found no node for waits. It holds no GPU.
    """
    if pod.scheduled_at is not None or not pod.scheduling_reason or is_over(pod):
        return NEVER
    return pod.seen.created + PATIENCE_SECONDS


def long_from(pod: PodRecord) -> float:
    """Return when the pod counts as long, if it has not ended before."""
    return pod.seen.created + LONG_SECONDS


def run_limit(spec: EnvironmentSpec) -> float:
    """Return the time limit of one stage in seconds: a little more than the time after which the probe stops itself."""
    run = spec.probe.timeouts.run
    return run + min(MAX_SLACK, max(MIN_SLACK, run / 10))


def longest(spec: EnvironmentSpec) -> float:
    """Return the time limit of a whole run in seconds: the sum of the limits of all its phases.

    A run reaches it only if the operator restarted meanwhile, because the limit of the present phase then began anew.
    """
    limits = spec.probe.timeouts
    return limits.scheduling + 2 * limits.setup + limits.pull + 2 * run_limit(spec)


def held_seconds(pod: PodRecord, now: float) -> float:
    """Return for how long the pod has held its GPUs: from its scheduling to its end, or to ``now`` if it has not ended.

    The time of a pod that has ended is measured by the clock of its node alone. It is never longer than the operator has
    known the pod, because a node that starts may set its clock meanwhile.
    """
    if pod.seen.scheduled is None or pod.scheduled_at is None:
        return 0.0
    until = now if pod.seen.over is None else pod.seen.over
    ends = [stage.finished_at for stage in (pod.facts, pod.kernels) if stage.finished_at is not None]
    if not ends or pod.phase not in TERMINAL:
        return max(0.0, until - pod.seen.scheduled)
    return max(0.0, min(max(ends) - (pod.accepted_at or pod.scheduled_at), until - pod.seen.created))


def _clock(pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec, now: float) -> Running | Ended:
    """Return Running, or the outcome of a pod that did not complete its current phase within the time limit.

    The phases are scheduling, set-up, image pull, the first stage, the start of the second stage, and the second stage.
    """
    limits, seen, last = spec.probe.timeouts, pod.seen, pod.seen.created + longest(spec)
    stage_start = _stage_start(pod)
    if stage_start is not None:
        until = min(last, stage_start + run_limit(spec))
        return Running(until, overdue=now >= until)
    if seen.scheduled is None:
        until = pod.seen.created + limits.scheduling
        return Running(until) if now < until else not_placed(pod, node, spec)
    if seen.facts_finished is not None:
        until, words = min(last, seen.facts_finished + limits.setup), "the second stage was not started"
    elif seen.sandbox_ready is None:
        pull = 0 if pod.has_sandbox_condition else limits.pull
        until, words = min(last, seen.scheduled + limits.setup + pull), "the pod was not set up"
    else:
        until = min(last, seen.sandbox_ready + limits.pull)
        if now >= until:
            return attempt(reasons.ImagePullFailed, f"the image was not there after {limits.pull} s")
        return Running(until)
    if now < until:
        return Running(until)
    told = one_line(pod.facts.waiting_message or pod.message, 400)
    return attempt(reasons.SandboxFailed, f"{words} in time" + (f": {told}" if told else ""))


def _stage_start(pod: PodRecord) -> float | None:
    """Return when the stage that runs was first seen; None if none runs."""
    if pod.seen.kernels_started is not None:
        return pod.seen.kernels_started
    return pod.seen.facts_started if pod.seen.facts_finished is None else None


def _was_overdue(pod: PodRecord, spec: EnvironmentSpec) -> bool:
    """Return whether a stage had exceeded its time limit when the pod was deleted, which was then the reason."""
    start = pod.seen.kernels_started or pod.seen.facts_started
    return (
        pod.seen.deleting is not None and start is not None and pod.seen.deleting >= start + run_limit(spec)
    )
