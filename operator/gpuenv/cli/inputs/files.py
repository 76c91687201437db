"""Texts from files and from standard input, of any size and encoding."""

import sys
from pathlib import Path
from typing import BinaryIO, Final

from gpuenv.cli.errors import BadInput

STANDARD_INPUT: Final = "-"
MAX_BYTES: Final = 20_000_000
_CHUNK_BYTES: Final = 1_000_000


def read_text(path: str, option: str) -> str:
    """Return the text of a file, or of standard input for ``-``.

    Raises BadInput, which names ``option``, when the file cannot be read or is binary.
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
    """Return what a person pasted, or the text of the file that it names.

    Several words that name no file are the text itself. Raises BadInput.
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
    """Return the content of a file. Of one larger than MAX_BYTES, only the beginning and the end.

    Logs say at their beginning what was started, and at their end what happened.
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
