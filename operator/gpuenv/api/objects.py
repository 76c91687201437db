"""What the command line and the sandbox read from gpuenv's objects, as the API server returns them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gpuenv.api import names
from gpuenv.api.tolerant import mappings, text

NAMED: Final = 3
"""How many problems one line names."""


class NodeVerdict(NamedTuple):
    """The fields of one node report that tables and JSON output show.

    ``verdict``, ``reason`` and ``message`` are "" as long as the node has no verdict.
    """

    environment: str
    node: str
    verdict: str = ""
    reason: str = ""
    message: str = ""
    product: str = ""
    """The product name of the node's first GPU."""
    driver: str = ""
    pytorch: str = ""
    cuda: str = ""
    validation_time: str = ""
    """When the image last ran on the node, as the API server shows times; "" if it never did."""


def is_genuine(report: Mapping[str, Any]) -> bool:
    """Return whether a node report has the name that the operator gives it. The operator ignores all others."""
    spec = report.get("spec") or {}
    name = names.report_name(str(spec.get("environmentName", "")), str(spec.get("nodeName", "")))
    return bool((report.get("metadata") or {}).get("name") == name)


def products(status: Mapping[str, Any]) -> list[str]:
    """Return the product names of a node's GPUs, from the status of its node report. The image may have made them up."""
    return list(filter(None, (text(gpu.get("product")) for gpu in mappings(status.get("gpus")))))


def node_verdict(report: Mapping[str, Any]) -> NodeVerdict:
    """Return the verdict that a node report shows, with "" for each field that is missing."""
    spec, status = report.get("spec") or {}, report.get("status") or {}
    versions = status.get("versions") or {}
    return NodeVerdict(
        environment=spec.get("environmentName", ""),
        node=spec.get("nodeName", ""),
        verdict=status.get("verdict", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        product=next(iter(products(status)), ""),
        driver=versions.get("driver", ""),
        pytorch=versions.get("pytorch", ""),
        cuda=versions.get("cuda", ""),
        validation_time=status.get("validationTime", ""),
    )


def problems(environment: Mapping[str, Any]) -> str:
    """Return the worst problems of an environment in one line, each with its number of nodes; "" without problems.

    The line names three reasons, and says how many more there are: ``DriverTooOld (3), UvmMissing (1)``.
    """
    found = (environment.get("status") or {}).get("problems") or []
    named = [
        f"{one['reason']} ({one['nodeCount']})" if one.get("nodeCount") else str(one["reason"])
        for one in found[:NAMED]
    ]
    more = len(found) - NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def held_back(environment: Mapping[str, Any]) -> str:
    """Return in one line which mass change holds labels back, with the command that accepts it; "" if none does."""
    status = environment.get("status") or {}
    change = status.get("massChange") or {}
    if not change:
        return ""
    name = str(environment["metadata"]["name"])
    return held_words(name, text(change.get("id")), text(change.get("message")))


def held_words(environment: str, change: str, message: str) -> str:
    """Return in one line what the change with the id ``change`` holds back, and the command that accepts it."""
    command = names.accept_command(environment, change)
    return f"{message}; their labels are held back until somebody accepts that: {command}"


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
