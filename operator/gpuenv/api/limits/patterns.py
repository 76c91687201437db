"""Patterns of the administrator's limits: ``*`` stands for any characters, and all else for itself."""

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Return whether a text matches at least one of the patterns."""
    return any(_expression(pattern).fullmatch(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(translated(pattern, ".*"), re.DOTALL)


def translated(pattern: str, any_characters: str) -> str:
    """Return a pattern as a regular expression, with ``any_characters`` for each ``*``."""
    return any_characters.join(re.escape(part) for part in pattern.split("*"))
