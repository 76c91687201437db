"""Checks that a table which a user wrote has the same kinds of values as the package's own table, place by place."""

from collections.abc import Sequence
from typing import Any, Final

from gpuenv.api.fields import kind
from gpuenv.api.foreign_text import one_line
from gpuenv.knowledge.files import KnowledgeError

_NUMBER: Final = "a number"


def require_shape(table: Any, own: Any, name: str) -> None:
    """Raise KnowledgeError if a value in a table has a kind that no value in the same place of ``own`` has.

    Rows may have more fields than those of the package's own table, and other tables may have more rows. ``name`` is the
    name of the file.
    """
    try:
        _require(table, [own], "", is_row=True)
    except _WrongKindError as error:
        raise KnowledgeError(f"{name}: {one_line(str(error), 500)}") from None


class _WrongKindError(ValueError):
    """A value has the wrong kind. The message names its place, and says what to write."""


def _require(value: Any, examples: Sequence[Any], place: str, *, is_row: bool) -> None:
    """Check a value against the values that the package's own table has in its place.

    ``is_row`` says that a mapping has fields with names of their own; other mappings have any keys, and values of one kind.
    """
    wanted = list(dict.fromkeys(map(_kind, examples)))
    if _kind(value) not in wanted:
        quotes = ", in quotes" if "a text" in wanted and _kind(value) == _NUMBER else ""
        raise _WrongKindError(f"{place or 'it'} is {kind(value)}; write {' or '.join(wanted)}{quotes}")
    if isinstance(value, list):
        items = [item for example in examples if isinstance(example, list) for item in example]
        for index, item in enumerate(value):
            if items:
                _require(item, items, f"{place}[{index}]", is_row=True)
    elif isinstance(value, dict):
        mappings = [example for example in examples if isinstance(example, dict)]
        every = [] if is_row else [item for example in mappings for item in example.values()]
        for key, item in value.items():
            known = [example[key] for example in mappings if key in example] or every
            if known:
                _require(item, known, f"{place}.{key}" if place else str(key), is_row=False)


def _kind(value: Any) -> str:
    """Return the kind of a value in words. All numbers are of one kind."""
    if value is None:
        return "null"
    return _NUMBER if isinstance(value, int | float) and not isinstance(value, bool) else kind(value)
