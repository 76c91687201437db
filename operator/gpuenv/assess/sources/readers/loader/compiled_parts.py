r"""Reads imports that fail because a package lacks its compiled part: ``No module named 'mmcv._ext'``.

Packages with CUDA code keep it in a file of their own (``_C``, ``_ext``, ``csrc``, ``pointops_cuda``). It is not there if
the package was installed without being built, or if its build failed and a fallback in Python was installed.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.readers.loader.blame import TORCH, module_name
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_PLACES: Final = 32
_FIRST_WORDS: Final = ("No module named", "cannot import name")
_PART: Final = r"(?:_C|_CUDA|_ext|_extension|_cuda|_kernels|csrc|[a-z]\w{1,60}_(?:ext|cuda|cuda_ext))"
"""Matches the last name of a module of compiled code."""
_NO_MODULE: Final = LazyPattern(rf"No module named ['\"]?((?:[A-Za-z_]\w{{0,60}}\.){{0,6}}{_PART})(?![\w.])")
_CANNOT_IMPORT: Final = LazyPattern(
    rf"cannot import name ['\"]({_PART})['\"](?: from (?:partially initialized module )?['\"]([A-Za-z_][\w.]{{0,120}})['\"])?"
)


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return a failure for each package of a text that lacks its compiled part."""
    del knowledge
    if not any(words in text for words in _FIRST_WORDS):
        return NO_FACTS
    found: dict[str, Failure] = {}
    for words, path in _missing(text):
        module = module_name(path)
        if module not in (None, TORCH):  # a torch without its own part is broken: rules of errors.yaml
            details = (("module", module), ("library", path.rpartition(".")[2]))
            found.setdefault(
                module, Failure("python", name="compiled-part-missing", message=words, details=details)
            )
    return Facts(source=Source.ERROR_TEXT, errors=tuple(found.values())) if found else NO_FACTS


def _missing(text: str) -> Iterator[tuple[str, str]]:
    """Yield the telling words of each failed import of compiled code, and the dotted path of that code."""
    for match in islice(_NO_MODULE.finditer(text), MAX_PLACES):
        yield match[0], match[1]
    for match in islice(_CANNOT_IMPORT.finditer(text), MAX_PLACES):
        yield match[0], f"{match[2]}.{match[1]}" if match[2] else match[1]
