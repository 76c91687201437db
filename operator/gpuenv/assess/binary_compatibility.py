"""NVIDIA's rules of binary compatibility, which say which code runs on which GPU, as PyTorch applies them.

A cubin runs on its own major version and an equal or higher minor one, never across major versions; integrated
(Jetson) GPUs run no neighbour's code; ``a`` targets run exactly there, ``f`` targets within the family; plain PTX
runs on anything later. https://docs.nvidia.com/cuda/hopper-compatibility-guide/,
https://github.com/pytorch/pytorch/blob/main/torch/cuda/__init__.py (``DEVICE_REQUIREMENT``).
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from gpuenv.knowledge.model import ComputeCapability, Knowledge
from gpuenv.knowledge.versions import Version

_FLAG = re.compile(r"(sm|compute)_(\d{1,3})(\d)([af]?)")
_RENAMED = {(10, 1): (11, 0)}
"""sm_101 of CUDA 12.8 and 12.9 is sm_110 since 13.0."""


class Code(StrEnum):
    """How a GPU can run a build, the best way first."""

    NATIVE = "native"
    PTX = "ptx"
    NONE = "none"


@lru_cache(maxsize=1024)
def parse_flag(flag: str) -> tuple[str, ComputeCapability, str] | None:
    """Return a target as (kind, capability, suffix): ``sm_90a`` is ("sm", (9, 0), "a"). Anything else is None."""
    found = _FLAG.fullmatch(flag.strip().lower())
    if found is None:
        return None
    kind, major, minor, suffix = found.groups()
    return kind, (int(major), int(minor)), suffix


def code_for(
    flags: Iterable[str], device: ComputeCapability, cuda: Version | None, knowledge: Knowledge
) -> Code:
    """Return how ``device`` can run a build with the targets ``flags`` that was made with toolkit ``cuda``."""
    best = Code.NONE
    for flag in flags:
        target = parse_flag(flag)
        if target is None:
            continue
        kind, capability, suffix = target
        if kind == "sm" and _native(capability, suffix, device, cuda, knowledge):
            return Code.NATIVE
        if kind == "compute" and _ptx(capability, suffix, device):
            best = Code.PTX
    return best


def _native(
    code: ComputeCapability,
    suffix: str,
    device: ComputeCapability,
    cuda: Version | None,
    knowledge: Knowledge,
) -> bool:
    if code == device or _RENAMED.get(code, code) == _RENAMED.get(device, device):
        return True
    if suffix == "a" or code[0] != device[0] or code[1] > device[1]:
        return False
    if _embedded(code, knowledge):
        return False
    architecture = knowledge.architectures.get(device)
    if architecture is None or not architecture.embedded:
        return True
    neighbours = architecture.neighbours_from_cuda
    return neighbours is not None and cuda is not None and cuda >= neighbours


def _ptx(code: ComputeCapability, suffix: str, device: ComputeCapability) -> bool:
    if suffix == "a":
        return code == device
    if suffix == "f":
        return code[0] == device[0] and code <= device
    return code <= device


def _embedded(capability: ComputeCapability, knowledge: Knowledge) -> bool:
    architecture = knowledge.architectures.get(capability)
    return architecture is not None and architecture.embedded
