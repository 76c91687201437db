"""Reads lists of nodes: CSV, a YAML list, or the output of ``kubectl get nodes -o yaml`` (or ``-o json``)."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from gpuenv.api.fields import FieldError, Fields, kind
from gpuenv.assess.facts import DriverFacts, Gpu, NodeFacts
from gpuenv.assess.sources.node_labels import has_gpu_labels, node_facts
from gpuenv.cli.inputs.files import parsed
from gpuenv.cli.inputs.fleet.gpu_names import GpuNames
from gpuenv.cli.inputs.fleet.nvidia_smi_csv import nvidia_smi_rows
from gpuenv.cli.inputs.nodes import Node
from gpuenv.cli.inputs.versions import EXAMPLE_DRIVER, compute_capability, is_cuda, is_driver
from gpuenv.cli.shared.errors import BadInput
from gpuenv.files import yaml_data

FIELDS: Final = ("name", "gpu", "driver", "compute_capability", "platform")
_SPELLINGS: Final = {
    "node": "name", "node_name": "name", "hostname": "name", "host": "name",
    "gpus": "gpu", "product": "gpu", "gpu_name": "gpu", "gpu_product": "gpu", "model": "gpu",
    "driver_version": "driver", "nvidia_driver": "driver", "nvidia_driver_version": "driver",
    "computecapability": "compute_capability", "compute_cap": "compute_capability", "cc": "compute_capability",
}  # fmt: skip
"""Maps a column heading that people or ``nvidia-smi`` write to the name of this column in :data:`FIELDS`."""
_COUNT: Final = re.compile(r"(\d{1,3}) ?[x×*] ?(?=[A-Za-z])")
"""Matches the number of GPUs before a product name, as in ``8x NVIDIA H100``."""
_RESOURCES: Final = "nvidia.com/"
"""Beginning of the names of GPUs and MIG slices in the capacity of a node."""
MOST_GPUS: Final = 64
MAX_NODES: Final = 10_000
"""How many nodes a file may name. Kubernetes supports 5,000 in a cluster."""
MAX_BYTES: Final = 20_000_000
"""Size of a file of nodes in bytes: a thousand nodes as the API server describes them, which it does at length."""
MAX_COLUMNS: Final = 1_000
MAX_CELL: Final = 4_000
"""Longest value in a file of nodes, in characters."""


class NodeList(NamedTuple):
    """The nodes in a file. ``read`` and ``unread`` are the columns that were understood, and those that were not.

    Both are empty if the file has no columns: it describes Kubernetes nodes, or is the output of nvidia-smi. ``without_gpu``
    are the names of Kubernetes nodes that are left out, because they have no GPU. ``unread_lines`` are no lines of nvidia-smi.
    """

    nodes: list[Node]
    read: list[str]
    unread: list[str]
    without_gpu: list[str]
    unread_lines: list[str]


def parse_nodes(text: str, path: str, names: GpuNames) -> NodeList:
    """Return the nodes in the text of a file. Raises BadInput if there is no node, or if a row is invalid.

    ``path`` is the path of the file, for messages. ``names`` finds the GPUs.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    machines = nvidia_smi_rows(lines)
    rows = list(islice(_rows(text, lines, path) if machines is None else machines.rows, MAX_NODES + 1))
    if not rows:
        raise BadInput(f"--nodes: {path}: names no node; columns are {', '.join(FIELDS)}")
    if len(rows) > MAX_NODES:
        raise BadInput(f"--nodes: {path}: names more than {MAX_NODES:,} nodes; give a part of them")
    nodes: list[Node] = []
    without_gpu: list[str] = []
    for number, row in enumerate(rows, 1):
        where = f"--nodes: {path}: row {number}"
        node, has_gpu = (
            _from_kubernetes(row, where) if "metadata" in row else (_from_row(row, where, names), True)
        )
        if has_gpu:
            nodes.append(node)
        else:
            without_gpu.append(node.name)
    if not nodes:
        raise BadInput(f"--nodes: {path}: no node has a GPU (label nvidia.com/gpu.present, or its capacity)")
    if machines is not None or "metadata" in rows[0]:
        return NodeList(nodes, [], [], without_gpu, machines.unread if machines else [])
    given = [key.strip() for key in rows[0] if isinstance(key, str) and key.strip()]
    read = [key for key in given if _field(key) in FIELDS]
    return NodeList(nodes, read, [key for key in given if key not in read], without_gpu, [])


def _rows(text: str, lines: Sequence[str], path: str) -> Iterable[dict[str, Any]]:
    delimiter = _delimiter(lines[0]) if lines else ""
    if delimiter:
        return _csv_rows(lines, delimiter, path)
    document = parsed(yaml_data.parse, text, path, "--nodes")
    if isinstance(document, dict):
        document = document.get("items") or document.get("nodes") or [document]
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise BadInput(
            f"--nodes: {path}: is neither CSV nor a YAML list of nodes; fields are {', '.join(FIELDS)}"
        )
    return document


