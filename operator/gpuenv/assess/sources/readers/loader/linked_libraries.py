r"""Reads the output of ``ldd``: libraries that the loader does not find for a file (``libcudnn.so.9 => not found``).

That is no failure yet: importing torch loads the libraries of torch and NVIDIA, and an extension that is imported after it
finds them loaded, wherever they are. ldd knows nothing of that.
"""

import re
from itertools import islice
from typing import Final

from gpuenv.assess.cuda_libraries import is_of_cuda, package_of, wheel_of
from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.readers.loader.blame import NVIDIA, module_of_file
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

_MAX_LINES: Final = 256
_MAX_NAMED: Final = 6
"""Number of libraries that one failure names."""
_SIGN: Final = " => not found"
_LINE: Final = LazyPattern(r"(?<![\w./+@-])([\w./+@-]{3,160}) => not found")
_FILE: Final = LazyPattern(
    r"(?:^|[\s$#>])ldd(?: -\w{1,4}){0,3} {1,4}['\"]?([\w./+@~-]{2,300})|^([\w./+@~-]{2,300}):$", re.MULTILINE
)
_DRIVER: Final = LazyPattern(r"libcuda\.so|libnvidia-|libnvcuvid")
_OF_TORCH: Final = LazyPattern(r"lib(?:torch|c10|caffe2|shm)(?:_\w{1,20})?\.so")


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return one failure for each kind of library that ldd does not find: of the driver, CUDA, torch, and the system."""
    del knowledge
    if _SIGN not in text:
        return NO_FACTS
    kinds: dict[str, dict[str, str]] = {}
    first: dict[str, int] = {}
    for match in islice(_LINE.finditer(text), _MAX_LINES):
        library = match[1].rpartition("/")[2]
        kind = _kind(library)
        first.setdefault(kind, match.start())
        kinds.setdefault(kind, {}).setdefault(library, match[0])
    files = [(match.start(), match[1] or match[2]) for match in islice(_FILE.finditer(text), _MAX_LINES)]
    errors = (
        _failure(kind, libraries, next((file for place, file in reversed(files) if place < first[kind]), ""))
        for kind, libraries in kinds.items()
    )
    return Facts(source=Source.ERROR_TEXT, errors=tuple(errors))


def _kind(library: str) -> str:
    """Return the name of the rule for a library that ldd does not find."""
    if _DRIVER.match(library):
        return "ldd-without-driver"
    if _OF_TORCH.match(library):
        return "ldd-without-torch"
    return "ldd-without-cuda" if is_of_cuda(library) else "ldd-without-system"


def _failure(name: str, libraries: dict[str, str], file: str) -> Failure:
    names = list(libraries)
    package = wheel_of if name == "ldd-without-cuda" else package_of
    packages = dict.fromkeys(found for library in names[:_MAX_NAMED] if (found := package(library)))
    module = module_of_file(file) if file else None
    of_file = re.split(r"/", file)[-1] if file else ""
    details = {
        "library": ", ".join(names[:_MAX_NAMED]) + (" and others" if len(names) > _MAX_NAMED else ""),
        "package": ", ".join(packages),
        "module": (module if module and module != NVIDIA else "") or of_file,
    }
    pairs = tuple(pair for pair in details.items() if pair[1])
    return Failure("python", name=name, message=libraries[names[0]], details=pairs)
