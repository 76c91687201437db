"""Reads facts from the node labels of GPU Feature Discovery, GKE, EKS (Karpenter) and AKS.

Only the labels of GPU Feature Discovery contain the driver version. The labels of the clouds contain at most the model
of the GPU and its memory size. Documentation of the labels:
https://github.com/NVIDIA/k8s-device-plugin/blob/main/docs/gpu-feature-discovery/README.md,
https://cloud.google.com/kubernetes-engine/docs/concepts/gpus, https://karpenter.sh/docs/concepts/scheduling/,
https://learn.microsoft.com/azure/aks/use-labels.
"""

from collections.abc import Mapping

from gpuenv.assess.facts import NodeFacts, Sharing

_GFD_PRESENT = ("nvidia.com/gpu.present", "nvidia.com/gpu.product", "nvidia.com/gpu.count")
_GKE_MODEL = "cloud.google.com/gke-accelerator"
_EKS_MODEL = ("karpenter.k8s.aws/instance-gpu-name", "k8s.amazonaws.com/accelerator")
_EKS_MAKER = "karpenter.k8s.aws/instance-gpu-manufacturer"
_AKS = "kubernetes.azure.com/accelerator"
_PCI = ("feature.node.kubernetes.io/pci-10de.present", "feature.node.kubernetes.io/pci-0302_10de.present")
_MIG_RESOURCE = "nvidia.com/mig-"
_SUFFIXES = ("-SHARED",)
DRIVER_LABEL = "nvidia.com/cuda.driver-version.full"
"""The label of GPU Feature Discovery that contains the version of the driver."""


def has_gpu_labels(labels: Mapping[str, str]) -> bool:
    """Return whether the labels of a node say that it has NVIDIA GPUs.

    Unlike the allocatable devices of the node, its labels do not disappear if the device plug-in fails.
    """
    if labels.get("nvidia.com/gpu.present") == "false":
        return False
    return (
        any(label in labels for label in (*_GFD_PRESENT, _GKE_MODEL, *_EKS_MODEL))
        or labels.get(_EKS_MAKER) == "nvidia"
        or labels.get(_AKS) == "nvidia"
        or any(labels.get(label) == "true" for label in _PCI)
    )


def node_facts(name: str, labels: Mapping[str, str], capacity: Mapping[str, str]) -> NodeFacts:
    """Return the facts about the GPUs of a node from its labels and its ``status.capacity``."""
    product = labels.get("nvidia.com/gpu.product")
    for suffix in _SUFFIXES:
        product = product.removesuffix(suffix) if product else None
    driver = _driver(labels)
    return NodeFacts(
        name=name,
        product=product
        or labels.get(_GKE_MODEL)
        or next((labels[key] for key in _EKS_MODEL if labels.get(key)), None),
        driver_version=driver,
        compute_capability=_compute_capability(labels),
        memory_mib=_number(labels.get("nvidia.com/gpu.memory"))
        or _number(labels.get("karpenter.k8s.aws/instance-gpu-memory")),
        platform=_platform(labels),
        sharing=_sharing(labels, capacity),
        missing_label=None if driver else DRIVER_LABEL,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None


def _driver(labels: Mapping[str, str]) -> str | None:
    full = labels.get(DRIVER_LABEL)
    if full:
        return full
    for names in (("driver-version", "major", "minor", "revision"), ("driver", "major", "minor", "rev")):
        parts = [labels.get(f"nvidia.com/cuda.{names[0]}.{part}") for part in names[1:]]
        if parts[0]:
            return ".".join(part for part in parts if part)
    return None


def _compute_capability(labels: Mapping[str, str]) -> tuple[int, int] | None:
    major = _number(labels.get("nvidia.com/gpu.compute.major"))
    minor = _number(labels.get("nvidia.com/gpu.compute.minor"))
    return (major, minor) if major is not None and minor is not None else None


def _platform(labels: Mapping[str, str]) -> str | None:
    if any(key.startswith("cloud.google.com/gke-") for key in labels):
        return "gke"
    if any(key.startswith(("eks.amazonaws.com/", "karpenter.k8s.aws/")) for key in labels):
        return "eks"
    if any(key.startswith("kubernetes.azure.com/") for key in labels):
        return "aks"
    if "node.openshift.io/os_id" in labels:
        return "openshift"
    return "gfd" if any(label in labels for label in _GFD_PRESENT) else None


def _sharing(labels: Mapping[str, str], capacity: Mapping[str, str]) -> Sharing | None:
    strategy = labels.get("nvidia.com/gpu.sharing-strategy") or labels.get(
        "cloud.google.com/gke-gpu-sharing-strategy"
    )
    if strategy in ("time-slicing", "time-sharing"):
        return Sharing.TIME_SLICING
    if strategy == "mps":
        return Sharing.MPS
    sliced = (
        labels.get("nvidia.com/mig.strategy") == "single"
        and "-MIG-" in labels.get("nvidia.com/gpu.product", "")
    ) or labels.get("cloud.google.com/gke-gpu-partition-size")
    if sliced or any(
        resource.startswith(_MIG_RESOURCE) and count != "0" for resource, count in capacity.items()
    ):
        return Sharing.MIG
    replicas = _number(labels.get("nvidia.com/gpu.replicas"))
    if replicas is not None and replicas > 1:
        return Sharing.TIME_SLICING
    return None
