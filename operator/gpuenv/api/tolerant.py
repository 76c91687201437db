"""Readers for raw dictionaries that never raise: a value of another type counts as absent, and absent is not zero.

Objects of the API server and reports of probes come from programs that nobody vouches for. Numbers and truth values
that are absent read as None, so that the caller has to say what that means; texts and lists that are absent read as
empty.
"""

from collections.abc import Mapping
from typing import Any, Final

EMPTY: Final[Mapping[str, Any]] = {}
MAX_INTEGER: Final = 2**53
"""Larger whole numbers do not survive JSON, whose numbers are doubles (RFC 8259, section 6)."""
MAX_NUMBER: Final = 1e18


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at ``path`` below ``value``, or an empty one."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else EMPTY


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings in a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """Return a text, or "" for anything else."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """Return the entries of a mapping that map a text to a text."""
    return {
        key: item for key, item in mapping(value).items() if isinstance(key, str) and isinstance(item, str)
    }


def integer(value: object) -> int | None:
    """Return a whole number, or None for anything else; True and False are no numbers."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < MAX_INTEGER else None


def number(value: object) -> float | None:
    """Return a finite number, or None for anything else; True and False are no numbers."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < MAX_NUMBER else None  # the comparison is false for NaN


def flag(value: object) -> bool | None:
    """Return True or False, or None for anything else."""
    return value if isinstance(value, bool) else None


def count(value: object) -> int:
    """Return an extended resource's quantity (``"8"``) as a number of devices: a node that does not list it has none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return max(0, integer(value) or 0)
