"""Reads JSON within the limits of :mod:`gpuenv.files`."""

import json
import math
from collections import Counter
from typing import Any

from gpuenv.api.foreign_text import one_line
from gpuenv.files import (
    MAX_DEPTH,
    MAX_NUMBER,
    MAX_VALUES,
    TOO_DEEP,
    TOO_MANY,
    FileError,
    endless_number,
    long_number,
)


class NoJsonError(FileError):
    """A text is not written in JSON at all. It may be YAML."""


def parse(text: str) -> Any:
    """Return the value that a JSON text describes. Raises FileError if it is no JSON, or exceeds a limit."""
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise NoJsonError(f"is no JSON (line {error.lineno}: {error.msg})") from None
    except RecursionError:
        raise FileError(TOO_DEEP) from None
    _require_shape(value)
    return value


def _require_shape(value: Any) -> None:
    """Raise FileError if a value is too deep, or has too many parts."""
    level, depth, count = [value], 0, 0
    while level:
        count += len(level)
        if count > MAX_VALUES:
            raise FileError(TOO_MANY)
        containers = [one for one in level if isinstance(one, dict | list)]
        depth += 1
        if containers and depth > MAX_DEPTH:
            raise FileError(TOO_DEEP)
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise FileError(f"{one_line(twice, 60)}: is there twice; remove one")
    return made


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise FileError(long_number(text))
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise FileError(long_number(text))
    number = float(text)
    if not math.isfinite(number):
        raise FileError(endless_number(text))
    return number


def _constant(text: str) -> float:
    raise FileError(endless_number(text))
