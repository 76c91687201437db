"""What the command line and the sandbox read from gpuenv's objects, as the API server returns them."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class NodeVerdict(NamedTuple):
    """The fields of one node report that tables and JSON output show.

    ``verdict``, ``reason`` and ``message`` are "" as long as the node has no verdict.
    """

    environment: str
    node: str
    verdict: str = ""
    reason: str = ""
    message: str = ""


def condition(environment: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the condition of the type ``kind`` in the status of an environment.

    Return {} if there is no such condition, or if it is about an older generation of the environment.
    """
    generation, status = environment["metadata"].get("generation"), environment.get("status") or {}
    for found in status.get("conditions") or []:
        if found.get("type") == kind:
            is_current = (
                found.get("observedGeneration", status.get("observedGeneration", generation)) == generation
            )
            return dict(found) if is_current else {}
    return {}
