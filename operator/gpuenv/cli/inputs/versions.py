"""Checks that versions and compute capabilities in options and files are valid."""

from typing import Final

from gpuenv.assess.case import OLDEST_BRANCH
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge.versions import parse_version

EXAMPLE_DRIVER: Final = "580.65.06"
MAX_CHARACTERS: Final = 100
_BEYOND_BRANCHES: Final = 1000
"""No number in a driver version reaches this value: each has at most three digits."""


def is_driver(text: str) -> bool:
    """Return whether ``text`` can be the version of a driver with CUDA: its first number is 100 or more."""
    version = parse_version(text)
    return version is not None and version[0] >= OLDEST_BRANCH and max(version) < _BEYOND_BRANCHES


def is_cuda(text: str) -> bool:
    """Return whether ``text`` is a version that is too low for a driver, and so probably a CUDA version.

    ``nvidia-smi`` prints both, and people mix them up.
    """
    version = parse_version(text)
    return version is not None and version[0] < OLDEST_BRANCH


def require_version(text: str | None, option: str, *, parts: int = 1, example: str = "12.8") -> str | None:
    """Return ``text`` if it is None or begins with a version of at least ``parts`` numbers, else raise BadInput.

    The message names ``option``, and shows ``example`` as a valid version.
    """
    if text is None:
        return None
    version = parse_version(text)
    if version is None or len(version) < parts or len(text) > MAX_CHARACTERS:
        raise BadInput(f"{option}: {text[:60]!r} is no version such as {example}")
    return text


def require_driver(text: str) -> str:
    """Return ``text`` if it is a driver version, else raise BadInput."""
    require_version(text, "--driver", example=EXAMPLE_DRIVER)
    if not is_driver(text):
        raise BadInput(
            f"--driver: {text} is no driver version such as {EXAMPLE_DRIVER}; "
            "nvidia-smi prints it beside the CUDA version"
        )
    return text


def compute_capability(text: str) -> tuple[int, int] | None:
    """Return the compute capability in ``text`` (``8.0``, or just ``8``), or None if there is none."""
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and len(major) <= 2 and int(major) > 0):
        return None
    if not minor:
        return int(major), 0
    return (int(major), int(minor)) if minor.isascii() and minor.isdigit() and len(minor) == 1 else None


def require_compute_capability(text: str | None) -> tuple[int, int] | None:
    """Return the compute capability in the value of an option, or None if the option was not given.

    Raises BadInput unless the value has both major and minor version.
    """
    if text is None:
        return None
    found = compute_capability(text) if text.partition(".")[2] else None
    if found is None:
        raise BadInput(f"--compute-capability: {text[:60]!r} is no compute capability such as 8.0")
    return found
