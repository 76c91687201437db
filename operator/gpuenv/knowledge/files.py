"""The files that hold the tables: YAML to edit, and one JSON file that loads quickly.

PyYAML needs a quarter of a second for these tables, which is more than a whole ``gpuenv explain`` may take. So there is
``tables.json`` beside them, made by the build and by ``make tables`` (``gpuenv.knowledge.compile``) and not committed.
It carries a checksum of the YAML files: where it is missing or out of date, the YAML files are read instead.
"""

import json
import zlib
from pathlib import Path
from typing import Any, Final

TABLES: Final = ("cuda", "architectures", "torch", "gpus", "errors", "platforms")
"""Names of the table files, each ``<name>.yaml``."""

HERE: Final = Path(__file__).parent
FAST_FORM: Final = HERE / "tables.json"


class KnowledgeError(ValueError):
    """A table makes no sense; the message names file, row and field in one line."""


def packaged_tables() -> dict[str, Any]:
    """Return the package's own tables as plain data, by name."""
    try:
        made = json.loads(FAST_FORM.read_text(encoding="utf-8"))
        if made["checksum"] == checksum():
            return dict(made["tables"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not made yet, or by another version of gpuenv
    return yaml_tables()


def yaml_tables() -> dict[str, Any]:
    """Return the same, read from the YAML files. Raises :class:`KnowledgeError` when one is not readable."""
    return {name: read_yaml(HERE / f"{name}.yaml") for name in TABLES}


def checksum() -> int:
    """Return a number that changes with the YAML files. It guards against forgetting, not against forgery."""
    value = 0
    for name in TABLES:
        value = zlib.crc32((HERE / f"{name}.yaml").read_bytes(), value)
    return value


def read_yaml(path: Path) -> Any:
    """Return the content of a table file. Raises :class:`KnowledgeError` when it is not readable YAML."""
    import yaml  # noqa: PLC0415  costs 50 ms, and only edited tables need it

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KnowledgeError(f"{path}: {' '.join(str(error).split())}") from None
