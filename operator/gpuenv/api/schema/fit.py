"""Fit a value to a schema of a CustomResourceDefinition, so that the API server stores it as it is.

The limits of a status stand in ``crds/`` and nowhere else: whoever writes a status builds it without limits and passes
it to :func:`fit`. Texts are shortened and lists are cut. Anything else that the schema refuses is left out, because a
missing value says "not known", and a changed one would say something wrong.

The API server counts the characters of a text, and not its bytes. It changes values that JSON has, but that the API
cannot store, so these are fitted too: lone surrogates, NaN, nulls, and numbers beyond 64 bits.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from gpuenv.api.tolerant import is_mapping

Schema = Mapping[str, Any]
"""A structural OpenAPI v3 schema, as in a CustomResourceDefinition."""

ANYTHING: Final[Schema] = {"x-kubernetes-preserve-unknown-fields": True}
"""The schema of a value of any form."""
MAX_DEPTH: Final = 32
"""How many lists and objects may lie in each other. What lies deeper is left out."""
KEYWORDS: Final = frozenset(
    {
        "type", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "items", "maxItems",
        "properties", "required", "additionalProperties", "maxProperties", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
    }
)  # fmt: skip
"""The keywords that :func:`fit` takes into account."""

_MORE: Final = "…"
_INT32, _INT64 = 2**31, 2**63
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


def fit(schema: Schema, value: object) -> Any:
    """Return the value as far as the schema allows it, or None if nothing can be made of it.

    A fitted value stays as it is when it is fitted again. An object or a list entry that lacks a required field counts
    as not allowed, and so does a field that the schema does not know.
    """
    return _fitted(schema, value, 0)


def _fitted(schema: Schema, value: object, depth: int) -> Any:
    fitter = _FITTERS.get(schema.get("type", ""), _anything)
    fitted = fitter(schema, value, depth)
    return None if "enum" in schema and fitted not in schema["enum"] else fitted


def _anything(schema: Schema, value: object, depth: int) -> Any:
    """Fit a value whose schema names no type: an integer or a text, or JSON of any form."""
    if isinstance(value, str):
        return _text(schema, value, depth)
    if isinstance(value, bool):
        return None if schema.get("x-kubernetes-int-or-string") else value
    if isinstance(value, int):
        return _integer(schema, value, depth)
    if schema.get("x-kubernetes-int-or-string"):
        return None
    if isinstance(value, float):
        return _number(schema, value, depth)
    if is_mapping(value):
        return _object(schema, value, depth)
    return _array(schema, value, depth)


# ---- single values ---------------------------------------------------------------------------------------


def _text(schema: Schema, value: object, _: int) -> str | None:
    if not isinstance(value, str):
        return None
    text, limit = _storable(value), schema.get("maxLength")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + _MORE if limit else ""
    if len(text) < schema.get("minLength", 0):
        return None
    if "pattern" in schema and not _regex(schema["pattern"]).search(text):
        return None
    return None if schema.get("format") == "date-time" and not _is_time(text) else text


def _storable(text: str) -> str:
    """Return the text with a question mark for each lone surrogate, which has no form in UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


@lru_cache(maxsize=1 << 8)
def _regex(pattern: str) -> re.Pattern[str]:
    """Return the pattern as Go reads it: ``$`` is the end of the text, and not also a line break before it."""
    end = r"\Z" if pattern.endswith("$") and not pattern.endswith(r"\$") else ""
    return re.compile(pattern[:-1] + end if end else pattern, re.ASCII)


@lru_cache(maxsize=1 << 10)
def _is_time(text: str) -> bool:
    if not _DATE_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _boolean(_: Schema, value: object, __: int) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(schema: Schema, value: object, _: int) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    bits = _INT32 if schema.get("format") == "int32" else _INT64
    return value if -bits <= value < bits and _is_in_range(schema, value) else None


def _number(schema: Schema, value: object, _: int) -> int | float | None:
    """Fit a number. The API server stores 12.0 as 12, so a whole number becomes an integer."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_INT64 <= value < _INT64:
        return None
    return (int(value) if value == int(value) else value) if _is_in_range(schema, value) else None


def _is_in_range(schema: Schema, value: float) -> bool:
    low, high = schema.get("minimum"), schema.get("maximum")
    return (low is None or value >= low) and (high is None or value <= high)


# ---- lists and objects -----------------------------------------------------------------------------------


def _array(schema: Schema, value: object, depth: int) -> list[Any] | None:
    if not isinstance(value, list | tuple) or depth >= MAX_DEPTH:
        return None
    items: Schema = schema.get("items", ANYTHING)
    fitted = (one for item in value if (one := _fitted(items, item, depth + 1)) is not None)
    # Items beyond the limit are not looked at: a list of all nodes of a cluster is long.
    return list(islice(_unique(schema, fitted), schema.get("maxItems")))


def _unique(schema: Schema, items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of a list, and of those that a set or map holds only once, the first."""
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    known: list[object] = []
    for item in items:
        if kind in ("map", "set"):
            key = [item.get(name) for name in keys] if kind == "map" else item
            if key in known:
                continue
            known.append(key)
        yield item


def _object(schema: Schema, value: object, depth: int) -> dict[str, Any] | None:
    if not is_mapping(value) or depth >= MAX_DEPTH:
        return None
    properties: Schema = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    others = _schema_of_others(schema)
    fitted: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            continue
        inner = properties.get(name, others)
        one = None if inner is None else _fitted(inner, item, depth + 1)
        if one is not None:
            fitted[_storable(name)] = one
    if not all(name in fitted for name in required):
        return None
    limit = schema.get("maxProperties")
    if limit is not None and len(fitted) > limit:
        fitted = dict(sorted(fitted.items(), key=lambda entry: entry[0] not in required)[:limit])
    return fitted


def _schema_of_others(schema: Schema) -> Schema | None:
    """Return the schema of the fields that an object's schema does not name, or None if they are left out."""
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping):
        return others
    return ANYTHING if others or schema.get("x-kubernetes-preserve-unknown-fields") else None


_FITTERS: Final[Mapping[str, Callable[[Schema, object, int], Any]]] = {
    "string": _text,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "array": _array,
    "object": _object,
}
