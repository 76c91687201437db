"""The JSON output about environments and their nodes, the same for ``gpuenv status`` and ``gpuenv sandbox``."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gpuenv.cli.output.text import as_json

Object = dict[str, Any]


class NodeVerdict(NamedTuple):
    """The summary of a node report. ``verdict`` is "" until the node has a verdict."""

    environment: str
    node: str
    verdict: str
    reason: str
    message: str


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
