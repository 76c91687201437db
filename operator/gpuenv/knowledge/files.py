"""Reads the tables from YAML files, which people edit, or from a generated JSON file, which is faster to read.

PyYAML needs a quarter of a second for the tables, which is more than a whole ``gpuenv explain`` may take. For that
reason the build and ``make tables`` (``gpuenv.knowledge.compile``) generate ``tables.json``, which is not committed. It
contains a checksum of the YAML files. If it is missing or out of date, the YAML files are read instead.
"""

import json
import zlib
from pathlib import Path
from typing import Any, Final

from gpuenv.files import FileError, texts

TABLES: Final = ("cuda", "architectures", "torch", "gpus", "errors", "platforms", "images")
"""Names of the tables. The file of a table is ``<name>.yaml``."""

HERE: Final = Path(__file__).parent
"""The directory of the package's own tables."""
FAST_FORM: Final = HERE / "tables.json"
"""The generated JSON file, which loads faster than the YAML files."""


class KnowledgeError(ValueError):
    """A table is invalid. The message is one line that names the file, the row and the problem."""


def packaged_tables() -> dict[str, Any]:
    """Return the content of the package's own tables, by the name of the table.

    The content is read from ``tables.json``, or from the YAML files if ``tables.json`` is missing or out of date.
    """
    try:
        made = json.loads(FAST_FORM.read_text(encoding="utf-8"))
        if made["checksum"] == checksum():
            return dict(made["tables"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # tables.json was not generated yet, or by another version of gpuenv
    return yaml_tables()


def yaml_tables() -> dict[str, Any]:
    """Return the content of the package's tables, by the name of the table, read from the YAML files.

    Raises :class:`KnowledgeError` if a file cannot be read or is no YAML.
    """
    return {name: read_yaml(HERE / f"{name}.yaml") for name in TABLES}


def checksum() -> int:
    """Return a checksum of the package's YAML files.

    It detects that ``tables.json`` was not generated again after an edit. It is no protection against tampering.
    """
    value = 0
    for name in TABLES:
        value = zlib.crc32((HERE / f"{name}.yaml").read_bytes(), value)
    return value


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises :class:`KnowledgeError` if it cannot be read or is no YAML."""
    from gpuenv.files import yaml_data  # noqa: PLC0415  costs 50 ms, and only edited tables need it

    try:
        return yaml_data.parse(texts.read_file(path))
    except FileError as error:
        raise KnowledgeError(f"{path}: {error}") from None
