"""Names that nothing else has, valid wherever tests put them.

The names of ``tempfile`` are not: they may begin with an underscore, and ``gpuenv-_x`` is neither a component of an
image reference nor a DNS label.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIGITS = 8


def unique(prefix: str) -> str:
    """Return a new name that begins with ``prefix``: a DNS label, and so a label's value and part of an image's name.

    ``prefix`` is such a name itself, of at most 54 characters.
    """
    return f"{prefix}-{uuid.uuid4().hex[:DIGITS]}"


@contextmanager
def unique_directory(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make an empty directory of such a name, and delete it with its contents at the end, as far as that can be done."""
    directory = (parent or Path(tempfile.gettempdir())) / unique(prefix)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
