"""Explain why a probe pod is not scheduled, mainly from the state of its node.

The scheduler's message alone is not precise enough: ``Insufficient nvidia.com/gpu`` can mean that all GPUs are in use
or that the node offers none, and the message does not name taints.
"""

from collections.abc import Mapping
from typing import Any

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.run.manifest import tolerations
from gpuenv.plan.run.outcome import Ended, attempt
from gpuenv.plan.snapshot import NodeRecord, PodRecord

_REPELLING = frozenset({"NoSchedule", "NoExecute"})


def not_placed(pod: PodRecord, node: NodeRecord | None, spec: EnvironmentSpec) -> Ended:
    """Return the outcome that explains why the pod could not be scheduled. ``node`` is None if it does not exist."""
    words = one_line(pod.scheduling_message, 400)
    said = f"; the scheduler says: {words}" if words else ""
    if pod.scheduling_reason == "SchedulingGated":
        return attempt(reasons.Unschedulable, f"the probe pod is held by a scheduling gate{said}")
    obstacle = _obstacle(node, spec)
    if obstacle:
        return attempt(reasons.Unschedulable, obstacle + said)
    if not pod.scheduling_reason:
        named = spec.probe.scheduler_name or "default-scheduler"
        return attempt(
            reasons.Unschedulable, f"no scheduler has looked at the probe pod; does {named!r} run?"
        )
    device = spec.probe.device
    if device.is_insufficient(pod.scheduling_message):
        return attempt(reasons.GpusBusy, f"all {device.resource_name} of the node are in use{said}")
    what = (
        f"is short of something other than {device.resource_name}"
        if "Insufficient" in words
        else "has no place for the probe pod"
    )
    return attempt(reasons.Unschedulable, f"the node {what}{said}")


def _obstacle(node: NodeRecord | None, spec: EnvironmentSpec) -> str:
    """Return what prevents the pod from running on the node, as its record shows; "" if it shows nothing."""
    if node is None:
        return "the node is gone"
    if not node.ready:
        return "the node is not ready"
    for taint in node.taints:
        if taint.get("effect") in _REPELLING and not any(
            _tolerates(item, taint) for item in tolerations(spec)
        ):
            shown = f"{taint.get('key')}={taint.get('value', '')}:{taint.get('effect')}"
            return f"the node has the taint {shown}, which spec.probe.tolerations does not name"
    resource, count = spec.probe.device.resource_name, spec.probe.device_count
    allocatable = node.devices.get(resource, (0, 0))[1]
    if allocatable < count:
        return f"the node offers {allocatable} {resource}, the probe asks for {count}"
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    """Return whether a toleration matches a taint.

    https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """
    if toleration.get("effect") and toleration.get("effect") != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return not toleration.get("key") or toleration.get("key") == taint.get("key")
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == taint.get(
        "value", ""
    )
