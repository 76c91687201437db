"""Reads a raw object, such as a specification, field by field.

An error names the path of the field and says how to correct its value.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeVar

from gpuenv.api.foreign_text import one_line

T = TypeVar("T")
D = TypeVar("D")

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,3})?")


class FieldError(ValueError):
    """A field has an invalid value. The message is one line that names the field and says how to correct it."""


class Fields:
    """The fields of one mapping in a raw object, such as the mapping at the path ``spec.probe``.

    ``path`` is the path that error messages name; it is "" for the whole object. Every method that returns a typed
    value raises FieldError if the field has another type. A field that is null counts as absent, except in
    :meth:`nullable_text`. Unknown fields are ignored, unless :meth:`close` is called at the end.
    """

    def __init__(self, path: str, value: object) -> None:
        self.path: Final = path
        self._known: Final[set[str]] = set()
        if value is not None and not isinstance(value, Mapping):
            self.fail("", f"is {kind(value)}; write it as a mapping of fields")
        self._values: Final[Mapping[Any, Any]] = value or {}

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise FieldError for the field ``name``, or for this mapping itself when ``name`` is empty."""
        place = self._place(name)
        # The names of fields are foreign texts, too.
        raise FieldError(one_line(f"{place}: {problem}" if place else problem))

    def _place(self, name: str) -> str:
        return ".".join(part for part in (self.path, name) if part)

    def all(self) -> dict[str, Any]:
        """Return all fields of the mapping with their raw values."""
        return dict(self._values)

    def raw(self, name: str) -> Any:
        """Return the raw value of a field, or None if it is absent."""
        self._known.add(name)
        return self._values.get(name)

    def has(self, name: str) -> bool:
        """Return whether the field is present and not null."""
        return self.raw(name) is not None

    def close(self) -> None:
        """Raise FieldError if the mapping has a field that was never read, so that a typo does not go unnoticed."""
        for name in self._values:
            if name not in self._known:
                known = sorted(self._known)
                close = difflib.get_close_matches(str(name), known, 1)
                cure = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self.fail("", f"has no field {str(name)!r}; {cure}")

    def text(self, name: str) -> str | None:
        """Return the text in a field, or None if it is absent or empty. Raises FieldError for another type."""
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"is {kind(value)}; write a text{_quoted(value)}")
        return value or None

    def required_text(self, name: str) -> str:
        """Return the text in a field. Raises FieldError if it is absent or empty."""
        value = self.text(name)
        if value is None:
            self.fail(name, "is missing; add it")
        return value

    def nullable_text(self, name: str, default: str | None) -> str | None:
        """Return the text in a field, None if the field is null, or ``default`` if the field is absent.

        Use this method for a field in which null does not mean the same as an absent field.
        """
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"is {kind(value)}; write a text or null{_quoted(value)}")
        return value if name in self._values else default

    def flag(self, name: str, default: bool) -> bool:
        """Return the boolean in a field, or ``default`` if it is absent."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(name, f"is {shown(value)}; write true or false")
        return value

    def integer(self, name: str, default: D, low: int, high: int) -> int | D:
        """Return the whole number in a field, or ``default`` if it is absent.

        Raises FieldError unless ``low <= number <= high``.
        """
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(name, f"is {shown(value)}; write a whole number from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return the number in a field, or ``default`` if it is absent.

        Raises FieldError unless ``low <= number <= high``.
        """
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(name, f"is {shown(value)}; write a number from {low:g} to {high:g}")
        return float(value)

    def positive_decimal(self, name: str, high: int) -> Decimal | None:
        """Return the number in a field, with at most three decimal places, or None if the field is absent.

        It is a whole number, or a text: floating-point numbers do not belong in specifications. Raises FieldError
        unless ``0 < number <= high``.
        """
        value = self.raw(name)
        if value is None:
            return None
        found = _DECIMAL.fullmatch(str(value)) if isinstance(value, int | str) else None
        number = Decimal(found[0]) if found is not None else Decimal(0)
        if not 0 < number <= high:
            cure = f'write a number up to {high}, one with a fraction in quotes: 180 or "19.5"'
            self.fail(name, f"is {shown(value)}; {cure}")
        return number

    def choice(self, name: str, choices: Sequence[str], default: D) -> str | D:
        """Return the value of a field, which must be one of ``choices``, or ``default`` if it is absent."""
        return default if self.raw(name) is None else self.required_choice(name, choices)

    def required_choice(self, name: str, choices: Sequence[str]) -> str:
        """Return the value of a field, which must be one of ``choices``. Raises FieldError if it is absent."""
        value = self.raw(name)
        if value is None:
            self.fail(name, f"is missing; choose one of {', '.join(choices)}")
        if value not in choices:
            close = difflib.get_close_matches(value, choices, 1) if isinstance(value, str) else []
            cure = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(choices)}"
            self.fail(name, f"{shown(value)} is not known; {cure}")
        return str(value)

    def texts(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the list of texts in a field, or ``default`` if it is absent."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.fail(name, f"is {kind(value)}; write a list of texts")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        """Return the mapping from text to text in a field; it is empty if the field is absent."""
        value = self.raw(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(
            isinstance(t, str) for pair in value.items() for t in pair
        ):
            self.fail(name, f"is {kind(value)}; write a mapping of texts, numbers in quotes")
        return dict(value)

    def child(self, name: str) -> "Fields":
        """Return a Fields for the mapping that a field holds; it has no fields if the field is absent."""
        return Fields(self._place(name), self.raw(name))

    def children(self, name: str) -> Iterator["Fields"]:
        """Yield a Fields for each mapping in the list that a field holds. An absent field counts as an empty list."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list | tuple):
            self.fail(name, f"is {kind(value)}; write a list")
        for index, item in enumerate(value or ()):
            yield Fields(f"{self._place(name)}[{index}]", item)

    def required_children(self, name: str) -> Iterator["Fields"]:
        """Return an iterator over a Fields for each mapping in the list that a field holds.

        Raises FieldError if the field is absent or the list is empty.
        """
        if not self.has(name):
            self.fail(name, "is missing; add it")
        if self.raw(name) == []:
            self.fail(name, "is empty; write a list with at least one entry")
        return self.children(name)

    def parsed(self, name: str, parse: Callable[[str], T], cure: str) -> T | None:
        """Return the value of a field, converted by ``parse``, or None if the field is absent.

        If ``parse`` raises ValueError, raise FieldError. ``cure`` is the end of the message: how to correct the value.
        """
        value = self.raw(name)
        if value is None:
            return None
        try:
            return parse(str(value))
        except ValueError:
            self.fail(name, f"is {shown(value)}; {cure}")


def shown(value: object) -> str:
    """Return the text by which messages show a value: the ``repr`` of a scalar, else :func:`kind`."""
    return repr(value)[:80] if isinstance(value, str | int | float) else kind(value)


def kind(value: object) -> str:
    """Return words that describe a value of the wrong type in a message, such as "a list"; a number is shown itself."""
    names = {dict: "a mapping", list: "a list", tuple: "a list", bool: "true or false", str: "a text"}
    if value is None:
        return "empty"
    return names.get(type(value), repr(value) if isinstance(value, int | float) else "of another kind")


def _quoted(value: object) -> str:
    """Return the end of a message: a hint to write a number in quotes, or "" if ``value`` is no number.

    YAML reads an unquoted 12.8 as a number and not as a text.
    """
    return f' in quotes, "{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
