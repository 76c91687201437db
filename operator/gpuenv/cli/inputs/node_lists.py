"""Nodes from a file: CSV, a YAML list, or what ``kubectl get nodes -o yaml`` (or ``json``) prints."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import yaml

from gpuenv.assess.facts import DriverFacts, Gpu, NodeFacts
from gpuenv.assess.sources.platforms import node_facts
from gpuenv.cli.inputs.values import EXAMPLE_DRIVER, is_cuda, is_driver

Node = tuple[str, DriverFacts, tuple[Gpu, ...], NodeFacts]
FIELDS = ("name", "gpu", "driver", "compute_capability", "platform")
_SPELLINGS = {
    "node": "name", "node_name": "name", "hostname": "name", "host": "name",
    "gpus": "gpu", "product": "gpu", "gpu_name": "gpu", "gpu_product": "gpu", "model": "gpu",
    "driver_version": "driver", "nvidia_driver": "driver", "nvidia_driver_version": "driver",
    "computecapability": "compute_capability", "compute_cap": "compute_capability", "cc": "compute_capability",
}  # fmt: skip
"""How people and tools (``nvidia-smi --query-gpu``) name the same columns."""
_COUNT = re.compile(r"(\d{1,3}) ?[x×*] ?(?=[A-Za-z])")
MOST_GPUS = 64


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
    text = text.lstrip("\ufeff")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    delimiter = _delimiter(first)
    if delimiter:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        reader = csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True, delimiter=delimiter)
        yield from reader
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


def _delimiter(first: str) -> str:
    """What separates the columns below a heading; "" for what is no CSV. A heading of one known column is one, too."""
    if first.lstrip().startswith(("-", "{", "[")) or first.rstrip().endswith(":"):
        return ""
    found = next((char for char in (",", ";", "\t") if char in first), "")
    return found or ("," if _field(first) in FIELDS else "")


def _field(heading: str) -> str:
    """The name of a column, however it is spelled: ``Driver version`` is driver."""
    name = "_".join(heading.strip().strip("\"'").lower().replace("-", " ").replace("_", " ").split())
    return _SPELLINGS.get(name, name)


def _plain(row: dict[str, Any], number: int, path: str, error: type[ValueError]) -> Node:
    cells = {
        _field(key): value
        for key, value in row.items()
        if value not in (None, "", []) and isinstance(key, str)
    }
    words = {key: str(value).strip() for key, value in cells.items() if str(value).strip()}
    products, driver = _products(cells.get("gpu")), words.get("driver")
    capability = _capability(words.get("compute_capability"))
    where = f"--nodes: {path}: row {number}"
    if not products and not driver and not capability:
        raise error(f"{where} names neither gpu nor driver; fields are {', '.join(FIELDS)}")
    if words.get("compute_capability") and capability is None:
        raise error(f"{where}: {words['compute_capability'][:60]!r} is no compute capability such as 8.0")
    # A CUDA version in this column is no driver, and no mistake worth refusing a fleet for: the driver is not known.
    if driver and not is_driver(driver) and not is_cuda(driver):
        raise error(f"{where}: {driver[:60]!r} is no driver version such as {EXAMPLE_DRIVER}")
    gpus = tuple(
        Gpu(index=index, product=product, compute_capability=capability)
        for index, product in enumerate(products or ([None] if capability else []))
    )
    name = words.get("name") or ", ".join(text for text in (*dict.fromkeys(products), driver) if text)
    return name, DriverFacts(version=driver), gpus, NodeFacts(name=name, platform=words.get("platform"))


def _products(value: object) -> list[str]:
    """The GPUs of a cell: one, a list, several with separators (``NVIDIA L4; Tesla P4``), counted (``8x NVIDIA H100``)."""
    parts = (
        value if isinstance(value, list) else re.split(r"[;,|\n]", str(value)) if value is not None else []
    )
    found: list[str] = []
    for part in parts[:MOST_GPUS]:
        text = str(part).strip()
        count = _COUNT.match(text)
        found += [text[count.end() :] if count else text] * (int(count[1]) if count else 1)
    return [text for text in found if text][:MOST_GPUS]


def _capability(text: str | None) -> tuple[int, int] | None:
    major, _, minor = (text or "").partition(".")
    good = major.isascii() and major.isdigit() and len(major) < 3 and minor.isascii() and len(minor) < 2
    return (int(major), int(minor or 0)) if good and (minor.isdigit() or not minor) else None


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
