"""``python -m gpuenv.knowledge.compile``: makes ``tables.json`` from the YAML files that people edit.

``make tables`` runs it, and so does every build of the package (``setup.py``).
"""

import json
from pathlib import Path

from gpuenv.knowledge.files import FAST_FORM, checksum, yaml_tables
from gpuenv.knowledge.load import build


def fast_form() -> str:
    """Return the text of ``tables.json``. Raises ``KnowledgeError`` when a table makes no sense."""
    tables = yaml_tables()
    build(tables)
    made = {"checksum": checksum(), "tables": tables}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n"


def write(path: Path = FAST_FORM) -> None:
    """Write ``tables.json``; a process that reads it meanwhile sees the old or the new one, never half of it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(fast_form(), encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    write()
