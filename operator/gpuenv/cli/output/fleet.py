"""The JSON output about environments and their nodes, the same for ``gpuenv status`` and ``gpuenv sandbox``."""

from collections.abc import Iterable
from typing import Any

from gpuenv.api.objects import NodeVerdict
from gpuenv.cli.output.text import as_json

Object = dict[str, Any]


def fleet_json(environments: Iterable[Object], nodes: Iterable[NodeVerdict]) -> str:
    """Return a JSON text with the name and the status of each environment, and the verdict of each node."""
    return as_json(
        {
            "environments": [
                {"name": found["metadata"]["name"], **(found.get("status") or {})} for found in environments
            ],
            "nodes": [node._asdict() for node in nodes],
        }
    )
