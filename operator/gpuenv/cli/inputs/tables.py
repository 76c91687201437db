"""Loads the tables, including those with which a user replaces the package's own (``--knowledge DIR``)."""

from pathlib import Path

from gpuenv.cli.errors import BadInput
from gpuenv.knowledge import Knowledge, KnowledgeError, load


def read_tables(directory: str | None) -> Knowledge:
    """Return the tables. Files in ``directory`` replace the package's tables of the same name. Raises BadInput."""
    try:
        return load(Path(directory) if directory else None)
    except KnowledgeError as error:
        raise BadInput(str(error)) from error
