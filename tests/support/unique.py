"""Unique names that are valid as Kubernetes names and in image references.

The names of ``tempfile`` are not always valid: they may begin with an underscore, and ``gpuenv-_x`` is neither a
component of an image reference nor a DNS label.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIGITS = 8


def unique(prefix: str) -> str:
    """Return a new name that begins with ``prefix`` and is a DNS label.

    So it is also valid as the value of a Kubernetes label and as part of an image's name. ``prefix`` must be a DNS
    label of at most 54 characters.
    """
    return f"{prefix}-{uuid.uuid4().hex[:DIGITS]}"


@contextmanager
def unique_directory(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Create an empty directory with a unique name, yield it, and delete it with its contents at the end.

    Errors of the deletion are ignored.
    """
    directory = (parent or Path(tempfile.gettempdir())) / unique(prefix)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
