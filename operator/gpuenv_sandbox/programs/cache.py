"""Where everything is kept that is expensive to get: programs, image layers, wheels.

The cache is ``$GPUENV_CACHE``, else ``$XDG_CACHE_HOME/gpuenv``, else ``~/.cache/gpuenv``; it may be deleted
at any time when no sandbox is running.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuenv_sandbox.programs.catalogue import BinaryError


def cache_root() -> Path:
    """The cache's directory, which need not exist yet."""
    if own := os.environ.get("GPUENV_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpuenv"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Holds a lock among all processes that use this cache; the kernel frees it when this one dies."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f"{name}.lock").open("w")
    except OSError as error:
        raise BinaryError(f"cannot write to the cache {root}: {error.strerror}; set GPUENV_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
