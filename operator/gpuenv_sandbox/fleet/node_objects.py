"""Builds the API objects of simulated nodes: Node, Lease, and pods of other users that occupy GPUs.

Sources of the labels: https://github.com/NVIDIA/k8s-device-plugin/tree/main/docs/gpu-feature-discovery (GFD),
https://cloud.google.com/kubernetes-engine/docs/concepts/gpus (GKE), https://karpenter.sh/docs/reference/instance-types/
(EKS), https://learn.microsoft.com/azure/aks/use-nvidia-gpu (AKS).
"""

import re
import uuid
from dataclasses import replace
from typing import Any, Final

from gpuenv.api.spec.device import GPUDevice
from gpuenv_sandbox.fleet import physics
from gpuenv_sandbox.scenario.hardware import CLOUD_NAMES, CloudNames
from gpuenv_sandbox.scenario.model import Fault, Platform, SimulatedNode, is_driver

Object = dict[str, Any]

DEVICE: Final = GPUDevice().resource_name
LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_SECONDS: Final = 40
"""The duration of a node's Lease in seconds, which real kubelets set too.

Source: https://kubernetes.io/docs/concepts/architecture/leases/
"""
OTHERS_NAMESPACE: Final = "team-a"
"""The namespace of the simulated pods with which other users occupy GPUs."""
OTHERS_IMAGE: Final = "registry.example/team-a/train:v3"

LABEL_SIMULATED: Final = "sandbox.gpuenv.dev/simulated"
"""The key of the label that every simulated node has, with the value ``true``."""

ANNOTATION_FAULT: Final = "sandbox.gpuenv.dev/fault"
"""The annotation with which a user sets the fault of a simulated node, such as ``gpuLost``.

If its value is empty or names no fault, the node has no fault.
"""
LABEL_DRIVER: Final = "nvidia.com/cuda.driver-version.full"

_KUBELET: Final = "v1.36.3"
_BOOT: Final = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
_FAMILIES: Final = {6: "pascal", 7: "volta", 8: "ampere", 9: "hopper", 10: "blackwell", 12: "blackwell"}


def node(simulated: SimulatedNode, now: str, boot: int = 0) -> Object:
    """Return the Node object with which a real kubelet would register this node.

    ``now`` is the current time. ``boot`` is the number of reboots so far; each reboot gives the node a new boot id.
    """
    capacity = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "500Gi", "pods": "110"}
    body: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": simulated.name, "labels": labels(simulated)},
        "spec": {},
        "status": {
            "capacity": {**capacity, DEVICE: str(simulated.gpus)},
            "allocatable": {**capacity, DEVICE: str(simulated.advertised)},
            "conditions": _conditions(now),
            "addresses": [{"type": "Hostname", "address": simulated.name}],
            "nodeInfo": _node_info(simulated, boot),
        },
    }
    if simulated.platform is Platform.GKE:
        # GKE puts this taint on every GPU node pool.
        body["spec"]["taints"] = [{"key": DEVICE, "value": "present", "effect": "NoSchedule"}]
    if simulated.cordoned:
        body["spec"]["unschedulable"] = True
    return body


def as_edited(simulated: SimulatedNode, found: Object) -> SimulatedNode:
    """Return the simulated node with the fault and driver that its Node object ``found`` specifies.

    Users change them with kubectl: the fault in the annotation ``ANNOTATION_FAULT``, and the driver version in the
    label that GFD uses for it.
    """
    metadata = found["metadata"]
    fault, driver = simulated.fault, simulated.driver
    wanted = (metadata.get("annotations") or {}).get(ANNOTATION_FAULT)
    if wanted is not None:
        fault = Fault(wanted) if wanted in set(Fault) else None
    shown = (metadata.get("labels") or {}).get(LABEL_DRIVER, "")
    if is_driver(shown):
        driver = shown
    if (fault, driver) == (simulated.fault, simulated.driver):
        return simulated
    return replace(simulated, fault=fault, driver=driver)


def lease(name: str, now: str) -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
    }


def others_pod(simulated: SimulatedNode) -> Object:
    """Return a pod of another user that is bound to the node and requests ``simulated.in_use`` of its GPUs."""
    limits = {DEVICE: str(simulated.in_use)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"train-{simulated.name}".replace(".", "-"), "namespace": OTHERS_NAMESPACE},
        "spec": {
            "nodeName": simulated.name,
            "containers": [{"name": "train", "image": OTHERS_IMAGE, "resources": {"limits": limits}}],
            "tolerations": [{"key": DEVICE, "operator": "Exists"}],
        },
    }


