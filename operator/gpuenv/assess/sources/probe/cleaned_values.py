"""Converts values of a probe report, which an image wrote, to values that JSON and the API server keep unchanged.

No nulls, no NaN, no lone surrogates, no endless texts or lists. The number of values is limited, so that no report takes
long to clean.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.api.foreign_text import one_line, several_lines
from gpuenv.api.tolerant import MAX_INTEGER, is_mapping

MAX_TEXT: Final = 500
"""Maximum number of characters in one text."""
MAX_VALUES: Final = 4000
"""Maximum number of values that one cleaner returns. The reports of a node with 16 GPUs contain about 2,500."""
MAX_ENTRIES: Final = 64
"""Maximum number of entries in one list or object. The health of a GPU has 45."""
_SHORT: Final = 48
"""Maximum number of characters of texts whose cleaned form is cached."""
_MAX_DEPTH: Final = 6
_TAIL: Final = "tail"
"""Key of the last lines that a command check printed, the only text with line breaks. All others are one line."""


def clean_text(value: str) -> str:
    """Return the text as one line of printable characters, cut to :data:`MAX_TEXT` characters."""
    if len(value) <= _SHORT:
        return _clean_short(value)
    return one_line(value, MAX_TEXT) if value.isascii() else _clean_foreign(value)


@lru_cache(maxsize=4096)
def _clean_short(value: str) -> str:
    """Return the same as :func:`one_line`. Names, units and data types occur thousands of times."""
    return one_line(value, MAX_TEXT)


def clean_number(value: float) -> float | int | None:
    """Return the number, or None if it is NaN or its absolute value exceeds ``MAX_INTEGER``.

    A whole number becomes an integer, because the API server stores 12.0 as 12.
    """
    if not -MAX_INTEGER <= value <= MAX_INTEGER:  # also false for NaN
        return None
    return int(value) if value == int(value) else value


@bounded_cache(max_bytes=1 << 20)
def _clean_foreign(value: str) -> str:
    """Return the same as :func:`one_line`, which looks at each character that is not ASCII."""
    cleaned = one_line(value, MAX_TEXT)
    # A clean text stays as it is. It is cleaned again when facts are read from the document.
    _clean_foreign.cache.put((cleaned,), cleaned)  # type: ignore[attr-defined]  # every function with this decorator has it
    return cleaned


class Cleaner:
    """Cleans values of one probe document. Once it has returned ``MAX_VALUES`` values, all further ones are dropped."""

    def __init__(self) -> None:
        """Start with all values to give."""
        self.left = MAX_VALUES

    def mapping(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the object with cleaned keys and values, without those that cannot be kept."""
        return self._mapping(value, 0)

    def _value(self, value: object, depth: int) -> Any:
        """Return the cleaned value, or None if it cannot be kept.

        ``depth`` is the number of lists and objects around the value. Lists and objects that lie too deep are dropped.
        """
        self.left -= 1
        if self.left < 0:
            return None
        if isinstance(value, str):
            return clean_text(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return clean_number(value)
        if depth >= _MAX_DEPTH:
            return None
        if is_mapping(value):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple):
            items = (self._value(item, depth + 1) for item in value[:MAX_ENTRIES])
            return [item for item in items if item is not None]
        return None

    def _mapping(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for number, (key, entry) in enumerate(value.items()):
            if number >= MAX_ENTRIES:
                break
            is_tail = key == _TAIL and isinstance(entry, str)
            item = several_lines(entry, MAX_TEXT) if is_tail else self._value(entry, depth + 1)
            if item is not None:
                cleaned[clean_text(str(key))] = item
        return cleaned
