"""Reads YAML within the limits of :mod:`gpuenv.files`. JSON is YAML, too, and is read faster.

PyYAML's own loaders expand aliases and merge keys without a limit, compute with numbers of any length, and take texts for
dates that do not exist. This module takes only PyYAML's parser, whose events it turns into values one by one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from gpuenv.api.foreign_text import one_line
from gpuenv.files import (
    MAX_DEPTH,
    MAX_NUMBER,
    MAX_VALUES,
    TOO_DEEP,
    TOO_MANY,
    FileError,
    endless_number,
    json_data,
    long_number,
)

MAX_ALIASED: Final = 100_000
"""How many values the aliases of a file may stand for, where aliases are allowed."""

_TAG: Final = "tag:yaml.org,2002:"
_TEXT_TAGS: Final = frozenset({"str", "value"})
_CONTAINER_TAGS: Final = frozenset({None, "!", f"{_TAG}map", f"{_TAG}seq"})
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Resolver(yaml.resolver.Resolver):
    """Finds the type of a value that is not quoted, as kubectl does. Dates are texts."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [(tag, pattern) for tag, pattern in known if tag != f"{_TAG}timestamp"]
        for first, known in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
    }


@dataclass(slots=True)
class _Container:
    """A list or mapping whose end was not read yet. ``size`` counts its values."""

    value: list[Any] | dict[Any, Any]
    anchor: str | None
    keys: list[Any] = field(default_factory=list)
    """The key whose value comes next, if there is one."""
    merged: list[Any] = field(default_factory=list)
    size: int = 1


def parse(text: str, *, lenient: bool = False) -> Any:
    """Return the value of the only document of a text; None if it is empty.

    Raises FileError if there are several documents, if the text is no YAML, or if it exceeds a limit. ``lenient`` is for
    files that other tools write: aliases and merge keys are expanded up to a limit, and of equal keys the last one counts.
    """
    found = parse_all(text, lenient=lenient)
    if len(found) > 1:
        raise FileError(f"holds {len(found)} documents; give one, without lines of ---")
    return found[0] if found else None


