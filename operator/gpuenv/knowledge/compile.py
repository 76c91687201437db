"""``python -m gpuenv.knowledge.compile``: makes ``tables.json`` from the YAML files that people edit."""

import json
from typing import Any

from gpuenv.knowledge.load import FAST_FORM, HERE, TABLES, build, read_yaml


def fast_form() -> str:
    """The text that ``tables.json`` should have. Raises ``KnowledgeError`` when a table makes no sense."""
    tables: dict[str, Any] = {name: read_yaml(HERE / f"{name}.yaml") for name in TABLES}
    build(tables)
    return json.dumps(tables, ensure_ascii=False, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    FAST_FORM.write_text(fast_form(), encoding="utf-8")
