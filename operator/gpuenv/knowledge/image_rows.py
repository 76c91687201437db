"""The rows of ``images.yaml``: names of container images, patterns of their tags, and what releases contain."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

PLACE_HOLDERS: Final[Mapping[str, str]] = {
    "torch": r"\d{1,2}\.\d{1,3}(?:\.\d{1,3})?",
    "torch-": r"\d{1,2}-\d{1,3}",
    "torchd": r"\d{3,4}",
    "cuda": r"\d{1,2}\.\d{1,2}(?:\.\d{1,2})?",
    "cu": r"\d{3,4}",
    "cudnn": r"\d{1,2}(?:\.\d{1,3}){0,3}",
    "python": r"\d\.\d{1,2}(?:\.\d{1,2})?",
    "py": r"\d{2,3}",
    "rocm": r"\d{1,2}\.\d{1,2}(?:\.\d{1,2})?",
    "release": r"\d{1,3}(?:\.\d{1,4}){0,4}(?:\.?(?:post|rc|a|b|dev)\d{1,4})?",
    "any": r"[\w.-]{0,128}",
}
"""Maps each place-holder of a pattern to a regular expression without alternatives of unlimited length."""

MAX_GAPS: Final = 3
"""How many ``*`` and ``{any}`` a pattern may have. The time of a match grows with the length of the text to their power."""

_PLACE_HOLDER: Final = re.compile(r"\{([^{}]{1,10})\}")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Images with one of ``names``, and the patterns of their tags, as ``images.yaml`` describes them.

    ``series`` names the rows of contents of these images, or is "". ``local`` is the local version label of the PyTorch
    inside, such as ``cpu``, or "". ``note`` is a sentence about every image of this row, or "". ``platforms`` are those
    for which the images exist, or () if that is not known. ``released`` are tags that are known to exist, the oldest
    first.
    """

    names: tuple[str, ...]
    tags: tuple[str, ...]
    series: str
    local: str
    note: str
    source: str
    platforms: tuple[str, ...] = ()
    released: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageContents:
    """What one release of a series of images contains. A version that is not known is None.

    ``compat`` is the version of the driver whose libraries the image brings as cuda-compat.
    """

    torch: str | None
    cuda: str | None
    cudnn: str | None
    python: str | None
    compat: str | None
    source: str


@dataclass(frozen=True)
class ImageNames:
    """The table of images."""

    rows: tuple[ImageRow, ...] = ()
    contents: Mapping[tuple[str, str], ImageContents] = field(default_factory=dict)
    """Maps a series and a release to what the release contains."""

    def content(self, series: str, release: str | None) -> ImageContents | None:
        """Return what a release contains, or None if it is not in the table.

        A row for ``0.12`` is also about ``0.12.1``, unless there is one for ``0.12.1``.
        """
        parts = (release or "").split(".")
        for count in range(len(parts), 0, -1):
            found = self.contents.get((series, ".".join(parts[:count])))
            if found is not None:
                return found
        return None


NO_IMAGES: Final = ImageNames()
"""The empty table."""


@lru_cache(maxsize=1024)
def pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of ``images.yaml`` as a regular expression. ``*`` stands for characters other than a slash."""
    parts = []
    for index, part in enumerate(_PLACE_HOLDER.split(text)):
        if index % 2 == 0:
            parts.append(re.escape(part).replace(r"\*", r"[^/]{0,128}"))
            continue
        name = f"?P<{part.replace('-', '_dashed')}>" if part != "any" else "?:"
        parts.append(f"({name}{PLACE_HOLDERS[part]})")
    return re.compile("".join(parts), re.ASCII)


def image_row(row: Mapping[str, Any]) -> ImageRow:
    """Return the typed form of a row of ``images``.

    Raises KeyError, TypeError or ValueError if it is incomplete or has an invalid pattern.
    """
    return ImageRow(
        names=_patterns(row["names"]),
        tags=_patterns(row["tags"]),
        series=row.get("series", ""),
        local=row.get("local", ""),
        note=row.get("note", ""),
        source=row["source"],
        platforms=tuple(row.get("platforms", ())),
        released=tuple(row.get("released", ())),
    )


def contents_row(row: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], ImageContents]:
    """Return the keys (series and release) of a row of ``contents``, and its typed form."""
    keys = tuple((row["series"], release) for release in row["releases"])
    if not all(isinstance(part, str) for key in keys for part in key):
        raise TypeError("series and releases must be texts")
    return keys, ImageContents(
        torch=row.get("torch"),
        cuda=row.get("cuda"),
        cudnn=row.get("cudnn"),
        python=row.get("python"),
        compat=row.get("compat"),
        source=row["source"],
    )


def _patterns(texts: Any) -> tuple[str, ...]:
    """Return patterns as a tuple. Raises ValueError if one has something in braces that is no place-holder.

    They are not compiled here: that takes longer than the whole table, and few of them are needed.
    """
    for text in texts:
        named = [part for part in _PLACE_HOLDER.findall(text) if part != "any"]
        if len(set(named)) < len(named) or not set(named) <= set(PLACE_HOLDERS):
            raise ValueError(f"the pattern {text!r} has an unknown place-holder, or one of them twice")
        if text.count("*") + text.count("{any}") > MAX_GAPS:
            raise ValueError(f"the pattern {text!r} has more than {MAX_GAPS} times * or {{any}}")
    return tuple(texts)
