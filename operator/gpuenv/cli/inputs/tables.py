"""Loads the tables of the package, or those that a user supplies instead (``--knowledge DIR``)."""

from pathlib import Path

from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge, KnowledgeError, load


def read_tables(directory: str | None) -> Knowledge:
    """Return the tables. Files in ``directory`` replace the package's tables of the same name.

    Raises BadInput if ``directory`` contains no table, or an invalid one. None stands for no such directory.
    """
    try:
        return load(Path(directory) if directory else None)
    except KnowledgeError as error:
        raise BadInput(str(error)) from error