def labels(simulated: SimulatedNode) -> dict[str, str]:
    """Return all labels of the Node object. Labels from the scenario override those of the platform."""
    common = {
        "kubernetes.io/hostname": simulated.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": simulated.architecture,
        LABEL_SIMULATED: "true",
    }
    return {**common, **_platform_labels(simulated), **dict(simulated.labels)}


def _platform_labels(simulated: SimulatedNode) -> dict[str, str]:
    names = CLOUD_NAMES.get(simulated.product, CloudNames())
    match simulated.platform:
        case Platform.GFD:
            return _gfd(simulated)
        case Platform.GKE:
            return _gke(simulated, names)
        case Platform.EKS:
            return _eks(simulated, names)
        case Platform.AKS:
            return _aks(names)
        case Platform.NONE:
            return {}


def _gfd(simulated: SimulatedNode) -> dict[str, str]:
    major, minor = simulated.hardware.compute_capability
    driver = [*simulated.driver.split("."), ""][:3]
    api = physics.driver_api(simulated.driver)
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": simulated.product.replace(" ", "-"),
        "nvidia.com/gpu.count": str(simulated.gpus),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.memory": str(simulated.hardware.memory_mib),
        "nvidia.com/gpu.family": _FAMILIES.get(major, "unknown"),
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
        "nvidia.com/mig.capable": "true" if (major, minor) in {(8, 0), (9, 0), (10, 0)} else "false",
        "nvidia.com/mig.strategy": "single",
        LABEL_DRIVER: simulated.driver,
        "nvidia.com/cuda.driver-version.major": driver[0],
        "nvidia.com/cuda.driver-version.minor": driver[1],
        "nvidia.com/cuda.driver-version.revision": driver[2],
        "nvidia.com/cuda.runtime-version.full": f"{api // 1000}.{api % 1000 // 10}",
        "nvidia.com/cuda.runtime-version.major": str(api // 1000),
        "nvidia.com/cuda.runtime-version.minor": str(api % 1000 // 10),
    }


def _gke(simulated: SimulatedNode, names: CloudNames) -> dict[str, str]:
    return {
        "cloud.google.com/gke-nodepool": "gpu",
        "cloud.google.com/gke-accelerator": names.gke or "nvidia-gpu",
        "cloud.google.com/gke-accelerator-count": str(simulated.gpus),
        "cloud.google.com/gke-gpu": "true",
        "cloud.google.com/gke-gpu-driver-version": "default",
    }


def _eks(simulated: SimulatedNode, names: CloudNames) -> dict[str, str]:
    return {
        "node.kubernetes.io/instance-type": names.ec2 or "g0.xlarge",
        "eks.amazonaws.com/nodegroup": "gpu",
        "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
        "karpenter.k8s.aws/instance-gpu-name": _short(simulated.product),
        "karpenter.k8s.aws/instance-gpu-count": str(simulated.gpus),
        "karpenter.k8s.aws/instance-gpu-memory": str(simulated.hardware.memory_mib),
    }


def _short(product: str) -> str:
    """Return a GPU product's name in Karpenter's labels, such as ``a100`` for ``NVIDIA A100-SXM4-80GB``."""
    return re.split(r"[ -]", product.removeprefix("NVIDIA ").removeprefix("Tesla "))[0].lower()


def _aks(names: CloudNames) -> dict[str, str]:
    return {
        "node.kubernetes.io/instance-type": names.azure or "Standard_NC",
        "kubernetes.azure.com/agentpool": "gpu",
        "kubernetes.azure.com/accelerator": "nvidia",
        "accelerator": "nvidia",
    }


def _node_info(simulated: SimulatedNode, boot: int) -> dict[str, str]:
    return {
        "machineID": uuid.uuid5(_BOOT, simulated.name).hex,
        "systemUUID": str(uuid.uuid5(_BOOT, f"{simulated.name}/system")),
        "bootID": str(uuid.uuid5(_BOOT, f"{simulated.name}/boot/{boot}")),
        "kernelVersion": "6.8.0-60-generic",
        "osImage": "Ubuntu 24.04 LTS",
        "containerRuntimeVersion": "containerd://2.2.0",
        "kubeletVersion": _KUBELET,
        "kubeProxyVersion": _KUBELET,
        "operatingSystem": "linux",
        "architecture": simulated.architecture,
    }


def heartbeat(now: str) -> list[dict[str, str]]:
    """Return what a heartbeat changes in the node's conditions: when the kubelet has last looked at each."""
    return [{"type": row["type"], "lastHeartbeatTime": now} for row in _conditions(now)]


def _conditions(now: str) -> list[dict[str, str]]:
    rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for kind, status, reason, message in rows
    ]
