"""Versions as integer tuples: never floats (580.159 is newer than 580.65), never text."""

import re
from functools import lru_cache

Version = tuple[int, ...]

_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,5}")


@lru_cache(maxsize=4096)
def parse_version(text: str | None) -> Version | None:
    """The leading dotted number of ``text`` (``2.9.0a0+145a3a7bda.nv25.10`` is 2.9.0, ``R580`` is 580); None without one."""
    if not text:
        return None
    found = _NUMBERS.match(text.strip().lstrip("vVrR"))
    return tuple(int(part) for part in found.group().split(".")) if found else None


def show(version: Version | None) -> str:
    """Dotted text of a CUDA, torch or capability version."""
    return "unknown" if version is None else ".".join(str(part) for part in version)


def at_least(version: Version, floor: Version) -> bool:
    """Whether ``version`` reaches ``floor``, as far as both name parts: a driver known only as 580 reaches 580.65.06."""
    length = min(len(version), len(floor))
    return version[:length] >= floor[:length]


def api_number(cuda: Version) -> int:
    """CUDA 12.8 as the driver API counts it: 12080 (https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__VERSION.html)."""
    return cuda[0] * 1000 + (cuda[1] if len(cuda) > 1 else 0) * 10


def api_version(number: int) -> Version:
    """The inverse of :func:`api_number`: 12080 is CUDA 12.8."""
    return number // 1000, number % 1000 // 10
