"""Virtual GPUs: what the name of a GPU says about its profile, and what NVML says about its licence.

With NVIDIA vGPU software, several virtual machines share one physical GPU. A virtual machine then sees a product such
as ``GRID A100D-20C`` or ``NVIDIA A10-12Q``: the physical GPU, the size of the memory in GB and the letter of a series.
https://docs.nvidia.com/vgpu/latest/grid-vgpu-user-guide/
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gpuenv.assess.facts import Facts, Gpu

VIRTUAL: Final = 2
"""NVML's virtualisation mode of a virtual GPU in a virtual machine. A GPU that is passed through has mode 1."""
_LONGEST: Final = 100
_PROFILE: Final = re.compile(
    r"-(?:[1-7]-)?(?P<memory>\d{1,3})(?P<series>[ABCQ])\d?(?:ME)?(?:[ -]SHARED)?$", re.IGNORECASE
)
"""Matches the end of ``A100D-20C``, of ``A100-1-5C`` (a virtual GPU on a MIG slice), and of ``M10-1B4``."""


@dataclass(frozen=True, slots=True)
class VgpuProfile:
    """The profile of a virtual GPU. ``name`` is its part of the product name, such as ``20C``.

    ``series`` is ``Q`` (workstations), ``C`` (computing), ``B`` (desktops) or ``A`` (applications). NVIDIA supports CUDA
    on Q and C only.
    """

    name: str
    series: str

    @property
    def runs_cuda(self) -> bool:
        """Whether NVIDIA supports CUDA programs on virtual GPUs of this series."""
        return self.series in ("Q", "C")


@lru_cache(maxsize=256)
def vgpu_profile(product: str | None) -> VgpuProfile | None:
    """Return the profile of a virtual GPU from its product name or node label, or None for a physical GPU."""
    if not product or len(product) > _LONGEST:
        return None
    found = _PROFILE.search(product.strip())
    if found is None:
        return None
    series = found["series"].upper()
    return VgpuProfile(f"{found['memory']}{series}", series)


def is_vgpu(gpu: Gpu) -> bool:
    """Return whether a GPU is a virtual one, by NVML's virtualisation mode or by its name."""
    return gpu.health.virtualization_mode == VIRTUAL or vgpu_profile(gpu.product) is not None


def virtual_gpus(facts: Facts) -> tuple[Gpu, ...]:
    """Return the virtual GPUs. If no GPU is known, the product in the labels of the node counts."""
    gpus = facts.gpus or ((Gpu(product=facts.node.product),) if facts.node.product else ())
    return tuple(gpu for gpu in gpus if is_vgpu(gpu))
