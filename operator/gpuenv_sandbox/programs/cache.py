"""gpuenv's cache for files that are slow to get (programs, image layers, wheels), and locks on its parts.

The directory of the cache is ``$GPUENV_CACHE``, else ``$XDG_CACHE_HOME/gpuenv``, else ``~/.cache/gpuenv``. It may be
deleted at any time when no sandbox is running.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gpuenv_sandbox.programs.catalogue import BinaryError


def cache_root() -> Path:
    """Return the path of the cache's directory, which may not exist yet."""
    if own := os.environ.get("GPUENV_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpuenv"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock ``name`` inside the ``with`` block, and first wait until no other process holds it.

    All processes that use the same cache directory share its locks. If a process dies, the kernel releases its lock.
    """
    with _lock_file(name) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_while_used(name: str) -> Iterator[Path]:
    """Yield the directory ``name`` of the cache, which several processes may use at the same time.

    The last process that leaves the ``with`` block removes the directory. Files that a killed process has left there
    are removed after the next use.
    """
    directory = cache_root() / name
    with _lock_file(name) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        directory.mkdir(exist_ok=True)
        try:
            yield directory
        finally:
            with suppress(BlockingIOError):  # another process still uses it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)


def _lock_file(name: str) -> IO[str]:
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return (root / f"{name}.lock").open("w")
    except OSError as error:
        raise BinaryError(f"cannot write to the cache {root}: {error.strerror}; set GPUENV_CACHE") from error
