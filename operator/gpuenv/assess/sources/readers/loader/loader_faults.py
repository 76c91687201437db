r"""Reads faults of the dynamic loader of Linux: a library that is missing, and a symbol that a library lacks.

glibc words one fault in several ways: https://sourceware.org/git/?p=glibc.git;a=blob;f=elf/dl-lookup.c (``undefined
symbol``, ``not defined in file … with link time reference``) and elf/dl-version.c (``version … not found``).
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.cuda_libraries import (
    is_of_cuda,
    is_of_torch_alone,
    nvidia_package,
    package_of,
    wheel_of,
)
from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.readers.loader.blame import COMPANIONS, NVIDIA, TORCH, blamed, module_of_file
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_PLACES: Final = 64
"""Number of places in a text at which a fault is read."""
_BEFORE: Final = 320
_LAYER: Final = "python"
_LAST: Final = {"system-library-missing": 1, "library-does-not-load": 2}
"""Faults that are reported after the others, because they may follow from them, or be harmless beside them."""

_MISSING: Final = ": cannot open shared object file"
_OF_PROGRAM: Final = "error while loading shared libraries: "
"""Words before a library that a program lacks, and no module of Python."""
_NOT_FOUND: Final = LazyPattern(r"[Ll]ibrary (lib[\w.+-]{1,80}) is not found or cannot be loaded")
_FILE_BEFORE: Final = LazyPattern(r"([\w./+@~-]{1,300}\.so[\w.-]{0,40})$")
_UNDEFINED: Final = "undefined symbol: "
_SYMBOL: Final = LazyPattern(r"([\w.@$?]{1,600})(?:, version ([\w.+-]{1,60}))?")
_NOT_DEFINED: Final = LazyPattern(
    r"symbol ([\w.@$?]{1,600}),? version ([\w.+-]{1,60}) not defined in file ([\w.+-]{1,80})(?: with link time reference)?"
)
_VERSION: Final = LazyPattern(
    r"version [`'\"]?([\w.+-]{3,60})['\"]? not found(?: \((?:required by)? ?([^)\n]{1,300})\))?"
)
_CORRUPT: Final = (
    "invalid ELF header",
    "file too short",
    "wrong ELF class",
    "ELF load command past end of file",
)
_OF_LIBSTDCXX: Final = LazyPattern(r"GLIBCXX|CXXABI|_ZSt|_ZNSt|_ZNKSt|_ZTVNSt|__cxa|__gxx")
_DRIVER: Final = LazyPattern(r"cu(?!da|blas|dnn|fft|rand|sparse|solver|pti|tensor[A-Z])[A-Z]\w+")
_OF_LIBRARY: Final = LazyPattern(
    r"_{0,2}(?:nccl[A-Z]|pnccl[A-Z]|cublas|cudnn|nvJitLink|nvjitlink|cusparse|cusolver|cufft|curand|nvrtc|cupti|nvshmem|cudss|cuFile"
    r"|cuda[A-Z]|iJIT_|ompi_|MPI_|mkl_|nvtx)"
)
_OF_TORCH: Final = LazyPattern(r"_?Z\w{0,400}?(?:3c10|2at|5torch|6caffe2)|aoti_torch_|torch_|THC|_torch|c10_")
_OF_PYTHON: Final = LazyPattern(r"_?Py[A-Z_]")
_OF_C: Final = LazyPattern(r"GLIBC|GLIBCXX|CXXABI|GCC_")
_OF_CXX: Final = LazyPattern(r"_ZSt|_ZNSt|_ZNKSt|_ZTVNSt|__cxa|__gxx|__libc_|__throw")
_OF_MACOS: Final = LazyPattern(
    r"dlopen\(([^,()\n]{1,300}), ?[\w ]{1,10}\): Symbol not found: \(?_?([\w.@$]{1,600})\)?"
    r"(?:\s{1,8}Referenced from:[^\n]{1,400}\s{1,8}Expected in: ([^\s]{1,300}))?"
)
_ERROR: Final = LazyPattern(r"[Ee]rror|[Ee]xception|[Ff]ail|[Cc]ould not|[Cc]annot import")
_FIRST_WORDS: Final = (
    _MISSING, "cannot be loaded", _UNDEFINED, "not defined in file", "not found", "Could not load this library",
    "CRITICAL: Could not load any", "Symbol not found: ", *_CORRUPT,
)  # fmt: skip
"""Words of which every fault has one."""
_NOT_ANY: Final = LazyPattern(r"\[([a-z]\w{2,40})\] CRITICAL: Could not load any (\w{2,40})")
_COULD_NOT: Final = LazyPattern(r"Could not load this library: ([^\s\"']{3,300}\.(?:so|dll|pyd)\b)")
_IMAGE_WARNING: Final = "Failed to load image Python extension"


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the faults of the dynamic loader in a text, those of CUDA's libraries before those of the system's."""
    if not any(words in text for words in _FIRST_WORDS):
        return NO_FACTS
    found: dict[tuple[object, ...], Failure] = {}
    for failure, start in _faults(text):
        if _harmless(text, start, knowledge):
            continue
        key = (failure.name, *(pair for pair in failure.details if pair[0] in ("library", "symbol")))
        known = found.get(key)
        if known is None or "module" not in dict(known.details):
            found[key] = failure  # of one fault that is told twice, the text that says who failed counts
    ordered = sorted(found.values(), key=lambda failure: _LAST.get(failure.name, 0))
    return Facts(source=Source.ERROR_TEXT, errors=tuple(ordered))


