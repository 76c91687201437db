"""``python -m gpuenv.knowledge.compile``: generates ``tables.json`` from the YAML files that people edit.

``make tables`` and every build of the package (``setup.py``) run it.
"""

import json
from pathlib import Path

from gpuenv.knowledge.files import FAST_FORM, checksum, yaml_tables
from gpuenv.knowledge.load import build


def fast_form() -> str:
    """Return the content of ``tables.json``. Raises ``KnowledgeError`` if a table is invalid."""
    tables = yaml_tables()
    build(tables)
    made = {"checksum": checksum(), "tables": tables}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n"


def write(path: Path = FAST_FORM) -> None:
    """Write ``tables.json`` atomically: a process that reads it at the same time gets the old or the new content."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(fast_form(), encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    write()
