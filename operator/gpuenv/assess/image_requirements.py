"""Evaluates what an image requires of driver and GPU (``NVIDIA_REQUIRE_CUDA``), as ``nvidia-container-cli`` does.

A requirement is a list of alternatives, separated by spaces. Each is a list of conditions, separated by commas, such as
``brand=tesla,driver>=535,driver<536``. If a value is not known, neither is whether its condition holds.
https://github.com/NVIDIA/libnvidia-container/blob/main/src/cli/dsl.c
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gpuenv.knowledge.versions import Version

MAX_CONDITIONS: Final = 512
"""How many conditions of a requirement are evaluated. The longest of NVIDIA's images has about 250."""

_CONDITION: Final = re.compile(r"([^<>=!]{1,40})([<>=!]{1,2})(.{1,60})", re.ASCII)
_VERSION: Final = re.compile(r"\d{1,9}(?:\.\d{0,9}){0,8}", re.ASCII)
_ORDERED: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    "=": lambda one, two: one == two,
    "!": lambda one, two: one != two,
    "!=": lambda one, two: one != two,
    "<": lambda one, two: one < two,
    "<=": lambda one, two: one <= two,
    ">": lambda one, two: one > two,
    ">=": lambda one, two: one >= two,
}


class InvalidRequirementError(ValueError):
    """A requirement has a condition that ``nvidia-container-cli`` does not understand. It then starts no container."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a driver and one of its GPUs. None means not known.

    ``is_cuda_exact`` False means that the driver may have a newer CUDA than ``cuda``. ``brands`` are those that NVML may
    report for the GPU, in lower case; None means any.
    """

    cuda: Version | None
    is_cuda_exact: bool
    driver: Version | None
    arch: Version | None
    brands: frozenset[str] | None


def is_met(requirement: str, known: Known) -> bool | None:
    """Return whether a requirement is met, or None if that depends on what is not known.

    Raises InvalidRequirementError if it has a condition that is invalid.
    """
    if known.brands is None:
        return _is_met(requirement, known, None)
    found = {_is_met(requirement, known, brand) for brand in known.brands}
    return found.pop() if len(found) == 1 else None


def _is_met(requirement: str, known: Known, brand: str | None) -> bool | None:
    left = MAX_CONDITIONS
    result: bool | None = True  # a requirement without conditions is met
    for alternative in requirement.split(" "):
        conditions = [one for one in alternative.split(",") if one]
        if not conditions:
            continue
        left -= len(conditions)
        if left < 0:
            return None
        met = _all(_holds(one, known, brand) for one in conditions)
        if met:
            return True
        result = None if met is None or (result is None) else False
    return result


def _all(conditions: Iterable[bool | None]) -> bool | None:
    result: bool | None = True
    for holds in conditions:
        if holds is False:
            return False
        result = None if holds is None else result
    return result


def _holds(condition: str, known: Known, brand: str | None) -> bool | None:
    match = _CONDITION.fullmatch(condition)
    if match is None or match[2] not in _ORDERED:
        raise InvalidRequirementError(condition)
    name, operator, value = match[1].lower(), match[2], match[3]
    if name == "brand":
        if operator not in ("=", "!", "!="):
            raise InvalidRequirementError(condition)
        return None if brand is None else (brand == value.lower()) == (operator == "=")
    if name not in ("cuda", "driver", "arch") or _VERSION.fullmatch(value) is None:
        raise InvalidRequirementError(condition)
    wanted = tuple(int(part) for part in value.split(".") if part)
    if name == "cuda":
        found = _compared(known.cuda, operator, wanted)
        return found if known.is_cuda_exact or (found and operator in (">", ">=")) else None
    if name == "driver":
        if known.driver is not None and len(known.driver) == 1 < len(wanted) and known.driver[0] == wanted[0]:
            return None  # only the branch is known
        return _compared(known.driver, operator, wanted)
    return _compared(known.arch, operator, wanted)


def _compared(version: Version | None, operator: str, wanted: Version) -> bool | None:
    if version is None:
        return None
    length = max(len(version), len(wanted))  # 12.8 and 12.8.0 are equal
    padded = [(*one, *(0,) * (length - len(one))) for one in (version, wanted)]
    return _ORDERED[operator](padded[0], padded[1])
