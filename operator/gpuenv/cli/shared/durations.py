"""Durations as kubectl reads and prints them: ``30m``, ``90s``, ``1h30m``, and numbers of seconds without a unit."""

import re
from collections.abc import Callable
from typing import Final

import click

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}
"""Maps each unit to its length in seconds, the longest first."""
_NUMBER: Final = r"\d+(?:\.\d+)?"
_SECONDS: Final = re.compile(_NUMBER, re.ASCII)
_PARTS: Final = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS), re.ASCII)


def at_least(least: float) -> Callable[[str], float]:
    """Return the type of an option that takes a duration of at least ``least`` seconds. Its value is in seconds."""

    def duration(text: str) -> float:
        seconds = parse(text)
        if seconds is None:
            raise click.BadParameter(
                f"{text!r} is no duration: write 90s, 30m, 1h30m, or a number of seconds"
            )
        if seconds < least:
            raise click.BadParameter(f"{text!r} is too short: write {show(least)} or more")
        return seconds

    return duration


def parse(text: str) -> float | None:
    """Return the seconds of a duration such as ``1h30m`` or ``90``, or None if the text is no duration."""
    if _SECONDS.fullmatch(text):
        return float(text)
    found = _PARTS.fullmatch(text) if text else None
    if found is None:
        return None
    return sum(float(found[unit] or 0) * seconds for unit, seconds in _UNITS.items())


def show(seconds: float) -> str:
    """Return a duration in the form in which it can be given: ``1h30m``, ``2m5s``, ``90s``, ``0.5s``."""
    if seconds < 120:
        return f"{seconds:g}s"
    rest, words = round(seconds), ""
    for unit, length in _UNITS.items():
        count, rest = divmod(rest, int(length))
        words += f"{count}{unit}" if count else ""
    return words


def age(seconds: float) -> str:
    """Return the age of an object, as coarse as in the tables of kubectl: ``45s``, ``12m``, ``3h``, ``5d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
