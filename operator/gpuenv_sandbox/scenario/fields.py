"""Reading documents that people write by hand: every mistake becomes one line with file, field and cure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

REQUIRED: Final = object()
"""As a default: the field must be there."""


class ScenarioError(ValueError):
    """A scenario file that cannot be used; one line that names the file, the field and the cure."""


def documents(path: Path) -> list[Any]:
    """The YAML documents in ``path``, at least one. Raises ScenarioError."""
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError(f"{path}: cannot be read ({reason}); give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: is no text in UTF-8; give the path of a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ScenarioError(f"{where}: is no valid YAML ({problem}); correct that line") from None
    if not found:
        raise ScenarioError(f"{path}: is empty; see docs/scenario.md for what belongs into it")
    return found


class Fields:
    """One mapping of a document, read field by field; :meth:`close` refuses what nobody asked for."""

    def __init__(self, source: str, where: str, value: Any) -> None:
        self.source: Final = source
        self.where: Final = where
        if not isinstance(value, Mapping):
            self.fail("", f"is {_kind(value)}; write it as a mapping of fields")
        self._values: Final[Mapping[Any, Any]] = value
        self._known: Final[list[str]] = []

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raises ScenarioError for the field ``name`` (of this mapping itself when empty)."""
        place = ".".join(part for part in (self.where, name) if part)
        raise ScenarioError(f"{self.source}: {place}: {problem}" if place else f"{self.source}: {problem}")

    def has(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str, default: Any = REQUIRED) -> Any:
        self._known.append(name)
        if name in self._values:
            return self._values[name]
        if default is REQUIRED:
            self.fail(name, "is missing; add it")
        return default

    def text(self, name: str, default: Any = REQUIRED) -> str:
        value = self.raw(name, default)
        if not isinstance(value, str) or (not value and value is not default):
            self.fail(name, f"is {_kind(value)}; write a text{_quotes(value)}")
        return value

    def optional_text(self, name: str, default: str | None) -> str | None:
        """A text, or null."""
        value = self.raw(name, default)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"is {_kind(value)}; write a text or null{_quotes(value)}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false when absent."""
        value = self.raw(name, False)
        if not isinstance(value, bool):
            self.fail(name, f"is {_shown(value)}; write true or false")
        return value

    def integer(self, name: str, default: Any = REQUIRED, *, low: int, high: int) -> Any:
        """A whole number, or ``default`` whatever that is."""
        value = self.raw(name, default)
        if value is default:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(name, f"is {_shown(value)}; write a whole number from {low} to {high}")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        value = self.raw(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            self.fail(name, f"is {_shown(value)}; write a number from {low:g} to {high:g}")
        return float(value)

    def choice(self, name: str, choices: Sequence[str], default: Any = REQUIRED) -> Any:
        value = self.raw(name, default)
        if value is not default and value not in choices:
            close = difflib.get_close_matches(str(value), choices, 1)
            cure = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(choices)}"
            self.fail(name, f"{_shown(value)} is not known; {cure}")
        return value

    def texts(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = self.raw(name, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            self.fail(name, f"is {_kind(value)}; write a list of texts")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """A mapping with text keys; empty when absent."""
        value = self.raw(name, None)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            self.fail(name, f"is {_kind(value)}; write it as a mapping")
        return dict(value)

    def child(self, name: str) -> "Fields":
        return Fields(self.source, ".".join(part for part in (self.where, name) if part), self.raw(name))

    def children(self, name: str) -> Iterator["Fields"]:
        """The mappings in a list, which must not be empty."""
        value = self.raw(name)
        if not isinstance(value, list) or not value:
            self.fail(name, f"is {_kind(value)}; write a list with at least one entry")
        for index, item in enumerate(value):
            yield Fields(self.source, f"{self.where}.{name}[{index}]".lstrip("."), item)

    def close(self) -> None:
        """Refuses fields that were never asked for, so that a typo is no silent default."""
        for name in self._values:
            if name not in self._known:
                close = difflib.get_close_matches(str(name), self._known, 1)
                cure = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(self._known))}"
                self.fail("", f"has no field {str(name)!r}; {cure}")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float)) else _kind(value)


def _quotes(value: Any) -> str:
    return f' in quotes, "{value}"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    kinds = {dict: "a mapping", list: "a list", bool: "true or false", str: "a text"}
    if isinstance(value, str) and not value:
        return "empty"
    return kinds.get(type(value), f"{value!r}")
