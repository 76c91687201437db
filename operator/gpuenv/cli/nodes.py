"""Nodes from a file: CSV, a YAML list, or what ``kubectl get nodes -o yaml`` (or ``json``) prints."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import yaml

from gpuenv.assess.facts import DriverFacts, Gpu, NodeFacts
from gpuenv.knowledge.platforms import node_facts

Node = tuple[str, DriverFacts, tuple[Gpu, ...], NodeFacts]
FIELDS = ("name", "gpu", "driver", "compute_capability", "platform")


def read_nodes(text: str, path: str, error: type[ValueError]) -> Iterator[Node]:
    """The nodes of a file. Raises ``error`` with one line where there are none, or where a row makes no sense."""
    rows = list(_rows(text, path, error))
    if not rows:
        raise error(f"--nodes: {path}: names no node; columns are {', '.join(FIELDS)}")
    for number, row in enumerate(rows, 1):
        if "metadata" in row:
            yield _kubernetes(row)
        else:
            yield _plain(row, number, path, error)


def _rows(text: str, path: str, error: type[ValueError]) -> Iterator[dict[str, Any]]:
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    if "," in first and not first.lstrip().startswith(("-", "{", "[")):
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        reader = csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True)
        yield from ({(key or "").strip().lower(): value for key, value in row.items()} for row in reader)
        return
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  a safe loader
    except yaml.YAMLError as problem:
        raise error(f"--nodes: {path}: {' '.join(str(problem).split())}") from None
    if isinstance(document, dict):
        document = document.get("items") or document.get("nodes") or [document]
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise error(
            f"--nodes: {path}: is neither CSV nor a YAML list of nodes; fields are {', '.join(FIELDS)}"
        )
    yield from document


def _plain(row: dict[str, Any], number: int, path: str, error: type[ValueError]) -> Node:
    cells = {
        key: str(value).strip()
        for key, value in row.items()
        if value not in (None, "") and isinstance(key, str)
    }
    gpu = cells.get("gpu") or cells.get("product")
    driver = cells.get("driver") or cells.get("driver_version")
    capability = _capability(cells.get("compute_capability") or cells.get("computecapability"))
    if not gpu and not driver and not capability:
        raise error(
            f"--nodes: {path}: row {number} names neither gpu nor driver; fields are {', '.join(FIELDS)}"
        )
    gpus = (Gpu(product=gpu, compute_capability=capability),) if gpu or capability else ()
    name = cells.get("name") or cells.get("node") or ", ".join(text for text in (gpu, driver) if text)
    return name, DriverFacts(version=driver), gpus, NodeFacts(name=name, platform=cells.get("platform"))


def _capability(text: str | None) -> tuple[int, int] | None:
    major, _, minor = (text or "").partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() and (minor.isdigit() or not minor) else None


def _kubernetes(node: dict[str, Any]) -> Node:
    metadata, status = node.get("metadata") or {}, node.get("status") or {}
    facts = node_facts(
        str(metadata.get("name", "")),
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
        status.get("capacity") or {},
        status.get("allocatable") or {},
    )
    gpus = (Gpu(product=facts.product, compute_capability=facts.compute_capability),) if facts.product else ()
    return facts.name or "", DriverFacts(version=facts.driver_version), gpus, facts
