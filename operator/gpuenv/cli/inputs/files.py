"""Reads texts of any size from files and from standard input. They may be UTF-8 or UTF-16."""

import sys
from pathlib import Path
from typing import BinaryIO, Final

from gpuenv.cli.shared.errors import BadInput

STANDARD_INPUT: Final = "-"
MAX_BYTES: Final = 20_000_000
_CHUNK_BYTES: Final = 1_000_000


def read_text(path: str, option: str) -> str:
    """Return the text of a file, or of standard input if the path is ``-``.

    Raises BadInput if the file cannot be read or is binary. ``option`` is the option that the message names.
    """
    try:
        data = _standard_input() if path == STANDARD_INPUT else _file(path)
    except OSError as error:
        raise BadInput(f"{option}: {path}: {error.strerror or error}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\x00" in data[:8192]:
        raise BadInput(f"{option}: {path}: is binary; give a text")
    return data.decode("utf-8", "replace")


def text_or_file(given: str, option: str) -> str:
    """Return the value of an option, or the text of the file whose path it is.

    A value of several words is the text itself, unless a file with this name exists or the value ends in ``.txt`` or
    ``.log``. A single word is always a path. Raises BadInput if the file cannot be read.
    """
    if len(given.split()) > 1 and not given.endswith((".txt", ".log")) and not _exists(given):
        return given[:MAX_BYTES]
    return read_text(given, option)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # the text is longer than a file name may be
        return False


def _standard_input() -> bytes:
    return read_ends(sys.stdin.buffer)


def _file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return read_ends(file)


def read_ends(file: BinaryIO) -> bytes:
    """Return the content of a file. If it is larger than :data:`MAX_BYTES`, return only its beginning and its end.

    Logs name versions at their beginning, and errors at their end.
    """
    half = MAX_BYTES // 2
    head = file.read(half)
    tail = b""
    skipped = False
    while chunk := file.read(_CHUNK_BYTES):
        tail += chunk
        if len(tail) > half + _CHUNK_BYTES:
            tail, skipped = tail[-half:], True
    return head + b"\n" + tail if skipped else head + tail
