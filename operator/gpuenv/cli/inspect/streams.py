"""Streams over layers: counted, checked against their digest, and decompressed within limits."""

import hashlib
import zlib
from typing import IO, Final, Protocol, cast

from gpuenv.cli.inspect.limits import CHUNK, MAX_RATIO, RATIO_ALLOWANCE, Budget, ImageError

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW: Final = 128 * 1024 * 1024
"""Memory for decompression in bytes. ``zstd --long`` needs as much; a frame may demand up to 3.75 TB."""


class Readable(Protocol):
    """Something that is read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``, and b"" at the end."""
        ...


class Checked:
    """A layer as it is stored. At its end, its size and digest have to be those that its image names.

    ``digest`` is ``sha256:`` and 64 hexadecimal digits. ``size`` is None if the image does not name it.
    """

    def __init__(self, source: Readable, digest: str, size: int | None, budget: Budget) -> None:
        self._source = source
        self._digest = digest
        self._size = size
        self._budget = budget
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Return the next bytes. Raises ImageError if there are more than the image names."""
        data = self._source.read(min(size, CHUNK))
        self.count += len(data)
        if self._size is not None and self.count > self._size:
            raise ImageError(
                f"layer {_short(self._digest)} is larger than the {self._size} bytes that its manifest names"
            )
        self._budget.compressed(len(data))
        self._hash.update(data)
        return data

    def finish(self) -> None:
        """Read the rest of the layer, and raise ImageError unless size and digest are as promised."""
        while self.read(CHUNK):
            pass
        if self._size is not None and self.count != self._size:
            raise ImageError(
                f"layer {_short(self._digest)} ends after {self.count} of {self._size} bytes; try again, or pull it anew"
            )
        if f"sha256:{self._hash.hexdigest()}" != self._digest:
            raise ImageError(
                f"layer {_short(self._digest)} has other content than its digest says; pull it anew"
            )


class Limited:
    """A decompressed layer that counts its bytes, and refuses those of a decompression bomb."""

    def __init__(self, source: Readable, stored: Checked, budget: Budget) -> None:
        self._source = source
        self._stored = stored
        self._budget = budget
        self._count = 0

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``. Raises ImageError if they are too many for what is stored."""
        data = self._source.read(min(size, CHUNK))
        self._count += len(data)
        self._budget.uncompressed(len(data))
        if self._count > RATIO_ALLOWANCE + MAX_RATIO * self._stored.count:
            raise ImageError(
                f"a layer expands to more than {MAX_RATIO} times its size: a decompression bomb is not read"
            )
        return data


class _Pushed:
    """A stream whose first bytes were read already to recognise its compression."""

    def __init__(self, first: bytes, source: Readable) -> None:
        self._first = first
        self._source = source

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``."""
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._source.read(size)


class _Gunzip:
    """The content of a gzip stream, which may consist of several members."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``. Raises ImageError if the stream is damaged."""
        while True:
            if self._inflate.eof:
                self._waiting = self._inflate.unused_data.lstrip(b"\0") or self._waiting
                self._waiting = self._waiting or self._source.read(CHUNK).lstrip(b"\0")
                if not self._waiting:
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)
            if not self._waiting:
                self._waiting = self._source.read(CHUNK)
                if not self._waiting:
                    raise ImageError("a layer ends within its compressed data; pull it anew")
            try:
                data = self._inflate.decompress(self._waiting, size)
            except zlib.error:
                raise ImageError("a layer has damaged compressed data; pull it anew") from None
            self._waiting = self._inflate.unconsumed_tail
            if data:
                return data


def decompressed(stored: Checked, budget: Budget) -> Limited:
    """Return the content of a layer. Its first bytes say how it is compressed: gzip, zstd, or not at all."""
    first = b""
    while len(first) < len(_ZSTD) and (more := stored.read(len(_ZSTD) - len(first))):
        first += more
    source = _Pushed(first, stored)
    if first.startswith(_GZIP):
        return Limited(_Gunzip(source), stored, budget)
    if first.startswith(_ZSTD):
        return Limited(_unzstd(source), stored, budget)
    return Limited(source, stored, budget)


def _unzstd(source: Readable) -> Readable:
    try:
        import zstandard  # noqa: PLC0415 - few images need it, and it is an optional dependency
    except ImportError:
        raise ImageError(
            "its layers are compressed with zstd, which needs the extra: pip install 'gpuenv[inspect]'"
        ) from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return _Zstd(
        decompressor.stream_reader(cast("IO[bytes]", source), read_across_frames=True), zstandard.ZstdError
    )


class _Zstd:
    """The content of a zstd stream. ``error`` is the exception that its library raises for damaged data."""

    def __init__(self, source: Readable, error: type[Exception]) -> None:
        self._source = source
        self._error = error

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``. Raises ImageError if the stream is damaged."""
        try:
            return self._source.read(size)
        except (self._error, MemoryError):
            raise ImageError(
                "a layer has damaged zstd data, or needs too much memory; pull it anew"
            ) from None


def _short(digest: str) -> str:
    return digest[:19]
