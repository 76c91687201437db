"""Policies on virtual GPUs (NVIDIA vGPU software): their licence, and errors that mean something else on them."""

from collections.abc import Iterator
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.reasons import Reason
from gpuenv.api.remedies import Action, Remedies, Remedy
from gpuenv.assess.case import Case, check
from gpuenv.assess.model import Check, Status
from gpuenv.assess.vgpu import vgpu_profile, virtual_gpus
from gpuenv.knowledge.model import ErrorRule

_SOURCE: Final = "https://docs.nvidia.com/vgpu/latest/grid-vgpu-user-guide/"
_UNLICENSED: Final = "vgpu-unlicensed"
_UNSUPPORTED: Final = "not-supported-here"
"""The name of the rule in errors.yaml about CUDA error 801."""
_FEATURES: Final = (
    Remedy(
        Action.CHANGE_PROGRAM,
        "Avoid unified memory, memory pools and CUDA IPC on this virtual GPU: take backend:cudaMallocAsync and "
        "expandable_segments out of PYTORCH_CUDA_ALLOC_CONF, and use cudaMalloc instead of cudaMallocManaged.",
    ),
    Remedy(
        Action.INSPECT_NODE,
        "Have the administrator of the hypervisor enable unified memory for this vGPU (enable_uvm), which only profiles with "
        "the whole memory of the GPU support.",
    ),
)


def licences(case: Case) -> Iterator[Check]:
    """Check that every virtual GPU has its licence. NVML and ``nvidia-smi -q`` say whether it has."""
    for gpu in virtual_gpus(case.facts):
        if gpu.health.vgpu_licensed is False:
            message = f"GPU {gpu.index}: the virtual GPU has no licence: it is slowed down, or refuses CUDA"
            yield check(case, check_names.GPU_LICENCE, Status.WARN, reasons.VgpuUnlicensed, message)


def series(case: Case) -> Iterator[Check]:
    """Yield an Unknown check for a virtual GPU of a series on which NVIDIA does not support CUDA."""
    if case.cuda_works or case.proven:
        return
    for gpu in virtual_gpus(case.facts):
        profile = vgpu_profile(gpu.product)
        if profile is not None and not profile.runs_cuda:
            message = f"{gpu.product} is a virtual GPU of series {profile.series}; NVIDIA supports CUDA on Q and C only"
            profiles = Remedy(
                Action.REPLACE_GPU, "Give the virtual machine a vGPU profile of the series C or Q."
            )
            yield check(
                case, check_names.DRIVER_GPU, Status.UNKNOWN, reasons.NoDevice, message, [profiles], _SOURCE
            )


def meaning_on_vgpu(case: Case, rule: ErrorRule, message: str) -> tuple[Reason, str, Remedies] | None:
    """Return reason, message and remedies of an error that means something else on a virtual GPU, else None.

    A virtual GPU belongs to one virtual machine, so that it cannot be busy with programs of others. CUDA says that it is
    busy if its licence is missing.
    """
    gpus = virtual_gpus(case.facts)
    if not gpus and not any(failure.name == _UNLICENSED for failure in case.facts.errors):
        return None
    name = (gpus[0].product or f"GPU {gpus[0].index}") if gpus else "the GPU"
    if rule.reason in (reasons.GpuBusy, reasons.ContainerLostGpu):
        words = f"{name} is a virtual GPU, which refuses CUDA while it has no licence: {message}"
        return reasons.VgpuUnlicensed, words, case.knowledge.reasons[reasons.VgpuUnlicensed].remedies
    if rule.name == _UNSUPPORTED and gpus:
        words = f"{message}; {name} is a virtual GPU, without unified memory and memory pools"
        return rule.reason, words, _FEATURES
    return None