def _faults(text: str) -> Iterator[tuple[Failure, int]]:
    """Yield each fault and the place in the text where its words begin."""
    if _MISSING in text or "cannot be loaded" in text:
        yield from _missing(text)
    if _UNDEFINED in text:
        yield from _undefined(text)
    if "Symbol not found: " in text:
        for match in islice(_OF_MACOS.finditer(text), MAX_PLACES):
            library = _base(match[3] or "")
            yield _symbol(text, match.span(), match[1], match[2], library), match.start()
    if "not defined in file" in text:
        for match in islice(_NOT_DEFINED.finditer(text), MAX_PLACES):
            file = _file_before(text, match.start() - 2) or match[3]
            yield _symbol(text, match.span(), file, match[1], match[2]), match.start()
    if "not found" in text:
        for match in islice(_VERSION.finditer(text), MAX_PLACES):
            failure = _version(text, match)
            if failure:
                yield failure, match.start()
    yield from _unexplained(text)
    for words in _CORRUPT:
        for place in _places(text, words):
            file = _file_before(text, place - 2)
            if file:
                module = module_of_file(file) or blamed(text, place, place + len(words))
                name = "torch-library-corrupt" if module in (TORCH, NVIDIA) else "library-corrupt"
                yield _failure(name, words, module=module, library=_base(file)), place


def _unexplained(text: str) -> Iterator[tuple[Failure, int]]:
    """Yield a failure for each module whose library torch could not load (``Could not load this library: PATH``)."""
    for match in islice(_NOT_ANY.finditer(text), 1):
        library = match[2] or "its library"
        yield _failure("library-does-not-load", match[0], module=match[1], library=library), match.start()
    seen: set[str] = set()
    for match in islice(_COULD_NOT.finditer(text), MAX_PLACES):
        module = module_of_file(match[1])
        if module and module not in seen:
            seen.add(module)
            library = re.split(r"[/\\]", match[1])[-1]
            yield _failure("library-does-not-load", match[0], module=module, library=library), match.start()


def _places(text: str, words: str) -> Iterator[int]:
    place = text.find(words)
    for _ in range(MAX_PLACES):
        if place < 0:
            return
        yield place
        place = text.find(words, place + len(words))


def _missing(text: str) -> Iterator[tuple[Failure, int]]:
    places = [
        (place - len(file), file) for place in _places(text, _MISSING) if (file := _file_before(text, place))
    ]
    for match in islice(_NOT_FOUND.finditer(text), MAX_PLACES):
        if not match[1].startswith("libcudnn"):  # a rule of errors.yaml of its own
            yield at_runtime(match[0], match[1]), match.start()
    for start, file in places:
        library = _base(file)
        if re.match(r"libcuda\.so|libnvidia-ml\.so|libcudnn", library):
            continue  # rules of errors.yaml of their own
        end = start + len(file)
        module = blamed(text, start, end)
        name = _name_of_missing(text, start, library, module)
        if name:
            own = module_of_file(file) if name == "module-library-missing" else None
            words = file + (_MISSING if text.startswith(_MISSING, end) else "")
            yield (
                _failure(name, words, module=own or module, library=library, package=package_of(library)),
                start,
            )


def at_runtime(words: str, library: str) -> Failure:
    """Return the failure for a library that CTranslate2 loads when it first uses the GPU, and does not find.

    Only CTranslate2 has these words: https://github.com/OpenNMT/CTranslate2/blob/master/src/cuda/utils.h
    """
    package = wheel_of(library)
    return _failure("runtime-library-missing", words, module="ctranslate2", library=library, package=package)


