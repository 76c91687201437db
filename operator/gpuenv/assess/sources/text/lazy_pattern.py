"""A regular expression that is compiled when it is first used.

The readers of error texts have about a hundred, and most texts need hardly any of them: compiling all takes longer than
everything else that ``gpuenv explain`` does.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

_END: Final = 1 << 62
"""A position behind the end of every text."""


class LazyPattern:
    """Searches like :class:`re.Pattern`."""

    __slots__ = ("_compiled", "_flags", "_source")

    def __init__(self, source: str, flags: int = 0) -> None:
        """Keep the source and the flags of the regular expression."""
        self._source = source
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def search(self, text: str, start: int = 0, end: int = _END) -> re.Match[str] | None:
        """Return the first match between ``start`` and ``end``, or None."""
        return self._pattern().search(text, start, end)

    def match(self, text: str, start: int = 0, end: int = _END) -> re.Match[str] | None:
        """Return the match that begins at ``start``, or None."""
        return self._pattern().match(text, start, end)

    def finditer(self, text: str, start: int = 0, end: int = _END) -> Iterator[re.Match[str]]:
        """Return an iterator over the matches between ``start`` and ``end``."""
        return self._pattern().finditer(text, start, end)

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """Return the text with ``replacement``, or what it returns, in place of every match."""
        return self._pattern().sub(replacement, text)

    def _pattern(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(self._source, self._flags)
        return self._compiled
