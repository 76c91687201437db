"""NVIDIA's rules of binary compatibility: which compiled code runs on which GPU, as PyTorch applies them.

- A cubin (native code) runs on GPUs of its own compute capability, and of a higher minor version with the same major
  version. It never runs on another major version.
- Integrated (Jetson) GPUs are an exception: they run only code for their own compute capability. Some also run code for
  a lower minor version, if it was compiled by a new enough toolkit.
- Code for a target with the suffix ``a`` (``sm_90a``) runs on exactly one compute capability, and code for a target
  with ``f`` only on GPUs of one family.
- PTX without a suffix runs on any later GPU.

https://docs.nvidia.com/cuda/hopper-compatibility-guide/,
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
"""Maps the old number of a compute capability to its new number.

CUDA 12.8 and 12.9 use the name sm_101 for the GPUs that are sm_110 since CUDA 13.0.
"""


class Code(StrEnum):
    """The kind of code through which a GPU can run a PyTorch build, the best kind first."""

    NATIVE = "native"
    """The build has machine code for the GPU."""
    PTX = "ptx"
    """The build has only PTX for the GPU, NVIDIA's intermediate code, which the driver compiles at run time."""
    NONE = "none"
    """The build has no code that the GPU can run."""


@lru_cache(maxsize=1024)
def parse_flag(flag: str) -> tuple[str, ComputeCapability, str] | None:
    """Return a compilation target as (kind, capability, suffix): ``sm_90a`` is ("sm", (9, 0), "a").

    A target is the GPU generation that code is compiled for. Return None if ``flag`` is not the name of a target.
    """
    found = _FLAG.fullmatch(flag.strip().lower())
    if found is None:
        return None
    kind, major, minor, suffix = found.groups()
    return kind, (int(major), int(minor)), suffix


def code_for(
    flags: Iterable[str], device: ComputeCapability, cuda: Version | None, knowledge: Knowledge
) -> Code:
    """Return the best kind of code that a PyTorch build has for a GPU.

    ``flags`` are the targets of the build, such as ``sm_90``. ``cuda`` is the version of its CUDA toolkit, or None if
    it is not known. ``device`` is the compute capability of the GPU.
    """
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
