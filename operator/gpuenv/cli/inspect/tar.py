"""Reads tar archives of strangers forwards, entry by entry, with bounded headers."""

import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Final, cast

from gpuenv.cli.inspect.limits import (
    CHUNK,
    MAX_DEPTH,
    MAX_HEADER,
    MAX_PATH,
    MAX_UNCOMPRESSED,
    Budget,
    ImageError,
)
from gpuenv.cli.inspect.streams import Readable

_BROKEN = (
    tarfile.TarError,
    ValueError,
    OverflowError,
    RecursionError,
    IndexError,
    KeyError,
    EOFError,
    MemoryError,
)
"""What the standard library raises for archives that are damaged, or made to harm it."""

_DIGITS: Final = re.compile(rb"\d{64}")
"""Matches digits for which Python before 3.11.10 takes quadratic time in extended headers (CVE-2024-6232)."""


class _Forward:
    """A stream that pretends to be seekable, forwards only, and bounds how much the header of one entry reads.

    ``tarfile`` would read a header of any size that an archive claims into memory.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._at = 0
        self._allowed = MAX_HEADER

    def allow(self) -> None:
        """Allow that the header of one more entry is read."""
        self._allowed = MAX_HEADER

    def tell(self) -> int:
        """Return how many bytes were read or skipped."""
        return self._at

    def seek(self, to: int, _: int = 0) -> int:
        """Skip bytes until the position ``to``."""
        while self._at < to:
            data = self._source.read(min(CHUNK, to - self._at))
            if not data:
                break
            self._at += len(data)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, which are a header. Raises ImageError if they exceed what is allowed."""
        if size < 0 or size > self._allowed:
            raise ImageError("an archive has a header that is too large")
        self._allowed -= size
        found = self.content(size)
        if size > tarfile.BLOCKSIZE and _DIGITS.search(found):
            raise ImageError("an archive has a header that is made to take long")
        return found

    def content(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end."""
        parts = []
        while size > 0 and (data := self._source.read(size)):
            parts.append(data)
            size -= len(data)
        found = b"".join(parts)
        self._at += len(found)
        return found


class Entry:
    """One entry of an archive: its path without a leading slash, and a way to read its content right away."""

    def __init__(self, path: str, member: tarfile.TarInfo, stream: _Forward) -> None:
        self.path = path
        self.member = member
        self.offset = stream.tell()
        """Position of the content within the archive."""
        self._stream = stream

    def content(self, limit: int) -> bytes:
        """Return the first ``limit`` bytes of the content."""
        return self._stream.content(min(limit, self.member.size))


def entries(source: Readable, budget: Budget) -> Iterator[Entry]:
    """Yield the entries of an archive. Raises ImageError if it is damaged or hostile."""
    stream = _Forward(source)
    try:
        # It reads the first header at once.
        archive: Any = tarfile.TarFile(fileobj=cast("IO[bytes]", stream), mode="r", errorlevel=2)
        while True:
            member: tarfile.TarInfo | None = archive.next()
            if member is None:
                return
            archive.members = []  # it would keep all of them in memory
            budget.entry()
            if not 0 <= member.size <= MAX_UNCOMPRESSED:
                raise ImageError(f"an archive has an entry of {member.size} bytes, which no image has")
            yield Entry(clean_path(member.name), member, stream)
            stream.allow()
    except ImageError:
        raise
    except _BROKEN as error:
        raise ImageError(f"an archive is damaged ({_first_line(error)}); pull or save it anew") from None


def clean_path(name: str) -> str:
    """Return a path of an archive without ``./`` and leading slashes. Raises ImageError if it leaves the archive."""
    if len(name) > MAX_PATH:
        raise ImageError(f"an archive has a path of more than {MAX_PATH} characters")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageError("an archive has a path that leaves it (..)")
    if len(parts) > MAX_DEPTH:
        raise ImageError(f"an archive has more than {MAX_DEPTH} directories within each other")
    return "/".join(parts)


def _first_line(error: BaseException) -> Any:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
