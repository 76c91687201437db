"""Versions as tuples of integers. As floats or texts they would compare wrongly: 580.159 is newer than 580.65."""

import re
from functools import lru_cache

Version = tuple[int, ...]

_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,5}")


_LONGEST = 128
"""Number of characters at the beginning of a text that may contain its version: six numbers of nine digits, and more."""


def parse_version(text: str | None) -> Version | None:
    """Return the version at the beginning of a text, or None if there is none.

    ``2.9.0a0+145a3a7bda.nv25.10`` is (2, 9, 0), and ``R580`` is (580,).
    """
    return _parsed(text[:_LONGEST]) if text else None  # what is cached is short, whatever an image wrote


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Version | None:
    found = _NUMBERS.match(text.strip().lstrip("vVrR"))
    return tuple(int(part) for part in found.group().split(".")) if found else None


def show(version: Version | None) -> str:
    """Return a version as dotted text, or "unknown" for None."""
    return "unknown" if version is None else ".".join(str(part) for part in version)


def at_least(version: Version, floor: Version) -> bool:
    """Return whether ``version`` is at least ``floor``. Only parts that both versions have are compared.

    So a driver whose version is known only as 580 counts as at least 580.65.06.
    """
    length = min(len(version), len(floor))
    return version[:length] >= floor[:length]


def api_number(cuda: Version) -> int:
    """Return the number by which the driver API identifies a CUDA version: 12080 for CUDA 12.8.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__VERSION.html
    """
    return cuda[0] * 1000 + (cuda[1] if len(cuda) > 1 else 0) * 10


def api_version(number: int) -> Version:
    """Return the CUDA version that a number of the driver API identifies: (12, 8) for 12080."""
    return number // 1000, number % 1000 // 10
