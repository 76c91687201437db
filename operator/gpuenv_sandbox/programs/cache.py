"""The cache for files that are expensive to get (programs, image layers, wheels), and locks on its parts.

The cache is ``$GPUENV_CACHE``, else ``$XDG_CACHE_HOME/gpuenv``, else ``~/.cache/gpuenv``. It may be deleted at any time
when no sandbox is running.
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
    """Return the directory of the cache, which may not exist yet."""
    if own := os.environ.get("GPUENV_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpuenv"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock ``name``, which only one of the processes that use this cache can hold at a time.

    The kernel releases it if this process dies.
    """
    with _lock_file(name) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_while_used(name: str) -> Iterator[Path]:
    """Yield a directory of the cache that several processes may use at once. The last of them removes it.

    Files that a killed process left in the directory are removed the next time that it is used.
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