def _name_of_missing(text: str, start: int, library: str, module: str | None) -> str:
    """Return the name of the rule for a missing library, or "" if its absence is no error for certain."""
    if re.match(r"lib(?:torch|c10)(?:_|\.|$)", library):
        return "torch-library-missing" if module == TORCH else "torch-of-module-missing"
    if is_of_torch_alone(library) and module is None:
        return "torch-library-missing"
    if is_of_cuda(library):
        return "torch-library-missing" if module == TORCH else "library-missing"
    if not _ERROR.search(text, max(text.rfind("\n", 0, start), start - _BEFORE), start + len(library)):
        return ""
    of_program = text.endswith(_OF_PROGRAM, 0, start)
    if not of_program and module_of_file(library) not in (None, NVIDIA) and not package_of(library):
        return "module-library-missing"
    return "torch-library-missing" if module == TORCH else "system-library-missing"


def _undefined(text: str) -> Iterator[tuple[Failure, int]]:
    for place in _places(text, _UNDEFINED):
        match = _SYMBOL.match(text, place + len(_UNDEFINED))
        if match:
            file = _file_before(text, place - 2) or _file_before(text, place - 3) or ""
            yield _symbol(text, (place, match.end()), file, match[1], match[2] or ""), place


def _symbol(text: str, span: tuple[int, int], file: str, symbol: str, version: str) -> Failure:
    """Return the failure for a symbol that is not there. ``file`` is the library that needs it, "" if not known."""
    own = module_of_file(file) if file else None
    module = own if own not in (None, NVIDIA) else blamed(text, *span) or own
    name = _name_of_symbol(symbol, version, own)
    if name == "symbol-of-torch" and module in COMPANIONS:
        name = "torchvision-of-another-torch"
    if _IMAGE_WARNING in text[max(0, span[0] - _BEFORE) : span[0]]:
        name, module = "torchvision-image", "torchvision"
    library = version if version.startswith("lib") else _base(file)
    package = (
        nvidia_package(library) or nvidia_package(symbol.lstrip("_")) if name == "symbol-of-library" else ""
    )
    words = text[span[0] : span[1]]
    return _failure(
        name, words, module=module, library=library, symbol=symbol, version=version, package=package
    )


def _name_of_symbol(symbol: str, version: str, own: str | None) -> str:
    """Return the name of the rule for a missing symbol. ``own`` is the module whose library needs it."""
    if _OF_C.match(version) or _OF_CXX.match(symbol):
        return _name_of_c(version or symbol, "torch" if own == TORCH else "extension")
    if _OF_LIBRARY.match(symbol) or version.startswith("lib"):
        return "symbol-of-library"
    if _DRIVER.match(symbol):
        return "symbol-of-driver"
    if own in (TORCH, NVIDIA):
        return "symbol-of-library"
    if _OF_PYTHON.match(symbol):
        return "symbol-of-python"
    return "symbol-of-torch" if _OF_TORCH.match(symbol) else "symbol-unknown"


def _version(text: str, match: re.Match[str]) -> Failure | None:
    version, needed_by = match[1], match[2] or ""
    module = module_of_file(needed_by) if needed_by else blamed(text, *match.span())
    if _OF_C.match(version):
        of_system = needed_by.startswith(("/usr/", "/lib"))
        of_module = "-packages" in needed_by or (module and not of_system)
        name = _name_of_c(version, "torch" if module == TORCH else "extension" if of_module else "")
        return _failure(name, match[0], module=module, library=_base(needed_by), version=version)
    if version.startswith("lib") and is_of_cuda(version):
        package = nvidia_package(version)
        return _failure("symbol-of-library", match[0], module=module, library=version, package=package)
    return None


def _name_of_c(wanted: str, who: str) -> str:
    """Return the name of the rule for a version or symbol that libstdc++ (for C++) or the C library lacks.

    ``who`` is the program that wants it: torch, an extension, or "" for others.
    """
    library = "cxx-library" if _OF_LIBSTDCXX.match(wanted) else "c-library"
    return {"torch": f"torch-{library}", "extension": f"{library}-of-extension"}.get(who, library)


def _failure(name: str, words: str, **details: str | None) -> Failure:
    pairs = tuple((key, value) for key, value in details.items() if value and value != NVIDIA)
    return Failure(_LAYER, name=name, message=words, details=pairs)


def _file_before(text: str, end: int) -> str:
    """Return the path of a library that ends at ``end`` of the text, or ""."""
    found = _FILE_BEFORE.search(text, max(0, end - _BEFORE), max(0, end))
    return found[1] if found else ""


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _harmless(text: str, start: int, knowledge: Knowledge) -> bool:
    end = text.find("\n", start, start + _BEFORE)
    line = text[
        max(text.rfind("\n", 0, start), start - _BEFORE, 0) : end if end > 0 else start + _BEFORE
    ].lower()
    return any(mark in line for row in knowledge.harmless for mark in row.text)
