"""Find out whether no run may start on a node: maintenance, a quarantine by another tool, or the label gpuenv.dev/skip.

A probe pod would disturb the maintenance, or would lead to a verdict that is outdated a minute later.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.tolerant import mapping, mappings, text, texts

_UPGRADE_STATE: Final = "nvidia.com/gpu-driver-upgrade-state"
_UPGRADE_IDLE: Final = frozenset({"", "unknown", "upgrade-required", "upgrade-done"})
"""Values of the GPU Operator's upgrade label that mean that no driver upgrade is in progress.

https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-driver-upgrades.html
"""
_MIG_STATE: Final = "nvidia.com/mig.config.state"
_MIG_CHANGING: Final = frozenset({"pending", "rebooting"})
_WORKLOAD: Final = "nvidia.com/gpu.workload.config"
_FOR_MACHINES: Final = frozenset({"vm-passthrough", "vm-vgpu"})
_HYPERPOD: Final = "sagemaker.amazonaws.com/node-health-status"
_AUTOPILOT: Final = "autopilot.ibm.com/gpuhealth"
_NVSENTINEL: Final = "quarantineHealthEvent"
_TAINTS: Final = {
    "ToBeDeletedByClusterAutoscaler": "the cluster autoscaler removes the node",
    "karpenter.sh/disrupted": "Karpenter removes the node",
    "skyhook.nvidia.com": "Skyhook prepares the node",
    "node.cloudprovider.kubernetes.io/shutdown": "the node is shut down",
    "node.kubernetes.io/out-of-service": "the node is marked out of service",
    "cloud.google.com/impending-node-termination": "the node is about to be terminated",
}


def hold(raw: Mapping[str, Any], labels: Mapping[str, str], conditions: Mapping[str, str]) -> str:
    """Return the first reason why no run may start on a node, in one line, or "" if there is none.

    ``raw`` is the Node object, ``conditions`` maps the types of its conditions to their statuses.
    """
    return next(_reasons(raw, labels, conditions), "")


def _reasons(
    raw: Mapping[str, Any], labels: Mapping[str, str], conditions: Mapping[str, str]
) -> Iterator[str]:
    metadata, spec = mapping(raw, "metadata"), mapping(raw, "spec")
    annotations = texts(metadata.get("annotations"))
    if metadata.get("deletionTimestamp"):
        yield "the node is being deleted"
    if labels.get(names.LABEL_SKIP, "false") != "false":
        yield f"the node has the label {names.LABEL_SKIP}"
    yield from _maintenance(labels)
    if _NVSENTINEL in annotations:
        yield "NVSentinel has quarantined the node"
    for taint in mappings(spec.get("taints")):
        if text(taint.get("key")) in _TAINTS:
            yield _TAINTS[text(taint.get("key"))]
    if spec.get("unschedulable") is True:
        yield "the node is cordoned"
    if conditions.get("DiskPressure") == "True":
        yield "the node is short of disk space (DiskPressure)"


def _maintenance(labels: Mapping[str, str]) -> Iterator[str]:
    upgrade = labels.get(_UPGRADE_STATE, "")
    if upgrade not in _UPGRADE_IDLE:
        yield f"a driver upgrade is in progress ({_UPGRADE_STATE}={upgrade})"
    if labels.get(_MIG_STATE) in _MIG_CHANGING:
        yield f"a MIG change is in progress ({_MIG_STATE}={labels[_MIG_STATE]})"
    if labels.get(_WORKLOAD) in _FOR_MACHINES:
        yield f"the GPUs are for virtual machines ({_WORKLOAD}={labels[_WORKLOAD]})"
    if labels.get(_HYPERPOD, "Schedulable") != "Schedulable":
        yield f"HyperPod has set the node aside ({_HYPERPOD}={labels[_HYPERPOD]})"
    if labels.get(_AUTOPILOT) in ("TESTING", "EVICT"):
        yield f"Autopilot works on the node ({_AUTOPILOT}={labels[_AUTOPILOT]})"
