"""Picking values out of raw API objects without ever raising: what is of another kind is absent."""

from collections.abc import Mapping
from typing import Any

EMPTY: Mapping[str, Any] = {}


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """The mapping at ``path`` below ``value``; empty when it is not there."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else EMPTY


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """A text; empty for anything else."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """A mapping's entries from text to text."""
    return {
        key: item for key, item in mapping(value).items() if isinstance(key, str) and isinstance(item, str)
    }


def integer(value: object, default: int = 0) -> int:
    """A whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def count(value: object) -> int:
    """An extended resource's quantity as a number of devices (``"8"``); 0 for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return max(0, integer(value))
