"""What people give on the command line and in files: which values make sense, and texts of any size."""

from pathlib import Path
from typing import BinaryIO, Final

from gpuenv.assess.case import OLDEST_BRANCH
from gpuenv.knowledge.versions import parse_version

EXAMPLE_DRIVER: Final = "580.65.06"
MAX_FILE: Final = 20_000_000
_BEYOND_BRANCHES = 1000
"""Driver branches have three digits, and so have what follows them at most."""
_CHUNK = 1_000_000


def is_driver(text: str) -> bool:
    """Whether ``text`` can be the version of a driver with CUDA; not the CUDA version that nvidia-smi prints beside it."""
    version = parse_version(text)
    return version is not None and version[0] >= OLDEST_BRANCH and max(version) < _BEYOND_BRANCHES


def is_cuda(text: str) -> bool:
    """Whether ``text`` is rather the CUDA version that nvidia-smi prints beside the driver's."""
    version = parse_version(text)
    return version is not None and version[0] < OLDEST_BRANCH


def read_ends(file: BinaryIO) -> bytes:
    """A file's content; of one larger than :data:`MAX_FILE` the beginning and the end, where logs say what happened."""
    half = MAX_FILE // 2
    head = file.read(half)
    tail = b""
    skipped = False
    while chunk := file.read(_CHUNK):
        tail += chunk
        if len(tail) > half + _CHUNK:
            tail, skipped = tail[-half:], True
    return head + b"\n" + tail if skipped else head + tail


def read_file(path: str) -> bytes:
    """As :func:`read_ends`, of a file by name. Raises ``OSError``."""
    with Path(path).open("rb") as file:
        return read_ends(file)
