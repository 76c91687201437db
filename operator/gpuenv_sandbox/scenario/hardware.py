"""The hardware of the GPU products that simulated nodes can have, and the products' names in public clouds.

A scenario can give a node one of these products by name alone. The data are deliberately separate from the operator's
knowledge tables: an error in those tables must not appear in the simulated hardware too. Memory is the value that
``nvidia-smi`` shows. Benchmark figures are approximately those of healthy cards. Sources:
https://developer.nvidia.com/cuda-gpus (compute capability),
https://github.com/stas00/ml-engineering/tree/master/compute/accelerator and https://github.com/NVIDIA/DCGM,
``diag-skus.yaml.in`` (benchmark figures).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Hardware:
    """The compute capability, memory and typical benchmark figures of a GPU product.

    ``fp32_tflops`` and ``half_tflops`` are the TFLOPS of a large matrix multiplication in fp32 and in 16-bit formats.
    ``memory_gbps`` is the GB/s of a copy within the GPU's memory.
    """

    compute_capability: tuple[int, int]
    memory_mib: int
    fp32_tflops: float = 10.0
    half_tflops: float = 50.0
    memory_gbps: float = 500.0


@dataclass(frozen=True, slots=True)
class CloudNames:
    """The names that identify a GPU product in the node labels of public clouds.

    ``gke`` is the accelerator name in GKE, ``ec2`` an instance type of EC2 that has the product, and ``azure`` such a
    VM size of Azure. A name is None if the cloud does not offer the product.
    """

    gke: str | None = None
    ec2: str | None = None
    azure: str | None = None


PRODUCTS: Final[dict[str, Hardware]] = {
    "NVIDIA GeForce GTX 1080 Ti": Hardware((6, 1), 11264, 10.1, 0.2, 380),
    "Tesla P100-PCIE-16GB": Hardware((6, 0), 16384, 8.4, 16.8, 540),
    "Tesla V100-SXM2-16GB": Hardware((7, 0), 16384, 14.1, 98, 760),
    "Tesla V100-SXM2-32GB": Hardware((7, 0), 32768, 14.1, 98, 760),
    "Tesla T4": Hardware((7, 5), 15360, 5.5, 38, 244),
    "NVIDIA A100-SXM4-40GB": Hardware((8, 0), 40960, 17.5, 265, 1290),
    "NVIDIA A100-SXM4-80GB": Hardware((8, 0), 81920, 17.5, 271, 1694),
    "NVIDIA A100 80GB PCIe": Hardware((8, 0), 81920, 17.9, 253, 1495),
    "NVIDIA A30": Hardware((8, 0), 24576, 9.4, 130, 780),
    "NVIDIA A10": Hardware((8, 6), 23028, 8.1, 70, 490),
    "NVIDIA A10G": Hardware((8, 6), 23028, 17.0, 60, 484),
    "NVIDIA A40": Hardware((8, 6), 46068, 19.0, 110, 565),
    "NVIDIA RTX A6000": Hardware((8, 6), 49140, 22.0, 120, 640),
    "NVIDIA GeForce RTX 3090": Hardware((8, 6), 24576, 26.0, 71, 820),
    "NVIDIA L4": Hardware((8, 9), 23034, 11.6, 58, 265),
    "NVIDIA L40S": Hardware((8, 9), 46068, 45.0, 220, 700),
    "NVIDIA GeForce RTX 4090": Hardware((8, 9), 24564, 53.0, 160, 900),
    "NVIDIA H100 PCIe": Hardware((9, 0), 81559, 20.5, 480, 1639),
    "NVIDIA H100 80GB HBM3": Hardware((9, 0), 81559, 39.0, 794, 2540),
    "NVIDIA H200": Hardware((9, 0), 143771, 39.0, 794, 3900),
    "NVIDIA B200": Hardware((10, 0), 183359, 49.3, 1745, 5430),
    "NVIDIA B300 SXM6 AC": Hardware((10, 3), 275040, 49.1, 1769, 6164),
    "NVIDIA GeForce RTX 5090": Hardware((12, 0), 32607, 68.0, 205, 1500),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": Hardware((12, 0), 97887, 72.7, 330, 1480),
}

CLOUD_NAMES: Final[dict[str, CloudNames]] = {
    "Tesla P100-PCIE-16GB": CloudNames(gke="nvidia-tesla-p100", azure="Standard_NC6s_v2"),
    "Tesla V100-SXM2-16GB": CloudNames(gke="nvidia-tesla-v100", ec2="p3.2xlarge", azure="Standard_NC6s_v3"),
    "Tesla V100-SXM2-32GB": CloudNames(ec2="p3dn.24xlarge", azure="Standard_ND40rs_v2"),
    "Tesla T4": CloudNames(gke="nvidia-tesla-t4", ec2="g4dn.xlarge", azure="Standard_NC4as_T4_v3"),
    "NVIDIA A100-SXM4-40GB": CloudNames(
        gke="nvidia-tesla-a100", ec2="p4d.24xlarge", azure="Standard_ND96asr_v4"
    ),
    "NVIDIA A100-SXM4-80GB": CloudNames(
        gke="nvidia-a100-80gb", ec2="p4de.24xlarge", azure="Standard_ND96amsr_A100_v4"
    ),
    "NVIDIA A100 80GB PCIe": CloudNames(azure="Standard_NC24ads_A100_v4"),
    "NVIDIA A10G": CloudNames(ec2="g5.xlarge"),
    "NVIDIA A10": CloudNames(azure="Standard_NV36ads_A10_v5"),
    "NVIDIA L4": CloudNames(gke="nvidia-l4", ec2="g6.xlarge"),
    "NVIDIA L40S": CloudNames(ec2="g6e.xlarge"),
    "NVIDIA H100 80GB HBM3": CloudNames(
        gke="nvidia-h100-80gb", ec2="p5.48xlarge", azure="Standard_ND96isr_H100_v5"
    ),
    "NVIDIA H200": CloudNames(gke="nvidia-h200-141gb", ec2="p5en.48xlarge", azure="Standard_ND96isr_H200_v5"),
    "NVIDIA B200": CloudNames(gke="nvidia-b200", ec2="p6-b200.48xlarge"),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": CloudNames(gke="nvidia-rtx-pro-6000", ec2="g7e.2xlarge"),
}


def generic(compute_capability: tuple[int, int], memory_mib: int) -> Hardware:
    """Return the hardware of a GPU product that ``PRODUCTS`` does not list, with invented benchmark figures."""
    return Hardware(compute_capability, memory_mib)
