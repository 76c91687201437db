"""The JSON form of environments and their nodes, the same for ``gpuenv status`` and ``gpuenv sandbox``."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gpuenv.cli.output.text import as_json

Object = dict[str, Any]


class NodeVerdict(NamedTuple):
    """A node report in short. ``verdict`` is empty while the node has no answer."""

    environment: str
    node: str
    verdict: str
    reason: str
    message: str


def fleet_json(environments: Iterable[Object], nodes: Iterable[NodeVerdict]) -> str:
    """Return the status of each environment under its name, and a row for each node."""
    return as_json(
        {
            "environments": [
                {"name": found["metadata"]["name"], **(found.get("status") or {})} for found in environments
            ],
            "nodes": [node._asdict() for node in nodes],
        }
    )
