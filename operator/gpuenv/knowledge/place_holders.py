"""Place-holders in the sentences of errors.yaml, such as ``{module}``, and the values that replace them.

A reader of error texts reports details of a failure by these names. If it does not know one, the sentence gets the words
of :data:`WORDS` instead, so that every sentence reads well without any detail.
"""

import re
from collections.abc import Mapping
from typing import Final

from gpuenv.api.foreign_text import one_line

WORDS: Final[Mapping[str, str]] = {
    "cuda": "this CUDA",
    "device": "the device",
    "driver": "a newer driver",
    "library": "a library",
    "module": "the extension",
    "offered": "other versions",
    "package": "the package that brings it",
    "program": "the program",
    "python": "this Python",
    "rank": "a rank",
    "requirement": "the package",
    "runtime": "that name",
    "symbol": "a symbol",
    "version": "another version",
}
"""Maps each place-holder to the words that stand for a value that is not known."""
MAX_VALUE: Final = 100
"""Maximum number of characters of a value. The names of symbols of C++ are longer, and are cut."""
_NAME: Final = re.compile(r"\{([^{}]{0,40})\}")

Details = tuple[tuple[str, str], ...]
"""Names of place-holders with their values, such as ``(("library", "libcudart.so.13"),)``."""


def unknown_names(sentence: str) -> list[str]:
    """Return the names in braces that are no place-holders. A brace without its partner counts as one."""
    rest = _NAME.sub("", sentence)
    return [name for name in _NAME.findall(sentence) if name not in WORDS] + [
        brace for brace in "{}" if brace in rest
    ]


def cleaned(details: Details) -> Details:
    """Return the details whose names are place-holders, each as one short line of printable characters."""
    pairs = ((name, one_line(value, MAX_VALUE)) for name, value in details if name in WORDS)
    return tuple((name, value) for name, value in pairs if value)


def fill(sentence: str, details: Details = ()) -> str:
    """Return a sentence of errors.yaml with the values of ``details`` in place of its place-holders."""
    if "{" not in sentence:
        return sentence
    values = {**WORDS, **dict(details)}
    return _NAME.sub(lambda found: values[found[1]], sentence)
