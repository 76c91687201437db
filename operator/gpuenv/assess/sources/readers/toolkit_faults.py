r"""Reads builds of packages that fail because the CUDA toolkit does not fit torch, or does not know the GPU.

PyTorch compares the toolkit with its own CUDA before it compiles:
https://github.com/pytorch/pytorch/blob/main/torch/utils/cpp_extension.py (``_check_cuda_version``).
"""

from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import show

MAX_PLACES: Final = 16
_MISMATCH: Final = LazyPattern(
    r"The detected CUDA version \((\d{1,2}\.\d{1,2})\) mismatches the version that was used to compile\s{1,20}"
    r"PyTorch \((\d{1,2}\.\d{1,2})\)"
)
_TARGET: Final = LazyPattern(
    r"nvcc fatal {1,8}: Unsupported gpu architecture '((?:compute|sm)_(\d{1,2})(\d)[af]?)'"
)
_FIRST_WORDS: Final = ("The detected CUDA version", "Unsupported gpu architecture")


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return a failure for a toolkit of another CUDA than torch's, and one for an architecture that nvcc does not know."""
    if not any(words in text for words in _FIRST_WORDS):
        return NO_FACTS
    found: list[Failure] = []
    for match in islice(_MISMATCH.finditer(text), 1):
        details = (("version", match[1]), ("cuda", match[2]))
        found.append(Failure("torch", name="toolkit-mismatch", message=match[0], details=details))
    for match in islice(_TARGET.finditer(text), 1):
        versions = _versions((int(match[2]), int(match[3])), knowledge)
        details = (("symbol", match[1]), ("version", versions))
        found.append(Failure("torch", name="toolkit-without-target", message=match[0], details=details))
    return Facts(source=Source.ERROR_TEXT, errors=tuple(found))


def _versions(capability: tuple[int, int], knowledge: Knowledge) -> str:
    """Return which CUDA versions compile for a compute capability, in words."""
    known = knowledge.architectures.get(capability)
    if known is None or known.first_cuda is None:
        return "another release"
    if known.last_cuda is None:
        return f"{show(known.first_cuda)} or newer"
    return f"{show(known.first_cuda)} to {show(known.last_cuda)}"