def _csv_rows(lines: Sequence[str], delimiter: str, path: str) -> Iterator[dict[str, Any]]:
    if lines[0].count(delimiter) >= MAX_COLUMNS:
        raise BadInput(f"--nodes: {path}: has more than {MAX_COLUMNS} columns; give a table of nodes")
    reader = csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True, delimiter=delimiter)
    try:
        yield from reader
    except csv.Error as error:
        raise BadInput(f"--nodes: {path}: is no CSV (line {reader.line_num}: {error})") from None


def _delimiter(heading: str) -> str:
    """Return the character that separates the columns of a CSV file, or "" if the file is no CSV.

    ``heading`` is the first line of the file. It may name a single column, if the name of that column is known.
    """
    if heading.lstrip().startswith(("-", "{", "[")) or heading.rstrip().endswith(":"):
        return ""
    found = next((char for char in (",", ";", "\t") if char in heading), "")
    return found or ("," if _field(heading) in FIELDS else "")


def _field(heading: str) -> str:
    """Return the name in :data:`FIELDS` for a column heading: ``driver`` for ``Driver version``.

    An unknown heading is returned in lower case, with underscores between its words.
    """
    name = "_".join(heading.strip().strip("\"'").lower().replace("-", " ").replace("_", " ").split())
    return _SPELLINGS.get(name, name)


def _from_row(row: dict[str, Any], where: str, names: GpuNames) -> Node:
    cells = {
        _field(key): value
        for key, value in row.items()
        if value not in (None, "", []) and isinstance(key, str)
    }
    for field in FIELDS:
        _require_words(cells.get(field), f"{where}: {field}", is_list=field == "gpu")
    words = {key: text for key in FIELDS if key in cells and (text := str(cells[key]).strip())}
    products, driver = _products(cells.get("gpu")), words.get("driver")
    capability = compute_capability(words.get("compute_capability", ""))
    if not products and not driver and not capability:
        raise BadInput(f"{where} names neither gpu nor driver; fields are {', '.join(FIELDS)}")
    if words.get("compute_capability") and capability is None:
        raise BadInput(f"{where}: {words['compute_capability'][:60]!r} is no compute capability such as 8.0")
    # Inventories often have the CUDA version that nvidia-smi prints in this column. Such a row must not make the whole
    # file invalid. The assessment will say that the driver is not known.
    if driver and not is_driver(driver) and not is_cuda(driver):
        raise BadInput(f"{where}: {driver[:60]!r} is no driver version such as {EXAMPLE_DRIVER}")
    gpus = tuple(
        names.gpu(product, index, capability) if product else Gpu(index=index, compute_capability=capability)
        for index, product in enumerate(products or ([None] if capability else []))
    )
    name = words.get("name") or ", ".join(text for text in (*dict.fromkeys(products), driver) if text)
    facts = NodeFacts(name=name, platform=words.get("platform"))
    return Node(name, DriverFacts(version=driver), gpus, facts)


def _require_words(cell: object, where: str, *, is_list: bool) -> None:
    """Raise BadInput unless a cell is empty, a text or a number that is not too long; or, if it may be, a list of them."""
    for part in cell if is_list and isinstance(cell, list) else [cell]:
        if isinstance(part, dict | list):
            raise BadInput(f"{where} is {kind(part)}; write a text")
        if len(str(part)) > MAX_CELL:
            raise BadInput(f"{where} is longer than {MAX_CELL:,} characters; write it shorter")


def _products(cell: object) -> list[str]:
    """Return the GPU product names in a cell, one for each GPU.

    A cell may hold one product, a YAML list, several with separators (``NVIDIA L4; Tesla P4``), or a count
    (``8x NVIDIA H100``).
    """
    if cell is None:
        return []
    parts = cell if isinstance(cell, list) else re.split(r"[;,|\n]", str(cell))
    found: list[str] = []
    for part in parts[:MOST_GPUS]:
        text = str(part).strip()
        count = _COUNT.match(text)
        found += [text[count.end() :] if count else text] * (int(count[1]) if count else 1)
    return [text for text in found if text][:MOST_GPUS]


def _from_kubernetes(node: dict[str, Any], where: str) -> tuple[Node, bool]:
    """Return the facts in a Kubernetes Node object, and whether it may have a GPU.

    GPU and driver are known only if its labels contain them. A node has no GPU if it tells its capacity, and neither that
    nor a label says that it has one.
    """
    fields = Fields("", node)
    try:
        metadata = fields.child("metadata")
        name, labels = metadata.text("name") or "", metadata.text_map("labels")
        capacity = fields.child("status").text_map("capacity")
    except FieldError as error:
        raise BadInput(f"{where}: {error}") from None
    facts = node_facts(name, labels, capacity)
    gpus = (Gpu(product=facts.product, compute_capability=facts.compute_capability),) if facts.product else ()
    offered = any(name.startswith(_RESOURCES) and count != "0" for name, count in capacity.items())
    has_gpu = not capacity or offered or has_gpu_labels(labels)
    return Node(facts.name or "", DriverFacts(version=facts.driver_version), gpus, facts), has_gpu
