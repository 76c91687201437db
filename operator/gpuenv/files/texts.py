"""Reads texts from files and pipes, in UTF-8 or UTF-16, up to a limit."""

import codecs
import os
import select
import stat
from pathlib import Path
from typing import BinaryIO, Final

from gpuenv.files import MAX_BYTES, FileError

LOG_BYTES: Final = 20_000_000
"""How many bytes of a log are read: half of them from its beginning, half from its end."""
MAX_STREAM_BYTES: Final = 200_000_000
"""How many bytes of a log are read from a pipe. Its end cannot be found without reading everything before it."""
FIRST_BYTE_SECONDS: Final = 30.0
"""How long the first byte of a pipe or a device may take. A FIFO to which nobody writes would never end."""
_STANDARD_INPUT: Final = frozenset({"/dev/stdin", "/dev/fd/0"})
"""Paths of standard input. Somebody may be typing, so there is no hurry."""
_CHUNK_BYTES: Final = 1_000_000
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_file(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a file. Raises FileError if it cannot be read, is larger than ``limit``, or is no text."""
    try:
        with open_file(path) as file:
            return read(file, limit)
    except OSError as error:
        raise FileError(cannot_be_read(error)) from None
    except ValueError as error:
        raise error if isinstance(error, FileError) else FileError("is no path of a file") from None


def open_file(path: Path) -> BinaryIO:
    """Open a file, or a pipe such as that of ``<(command)``. Raises FileError if no byte of a pipe comes in time.

    Raises OSError if the file cannot be opened.
    """
    # Otherwise the call itself would wait until somebody opens a FIFO for writing.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) and str(path) not in _STANDARD_INPUT:
            _await_first_byte(descriptor)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _await_first_byte(descriptor: int) -> None:
    """Wait until a pipe or device has a byte, or has ended. Raises FileError if it takes too long."""
    ready, _, _ = select.select([descriptor], [], [], FIRST_BYTE_SECONDS)
    if not ready:
        seconds = f"{FIRST_BYTE_SECONDS:g} seconds"
        raise FileError(f"is a pipe or device from which nothing came in {seconds}; give a file")


def cannot_be_read(error: OSError) -> str:
    """Return the message about a file that cannot be read."""
    return f"cannot be read ({error.strerror or error}); give the path of a file"


def read(file: BinaryIO, limit: int = MAX_BYTES) -> str:
    """Return the text of an open file. Raises FileError if it is larger than ``limit`` bytes, or is no text.

    Of an endless file, such as ``/dev/zero``, nothing beyond the limit is read.
    """
    data = file.read(limit + 1)
    if b"\0" in data[:_CHUNK_BYTES] and not _is_utf16(data):
        raise FileError("is binary; give a text")
    if len(data) > limit:
        raise FileError(f"is larger than {limit / 1e6:g} MB; give a smaller file")
    return _decoded(data, "strict")


def read_log(file: BinaryIO) -> str:
    """Return the text of a log; of a large one, its beginning and its end. Raises FileError if it is no text.

    Logs name versions at their beginning, and errors at their end. Bytes that are no text are replaced.
    """
    half = LOG_BYTES // 2
    head = file.read(half)
    if b"\0" in head and not _is_utf16(head):
        raise FileError("is binary; give a text")
    tail, is_cut = _tail(file, half) if len(head) == half else (b"", False)
    return _decoded(head + b"\n" + tail if is_cut else head + tail, "replace")


def _tail(file: BinaryIO, size: int) -> tuple[bytes, bool]:
    """Return the rest of a file, at most its last ``size`` bytes, and whether bytes before them are left out."""
    is_cut = False
    if file.seekable():
        here, end = file.tell(), file.seek(0, os.SEEK_END)
        is_cut = end - size > here
        file.seek(max(here, end - size))
        return file.read(size), is_cut
    tail, count = b"", 0
    while chunk := file.read(_CHUNK_BYTES):
        tail, count = tail + chunk, count + len(chunk)
        if count > MAX_STREAM_BYTES:
            raise FileError(
                f"does not end within {MAX_STREAM_BYTES / 1e6:g} MB; give its last part (tail -c 1000000)"
            )
        if len(tail) > size + 8 * _CHUNK_BYTES:
            tail, is_cut = tail[-size:], True
    return tail, is_cut


def _is_utf16(data: bytes) -> bool:
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _decoded(data: bytes, errors: str) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError:
        raise FileError("is no text in UTF-8; save it in this encoding") from None
    if "\0" in text:
        raise FileError("is binary; give a text")
    return text
