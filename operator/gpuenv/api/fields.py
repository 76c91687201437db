"""Reading a raw object field by field; whatever is of the wrong kind is named with its path."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")


class FieldError(ValueError):
    """A field that makes no sense; one line that names the field and the cure."""


class Fields:
    """The mapping at ``path``. Absent and null are the same; unknown fields are the API server's business."""

    def __init__(self, path: str, value: object) -> None:
        self.path: Final = path
        if value is not None and not isinstance(value, Mapping):
            raise FieldError(f"{path}: is {kind(value)}; write a mapping of fields")
        self._values: Final[Mapping[str, Any]] = value or {}

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raises FieldError for the field ``name``."""
        raise FieldError(f"{self.path}.{name}: {problem}")

    def all(self) -> dict[str, Any]:
        """Everything, as it is."""
        return dict(self._values)

    def raw(self, name: str) -> Any:
        """The value as it is; None when absent."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """A text; None when absent or empty."""
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"is {kind(value)}; write a text, in quotes")
        return value or None

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(name, f"is {kind(value)}; write true or false")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(name, f"is {shown(value)}; write a whole number from {low} to {high}")
        return value

    def number(self, name: str) -> float | None:
        """A positive number; None when absent."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            self.fail(name, f"is {shown(value)}; write a positive number")
        return float(value)

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of ``choices``."""
        value = self.raw(name)
        if value is None:
            return default
        if value not in choices:
            self.fail(name, f"is {shown(value)}; choose one of {', '.join(choices)}")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when absent."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.fail(name, f"is {kind(value)}; write a list of texts")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        """A mapping from text to text; empty when absent."""
        value = self.raw(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(
            isinstance(t, str) for pair in value.items() for t in pair
        ):
            self.fail(name, f"is {kind(value)}; write a mapping of texts, numbers in quotes")
        return dict(value)

    def child(self, name: str) -> "Fields":
        """The mapping in a field; empty when absent."""
        return Fields(f"{self.path}.{name}", self.raw(name))

    def children(self, name: str) -> Iterator["Fields"]:
        """The mappings in a list; none when absent."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list | tuple):
            self.fail(name, f"is {kind(value)}; write a list")
        for index, item in enumerate(value or ()):
            yield Fields(f"{self.path}.{name}[{index}]", item)

    def parsed(self, name: str, parse: Callable[[str], T], cure: str) -> T | None:
        """What ``parse`` makes of a text or number; its ValueError becomes a FieldError with ``cure``."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            return parse(str(value))
        except ValueError:
            self.fail(name, f"is {shown(value)}; {cure}")


def shown(value: object) -> str:
    """A value as messages show it: scalars themselves, anything else by its kind."""
    return repr(value)[:80] if isinstance(value, str | int | float) else kind(value)


def kind(value: object) -> str:
    """What sort of value it is, in words."""
    names = {dict: "a mapping", list: "a list", tuple: "a list", bool: "true or false", str: "a text"}
    if value is None:
        return "empty"
    return names.get(
        type(value), f"the number {value}" if isinstance(value, int | float) else "of another kind"
    )
