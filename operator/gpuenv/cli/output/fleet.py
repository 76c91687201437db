"""Environments and their nodes for programs, the same for ``gpuenv status`` and ``gpuenv sandbox``."""

from collections.abc import Iterable
from typing import Any

from gpuenv.api.objects import NodeVerdict

Object = dict[str, Any]


def fleet_data(environments: Iterable[Object], nodes: Iterable[NodeVerdict]) -> Object:
    """Return the name and the status of each environment, and the verdict of each node, as JSON data.

    Times are timestamps and never ages, because a program may read the output much later.
    """
    return {
        "environments": [
            {
                "name": found["metadata"]["name"],
                "creationTimestamp": found["metadata"].get("creationTimestamp"),
                **(found.get("status") or {}),
            }
            for found in environments
        ],
        "nodes": [_camel(node._asdict()) for node in nodes],
    }


def _camel(fields: Object) -> Object:
    """Return a dict with ``validation_time`` as ``validationTime``, and the other keys likewise."""
    words = {name: name.split("_") for name in fields}
    return {
        first + "".join(map(str.capitalize, rest)): fields[name] for name, (first, *rest) in words.items()
    }
