"""Decide whether a probe pod is within its time limits, has exceeded one, has ended, or is stuck.

Scheduling, pod set-up, image pull and each stage have separate time limits, because a slow registry does not mean that
the node is broken. A pod whose stage exceeds its limit is deleted, and what it reports while it ends still counts.
"""

from typing import Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.run.ended_pod import TERMINAL, ended
from gpuenv.plan.run.manifest import GRACE_SECONDS
from gpuenv.plan.run.outcome import Ended, Outcome, Running, Stuck, attempt
from gpuenv.plan.run.start_failure import in_user_namespace, waiting
from gpuenv.plan.run.unschedulable import not_placed
from gpuenv.plan.snapshot import NEVER, NodeRecord, PodRecord, Settings

MIN_SLACK: Final = 5.0
MAX_SLACK: Final = 30.0
PATIENCE_SECONDS: Final = 15.0
"""How long a pod that waits for a GPU keeps its place. Schedulers answer within seconds, even on a large cluster."""
LONG_SECONDS: Final = 60.0
"""How old a pod is when it counts as long. Most runs take less time, unless the image has to be pulled first."""


def observe(
    pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec, settings: Settings, now: float
) -> Outcome:
    """Return the outcome of a probe pod's run, as far as it is known at ``now`` (epoch seconds).

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
        return _terminating(pod, settings, now)
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
    """Return whether the pod was deleted, but has not ended ``settings.stuck_seconds`` after its deletion time."""
    return (
        not is_over(pod)
        and pod.deleting_since is not None
        and now >= pod.deleting_since + settings.stuck_seconds
    )


def waits_from(pod: PodRecord) -> float:
    """Return when the pod, if nothing changes, counts as waiting for a GPU, in epoch seconds; NEVER if it does not.

    Only a pod that a scheduler has found no node for waits. It holds no GPU.
    """
    if pod.scheduled_at is not None or not pod.scheduling_reason or is_over(pod):
        return NEVER
    return pod.created_at + PATIENCE_SECONDS


def run_limit(spec: EnvironmentSpec) -> float:
    """Return the time limit of one stage in seconds: a little more than the time after which the probe stops itself."""
    run = spec.probe.timeouts.run
    return run + min(MAX_SLACK, max(MIN_SLACK, run / 10))


def _terminating(pod: PodRecord, settings: Settings, now: float) -> Running | Stuck:
    assert pod.deleting_since is not None
    if is_stuck(pod, settings, now):
        return Stuck()
    return Running(pod.deleting_since + settings.stuck_seconds)


def _clock(pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec, now: float) -> Running | Ended:
    """Return Running, or the outcome of a pod that did not complete its current phase within the time limit.

    The phases are scheduling, set-up, image pull, the first stage, the start of the second stage, and the second stage.
    """
    limits = spec.probe.timeouts
    stage_start = pod.kernels.started_at or (pod.facts.started_at if pod.facts.finished_at is None else None)
    if stage_start is not None:
        until = stage_start + run_limit(spec)
        return Running(until, overdue=now >= until)
    if pod.scheduled_at is None:
        until = pod.created_at + limits.scheduling
        return Running(until) if now < until else not_placed(pod, node, spec)
    if pod.facts.finished_at is not None:
        until, words = pod.facts.finished_at + limits.setup, "the second stage was not started"
    elif pod.sandbox_ready_at is None:
        pull = 0 if pod.has_sandbox_condition else limits.pull
        until, words = pod.scheduled_at + limits.setup + pull, "the pod was not set up"
    else:
        until = pod.sandbox_ready_at + limits.pull
        if now >= until:
            return attempt(reasons.ImagePullFailed, f"the image was not there after {limits.pull} s")
        return Running(until)
    if now < until:
        return Running(until)
    told = one_line(pod.facts.waiting_message or pod.message, 400)
    return attempt(reasons.SandboxFailed, f"{words} in time" + (f": {told}" if told else ""))


def _was_overdue(pod: PodRecord, spec: EnvironmentSpec) -> bool:
    """Return whether the stage had exceeded its time limit when the pod was deleted.

    The operator then deleted the pod for this reason. One second is allowed for rounding.
    """
    if pod.deleting_since is None or pod.facts.started_at is None:
        return False
    started = pod.kernels.started_at or pod.facts.started_at
    return pod.deleting_since - GRACE_SECONDS >= started + run_limit(spec) - 1
