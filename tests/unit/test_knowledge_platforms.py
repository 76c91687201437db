"""Node labels of GPU Feature Discovery and of the clouds, and what they tell."""

import pytest

from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.sources.node_labels import has_gpu_labels, node_facts

GFD = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.compute.major": "8",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/cuda.driver-version.full": "550.107.02",
}
GKE = {"cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-gpu-driver-version": "latest"}
KARPENTER = {
    "karpenter.k8s.aws/instance-gpu-name": "a10g",
    "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
    "karpenter.k8s.aws/instance-gpu-count": "4",
    "karpenter.k8s.aws/instance-gpu-memory": "24576",
}
AKS = {"kubernetes.azure.com/accelerator": "nvidia", "kubernetes.azure.com/agentpool": "gpu"}


def facts(labels: dict[str, str], **capacity: str) -> NodeFacts:
    resources = {
        name.replace("__", "/").replace("_", "-").replace("nvidia/", "nvidia.com/"): count
        for name, count in capacity.items()
    }
    return node_facts("node-1", labels, resources)


def test_gpu_feature_discovery_tells_everything() -> None:
    found = facts(GFD)
    assert found == NodeFacts(
        name="node-1",
        product="NVIDIA-A100-SXM4-80GB",
        driver_version="550.107.02",
        compute_capability=(8, 0),
        memory_mib=81920,
        platform="gfd",
        sharing=None,
    )


@pytest.mark.parametrize(
    ("labels", "driver"),
    [
        (
            {
                "nvidia.com/cuda.driver.major": "470",
                "nvidia.com/cuda.driver.minor": "57",
                "nvidia.com/cuda.driver.rev": "02",
            },
            "470.57.02",
        ),
        (
            {"nvidia.com/cuda.driver-version.major": "610", "nvidia.com/cuda.driver-version.minor": "57"},
            "610.57",
        ),
        (
            {"nvidia.com/cuda.driver-version.full": "580.65.06", "nvidia.com/cuda.driver.major": "1"},
            "580.65.06",
        ),
        ({}, None),
    ],
)
def test_driver_labels_of_every_age(labels: dict[str, str], driver: str | None) -> None:
    assert facts(labels).driver_version == driver


@pytest.mark.parametrize(
    ("labels", "platform", "product"),
    [
        (GKE, "gke", "nvidia-l4"),
        (KARPENTER, "eks", "a10g"),
        (
            {"k8s.amazonaws.com/accelerator": "nvidia-tesla-v100", "eks.amazonaws.com/nodegroup": "g"},
            "eks",
            "nvidia-tesla-v100",
        ),
        (AKS, "aks", None),
        ({"node.openshift.io/os_id": "rhcos", **GFD}, "openshift", "NVIDIA-A100-SXM4-80GB"),
        ({**GFD, **AKS}, "aks", "NVIDIA-A100-SXM4-80GB"),
        ({}, None, None),
    ],
)
def test_platforms(labels: dict[str, str], platform: str | None, product: str | None) -> None:
    found = facts(labels)
    assert (found.platform, found.product) == (platform, product)


@pytest.mark.parametrize(
    ("labels", "sharing"),
    [
        (
            {
                **GFD,
                "nvidia.com/gpu.sharing-strategy": "time-slicing",
                "nvidia.com/gpu.product": "NVIDIA-L4-SHARED",
            },
            "time-slicing",
        ),
        ({**GFD, "nvidia.com/gpu.sharing-strategy": "mps"}, "mps"),
        ({**GFD, "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": ""}, "time-slicing"),
        (
            {
                **GFD,
                "nvidia.com/mig.strategy": "single",
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
            },
            "mig",
        ),
        ({**GKE, "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}, "time-slicing"),
        ({**GKE, "cloud.google.com/gke-gpu-sharing-strategy": "mps"}, "mps"),
        ({**GKE, "cloud.google.com/gke-gpu-partition-size": "1g.5gb"}, "mig"),
        ({**GFD, "nvidia.com/mig.strategy": "single"}, None),
        (GFD, None),
    ],
)
def test_sharing(labels: dict[str, str], sharing: str | None) -> None:
    assert facts(labels).sharing == sharing


def test_mixed_mig_shows_in_capacity() -> None:
    resources = {"nvidia.com/mig-1g.10gb": "7", "nvidia.com/gpu": "0"}
    assert node_facts("n", {}, resources).sharing == "mig"


def test_the_shared_suffix_is_no_part_of_the_product() -> None:
    assert facts({**GFD, "nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}).product == "NVIDIA-L4"


def test_odd_values_are_not_known() -> None:
    found = facts({"nvidia.com/gpu.memory": "lots", "nvidia.com/gpu.compute.major": "x"})
    assert (found.memory_mib, found.compute_capability) == (None, None)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (GFD, True),
        (GKE, True),
        (KARPENTER, True),
        (AKS, True),
        ({"feature.node.kubernetes.io/pci-10de.present": "true"}, True),
        ({"nvidia.com/gpu.present": "false"}, False),
        ({"karpenter.k8s.aws/instance-gpu-manufacturer": "amd"}, False),
        ({"kubernetes.io/arch": "amd64"}, False),
    ],
)
def test_which_labels_say_that_there_are_gpus(labels: dict[str, str], expected: bool) -> None:
    assert has_gpu_labels(labels) is expected
