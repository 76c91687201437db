"""Compares the name of an image with the administrator's patterns of images.

An image can be written in several ways (``python:3.13``, ``docker.io/library/python:3.13``), and container runtimes
complete it: https://github.com/distribution/reference/blob/main/normalize.go. Whether it is allowed depends on the image
alone, and not on the way in which it is written.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gpuenv.api.limits.patterns import translated

_HUB: Final = "docker.io"
_ALIASES: Final = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})
_OFFICIAL: Final = "library/"
_HOST: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]+)?")
_COMPONENT: Final = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_REST: Final = re.compile(
    rf"{_COMPONENT}(/{_COMPONENT})*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@[a-z0-9]+:[a-f0-9]+)?"
)
"""Everything after the registry. No runtime pulls an image whose name has another form, such as one with ``..``."""


def is_allowed(image: str, patterns: Iterable[str]) -> bool:
    """Return whether an image matches at least one of the patterns, in one of the ways in which it can be written.

    In front of the first ``/`` of a pattern, ``*`` does not stand for ``/``: neither ``*.example.com/*`` nor
    ``registry.example.com*`` allows another registry. A pattern that begins with ``*`` and has no ``/`` is about the
    whole name, such as ``*@sha256:*``.
    """
    found = list(patterns)
    if "*" in found:
        return True
    return any(_expression(pattern).fullmatch(form) for form in _forms(image) for pattern in found)


def _forms(image: str) -> tuple[str, ...]:
    """Return all ways in which the image can be written; none if no runtime would pull it."""
    first, _, rest = image.partition("/")
    if not _names_registry(image):
        first, rest = _HUB, image
    if _HOST.fullmatch(first) is None or _REST.fullmatch(rest) is None:
        return ()
    if first not in _ALIASES:
        return (image,)
    name = rest.removeprefix(_OFFICIAL)
    short, official = (rest, ()) if "/" in name else (name, (f"{_OFFICIAL}{name}",))
    # Without docker.io in front, docker.io/quay.io/a would be another image.
    written = (short, *official) if not _names_registry(short) else official
    return (*written, *(f"{_HUB}/{form}" for form in (short, *official)))


def _names_registry(image: str) -> bool:
    """Return whether a name begins with a registry, and not with a part of a path at docker.io."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    first, slash, rest = pattern.partition("/")
    whole = pattern.startswith("*") and not slash
    return re.compile(translated(first, ".*" if whole else "[^/]*") + slash + translated(rest, ".*"))