def parse_all(text: str, *, lenient: bool = False) -> list[Any]:
    """Return the values of all documents of a text. Raises FileError as :func:`parse` does."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [json_data.parse(text)]
        except json_data.NoJsonError:
            pass  # it is YAML in its flow style, or several documents
    builder = _Builder(lenient=lenient)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise FileError(one_line(f"is no YAML ({line}{error.problem}); correct it")) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise FileError(f"is no YAML ({one_line(str(error), 300)}); correct it") from None
    return builder.documents


class _Builder:
    """Turns the events of a YAML parser into values."""

    def __init__(self, *, lenient: bool) -> None:
        self.documents: list[Any] = []
        self._lenient = lenient
        self._open: list[_Container] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0
        self._aliased = 0
        self._line = 0
        self._resolver = _Resolver()
        self._constructor = yaml.constructor.SafeConstructor()

    def take(self, event: yaml.Event) -> None:
        """Add what an event says to the values."""
        self._line = event.start_mark.line + 1 if event.start_mark is not None else 0
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._begin({}, event)
            case yaml.SequenceStartEvent():
                self._begin([], event)
            case yaml.CollectionEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(str(event.anchor))
            case yaml.DocumentStartEvent():
                self._anchors = {}

    def _fail(self, problem: str) -> FileError:
        return FileError(f"line {self._line}: {problem}")

    def _unknown_tag(self, tag: str | None) -> FileError:
        return self._fail(f"has the tag {one_line(str(tag).replace(_TAG, '!!'), 60)}; leave it out")

    def _counted(self, size: int) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            raise FileError(TOO_MANY)

    def _begin(self, value: list[Any] | dict[Any, Any], event: yaml.CollectionStartEvent) -> None:
        if event.tag not in _CONTAINER_TAGS:
            raise self._unknown_tag(event.tag)
        if self._awaits_key():
            raise self._fail("has a list or a mapping as a key; write a text")
        if len(self._open) >= MAX_DEPTH:
            raise FileError(TOO_DEEP)
        self._counted(1)
        self._open.append(_Container(value, event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        for source in done.merged:
            self._merge(done, source)
        self._put(done.value, done.size, done.anchor)

    def _alias(self, name: str) -> None:
        if not self._lenient:
            raise self._fail(f"has the alias *{one_line(name, 60)}; write its value out")
        if name not in self._anchors:
            raise self._fail(f"has the alias *{one_line(name, 60)}, but no value with this name before it")
        value, size = self._anchors[name]
        self._expanded(size)
        self._put(value, size, None)

    def _expanded(self, size: int) -> None:
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise FileError(f"has aliases for more than {MAX_ALIASED:,} values; write the values out")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._counted(1)
        tag = self._tag(event)
        if tag == "merge" and self._awaits_key():
            if not self._lenient:
                raise self._fail("has the merge key <<; write the fields out")
            self._open[-1].keys.append(_MERGE)
            return
        self._put(self._value(tag, event.value), 1, event.anchor)

    def _tag(self, event: yaml.ScalarEvent) -> str:
        """Return the type of a value, such as ``int``: the one it is written with, else the one it looks like."""
        if event.tag == "!" or (event.tag is None and not event.implicit[0]):
            return "str"
        found: str = self._resolver.resolve(  # type: ignore[no-untyped-call]  # the stubs of PyYAML lack its types
            yaml.ScalarNode, event.value, (True, False)
        )
        likely = found.removeprefix(_TAG)
        if event.tag is None:
            return likely
        named = event.tag.removeprefix(_TAG)
        if named not in ("str", likely):
            raise self._unknown_tag(event.tag)
        return named

    def _value(self, tag: str, text: str) -> Any:
        node = yaml.ScalarNode(f"{_TAG}{tag}", text)
        if tag == "null":
            return None
        if tag == "bool":
            return self._constructor.construct_yaml_bool(node)
        if tag not in ("int", "float"):
            return text
        if len(text) > MAX_NUMBER:
            raise self._fail(long_number(text))
        try:
            construct = (
                self._constructor.construct_yaml_int
                if tag == "int"
                else self._constructor.construct_yaml_float
            )
            number = construct(node)
        except ValueError:
            raise self._fail(f"{text!r} is no number; write it in quotes if it is a text") from None
        if not math.isfinite(number):
            raise self._fail(endless_number(text))
        return number

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and not self._open[-1].keys

    def _put(self, value: Any, size: int, anchor: str | None) -> None:
        """Put a finished value where it belongs: at the end of a list, as key or value of a mapping, as a document."""
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self.documents.append(value)
            return
        into = self._open[-1]
        into.size += size
        if isinstance(into.value, list):
            into.value.append(value)
        elif not into.keys:
            self._key(into, value)
        elif (key := into.keys.pop()) is _MERGE:
            into.merged.append(value)
        else:
            into.value[key] = value

    def _key(self, into: _Container, key: Any) -> None:
        if isinstance(key, dict | list):
            raise self._fail("has a list or a mapping as a key; write a text")
        if key in into.value and not self._lenient:
            raise self._fail(f"{one_line(str(key), 60)}: is there twice; remove one")
        into.keys.append(key)

    def _merge(self, into: _Container, source: Any) -> None:
        """Add the fields of one mapping, or of several, that the mapping itself does not have."""
        assert isinstance(into.value, dict)
        for found in source if isinstance(source, list) else [source]:
            if not isinstance(found, Mapping):
                raise self._fail("merges something that is no mapping")
            self._expanded(len(found))
            for key, value in found.items():
                into.value.setdefault(key, value)


_MERGE: Final = object()
"""Stands for the key << of a mapping, until its value is known."""
