r"""Reads faults of the loader of Windows: ``WinError`` numbers, ``DLL load failed``, and the DLLs that they name.

The number says what is the matter, in every language of Windows: 126 a DLL is missing, 127 and 182 a DLL lacks a function
(it is of another version), 193 a DLL is not for this kind of processor or damaged, 1114 a DLL did not initialise, 1260 and
4551 a policy blocks it.
https://learn.microsoft.com/windows/win32/debug/system-error-codes
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.cuda_libraries import is_of_cuda, nvidia_package
from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.readers.loader.blame import (
    COMPANIONS,
    NVIDIA,
    TORCH,
    blamed,
    module_name,
    module_of_file,
)
from gpuenv.assess.sources.readers.loader.loader_faults import at_runtime
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_PLACES: Final = 64
_REACH: Final = 600
"""Number of characters after the number of an error in which the name of the DLL is searched."""
_NUMBERED: Final = LazyPattern(
    r"\[?WinError (126|127|182|193|1114|1260|4551)\b\]?|Error code (126|127|182|193|1114|1260|4551)\b"
)
_IMPORTING: Final = LazyPattern(
    r"DLL load failed while importing ([\w.]{1,80})(?:: ([^\n]{1,160}))?|DLL load failed(?:: ([^\n]{1,160}))?"
)
_LOADING: Final = LazyPattern(r"[Ee]rror loading [\"']?([^\"'\n]{3,300}?\.(?:dll|pyd))", re.IGNORECASE)
_NOT_FOUND: Final = LazyPattern(
    r"Could not find module '([^'\n]{3,300}\.(?:dll|pyd))'|[Ll]ibrary ([\w.-]{3,80}\.dll) is not found or cannot be loaded"
)
_KINDS: Final = {
    "126": "dll-missing", "127": "dll-of-another-version", "182": "dll-of-another-version", "193": "dll-of-wrong-kind",
    "1114": "dll-does-not-start", "1260": "dll-blocked", "4551": "dll-blocked",
}  # fmt: skip
_WORDS: Final = (
    ("Application Control", "4551"), ("App Control", "4551"), ("group policy", "1260"),
    ("procedure", "127"), ("procédure", "127"), ("procedimento", "127"), ("procedimiento", "127"), ("proceso", "127"),
    ("procedura", "127"), ("Prozedur", "127"), ("процедура", "127"), ("找不到指定的程序", "127"), ("找不到指定的程式", "127"),
    ("プロシージャ", "127"), ("프로시저", "127"), ("not a valid Win32", "193"), ("%1", "193"), ("initialization routine", "1114"),
    ("inicialización", "1114"), ("inicialização", "1114"), ("d'initialisation", "1114"), ("Initialisierungsroutine", "1114"),
    ("инициализации", "1114"), ("初始化例程", "1114"), ("初期化ルーチン", "1114"), ("module could not be found", "126"),
)  # fmt: skip
"""Pairs of words that Windows prints for an error, in the languages that reports come in, and its number."""


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the faults of the loader of Windows in a text."""
    del knowledge
    if "WinError" not in text and "DLL load failed" not in text and ".dll" not in text:
        return NO_FACTS
    found: dict[tuple[object, ...], Failure] = {}
    for failure in _faults(text):
        found.setdefault((failure.name, failure.details), failure)
    return Facts(source=Source.ERROR_TEXT, errors=tuple(found.values()))


def _faults(text: str) -> Iterator[Failure]:
    for match in islice(_NUMBERED.finditer(text), MAX_PLACES):
        named = _LOADING.search(text, match.end(), match.end() + _REACH)
        dll = named[1] if named else ""
        module = (module_of_file(dll) if dll else None) or blamed(text, *match.span())
        if "cudnn" not in text[max(0, match.start() - 120) : match.start()]:
            yield _failure(_KINDS[match[1] or match[2]], match[0], module, dll)
    for match in islice(_IMPORTING.finditer(text), MAX_PLACES):
        words = match[2] or match[3] or ""
        number = next((number for part, number in _WORDS if part in words), "126")
        name = module_name(match[1]) if match[1] else None
        of_torch = match[1] and name in ("_C", None)
        module = blamed(text, match.start(), match.end()) if of_torch or name is None else name
        yield _failure(_KINDS[number], match[0], module, "")
    for match in islice(_NOT_FOUND.finditer(text), MAX_PLACES):
        dll = match[1] or match[2]
        if match[2] and not dll.startswith("cudnn"):
            yield at_runtime(match[0], dll)
            continue
        yield _failure("dll-missing", match[0], module_of_file(dll) or blamed(text, *match.span()), dll)


def _failure(kind: str, words: str, module: str | None, dll: str) -> Failure:
    name = f"torch-{kind}" if module == TORCH else kind
    if kind == "dll-of-another-version" and module in COMPANIONS:
        name = "torchvision-of-another-torch"
    library = re.split(r"[/\\]", dll)[-1]
    details = [("module", module or ""), ("library", library)]
    if kind == "dll-missing" and module != TORCH and is_of_cuda(library):
        name = "library-missing"
        details.append(("package", nvidia_package(library)))
    return Failure(
        "python",
        name=name,
        message=words,
        details=tuple(pair for pair in details if pair[1] and pair[1] != NVIDIA),
    )
