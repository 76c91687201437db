"""``python -m gpuenv.manifests.status_schemas``: makes the planner's copy of the schemas of both statuses.

The planner reads no files, so the copy is a module, which `make schemas` makes from ``crds/``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gpuenv import api
from gpuenv.api import names
from gpuenv.api.schema.fit import KEYWORDS, Schema
from gpuenv.manifests import crds

MADE: Final = Path(api.__file__).parent / "schema/statuses.py"

_HEAD: Final = '''"""The schemas of both statuses. `make schemas` makes this module from ``crds/``; nobody edits it."""

from typing import Final

from gpuenv.api.schema.fit import Schema
'''


def status_schemas() -> dict[str, Schema]:
    """Return the schema of the status of each kind, with nothing but the keywords that a status is fitted to."""
    schemas: dict[str, Schema] = {}
    for crd in crds():
        (version,) = crd["spec"]["versions"]
        whole = version["schema"]["openAPIV3Schema"]
        schemas[crd["spec"]["names"]["kind"]] = _without_words(whole["properties"]["status"])
    return schemas


def _without_words(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without its descriptions, defaults and rules."""
    kept: dict[str, Any] = {}
    for keyword in KEYWORDS & schema.keys():
        value = schema[keyword]
        if keyword == "properties":
            value = {name: _without_words(field) for name, field in value.items()}
        elif keyword in ("items", "additionalProperties") and isinstance(value, Mapping):
            value = _without_words(value)
        kept[keyword] = value
    return {keyword: kept[keyword] for keyword in schema if keyword in kept}


def source() -> str:
    """Return the source text of the module, which is not formatted yet."""
    schemas = status_schemas()
    constants = {"REPORT": names.REPORT_KIND, "ENVIRONMENT": names.ENVIRONMENT_KIND}
    lines = [f"{name}: Final[Schema] = {schemas[kind]!r}" for name, kind in constants.items()]
    return "\n".join([_HEAD, *lines, ""])


if __name__ == "__main__":
    MADE.write_text(source(), encoding="utf-8")
