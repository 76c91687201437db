"""Functions that read values from raw dictionaries and never raise.

A value of the wrong type counts as absent. Objects from the API server and probe reports were written by programs that
cannot be trusted. For an absent number or boolean the functions return None, so that the caller has to decide what that
means. For an absent text, list or mapping they return an empty one.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

EMPTY: Final[Mapping[str, Any]] = {}
MAX_INTEGER: Final = 2**53
"""Whole numbers with at least this absolute value count as absent.

JSON does not keep them exactly, because its numbers are doubles (RFC 8259, section 6).
"""
MAX_NUMBER: Final = 1e18
"""Numbers with at least this absolute value, infinity and NaN count as absent."""


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether the value is a mapping. Most are dictionaries, for which the general test takes ten times as long."""
    return type(value) is dict or isinstance(value, Mapping)


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping reached from ``value`` by the keys of ``path``, or an empty one if no mapping is there."""
    for name in path:
        value = value.get(name) if is_mapping(value) else None
    return value if is_mapping(value) else EMPTY


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the items of a list that are mappings, or [] if ``value`` is no list."""
    return [item for item in value if is_mapping(item)] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """Return ``value`` if it is a text, else ""."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """Return the entries of a mapping whose key and value are texts, or {} if ``value`` is no mapping."""
    return {
        key: item for key, item in mapping(value).items() if isinstance(key, str) and isinstance(item, str)
    }


def integer(value: object) -> int | None:
    """Return ``value`` if it is an integer between -2**53 and 2**53, else None. Booleans do not count."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < MAX_INTEGER else None


def number(value: object) -> float | None:
    """Return ``value`` as a float if it is a number between -1e18 and 1e18, else None. Booleans do not count."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < MAX_NUMBER else None  # the comparison is false for NaN


def flag(value: object) -> bool | None:
    """Return ``value`` if it is a boolean, else None."""
    return value if isinstance(value, bool) else None


def count(value: object) -> int:
    """Return the number of devices in the quantity of an extended resource, such as ``"8"``.

    Anything else counts as 0: a node that does not list the resource has no such device.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return max(0, integer(value) or 0)
