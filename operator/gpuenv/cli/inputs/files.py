"""Reads the files that options name, and standard input. A mistake in a file is one line with the option and the path."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from gpuenv.cli.shared.errors import BadInput
from gpuenv.files import MAX_BYTES, FileError, texts

T = TypeVar("T")

STANDARD_INPUT: Final = "-"


def read_text(path: str, option: str, limit: int = MAX_BYTES) -> str:
    """Return the text of a file, or of standard input if the path is ``-``.

    Raises BadInput if the file cannot be read, is larger than ``limit`` bytes, or is no text. ``option`` is the option
    that the message names.
    """
    return _read(path, option, lambda file: texts.read(file, limit))


def read_log(path: str, option: str) -> str:
    """Return the text of a log, which may be large: then only its beginning and its end.

    Raises BadInput if the file cannot be read or is binary.
    """
    return _read(path, option, texts.read_log)


def parsed(parse: Callable[[str], T], text: str, path: str, option: str) -> T:
    """Return what ``parse`` makes of the text of a file. If it raises FileError, raise BadInput."""
    try:
        return parse(text)
    except FileError as error:
        raise BadInput(f"{option}: {path}: {error}") from None


def log_or_file(given: str, option: str) -> str:
    """Return the value of an option, or the text of the file whose path it is.

    A value of several words is the text itself, unless a file with this name exists or the value ends in ``.txt`` or
    ``.log``. A single word is always a path. Raises BadInput if the file cannot be read.
    """
    if len(given.split()) > 1 and not given.endswith((".txt", ".log")) and not _exists(given):
        return given
    return read_log(given, option)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # the text is longer than a file name may be, or none at all
        return False


def _read(path: str, option: str, read: Callable[[BinaryIO], str]) -> str:
    try:
        if path == STANDARD_INPUT:
            return read(sys.stdin.buffer)
        with texts.open_file(Path(path)) as file:
            return read(file)
    except FileError as error:
        raise BadInput(f"{option}: {path}: {error}") from None
    except OSError as error:
        raise BadInput(f"{option}: {path}: {error.strerror or error}") from None
    except ValueError:
        raise BadInput(f"{option}: {path}: is no path of a file") from None
