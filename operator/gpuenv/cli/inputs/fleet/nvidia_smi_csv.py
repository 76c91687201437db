"""Reads what ``nvidia-smi --query-gpu=name,driver_version --format=csv`` prints, as it comes.

The heading and the units may be left out (``noheader``, ``nounits``), other columns may stand between, and tools that ask
many machines (pdsh, clush, Ansible) may write the name of the machine before each line, as in ``gpu-01: NVIDIA L4, 535.54``.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

_HOST: Final = re.compile(r"([A-Za-z0-9][\w.-]{0,252}): {1,8}(?=[^,]{1,200},)", re.ASCII)
"""Matches the name of a machine before a line."""
_PROPERTY: Final = re.compile(r"([a-z][a-z0-9_.]{0,80})(?: \[[A-Za-z%/]{1,16}\])?", re.ASCII)
"""Matches the heading of a column: the property of a GPU, and its unit (``memory.total [MiB]``)."""
_COLUMNS: Final = {
    "name": "gpu",
    "gpu_name": "gpu",
    "driver_version": "driver",
    "compute_cap": "compute_capability",
}
_OWN: Final = frozenset(
    {"index", "uuid", "gpu_uuid", "gpu_name", "gpu_bus_id", "serial", "count", "compute_cap", "vbios_version"}
)
"""Properties that only nvidia-smi names so. A file with ``name`` and ``driver_version`` may be a person's own."""
_MAKER: Final = re.compile(
    r"(NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN|Orin|Xavier) ?", re.ASCII | re.IGNORECASE
)
_DRIVER: Final = re.compile(r"[1-9]\d{2}\.\d{1,3}(\.\d{1,2})?", re.ASCII)
_MOST_GPUS: Final = 16
"""How many GPUs a machine has at most. Without a number for each GPU, only this and the driver tell machines apart."""
_MESSAGE: Final = re.compile(r"[^,]{0,400}: ?[^,]{0,400}")
"""Matches a message of a shell or of ssh in place of a machine's line (``gpu-04: bash: nvidia-smi: command not found``)."""
Row = dict[str, Any]


class Machines(NamedTuple):
    """The machines in the output of nvidia-smi, and the lines that are none, such as messages of machines that failed."""

    rows: list[Row]
    unread: list[str]


def nvidia_smi_rows(lines: Sequence[str]) -> Machines | None:
    """Return the machines in the output of nvidia-smi, each with its name, its GPUs and its driver.

    Return None if the lines are something else.
    """
    start = next((number for number, line in enumerate(lines) if not _MESSAGE.fullmatch(line.strip())), 0)
    cells = [_cells(line) for line in lines]
    if not cells:
        return None
    columns = _heading(cells[start:]) or _without_heading(cells[start][1])
    if columns is None:
        return None
    rows = [row for row in cells if not _is_heading(row[1]) and len(row[1]) >= len(columns)]
    unread = [line.strip() for line, row in zip(lines, cells, strict=True) if len(row[1]) < len(columns)]
    machines = list(_machines(rows, columns))
    for number, machine in enumerate(machines, 1):
        machine["name"] = machine["name"] or (f"machine {number}" if len(machines) > 1 else "this machine")
    return Machines(machines, unread)


def _cells(line: str) -> tuple[str, list[str]]:
    """Return the name of the machine before a line, or "", and the cells of the line."""
    host = _HOST.match(line)
    text = line[host.end() :] if host else line
    return host[1] if host else "", [cell.strip() for cell in text.split(",")]


def _is_heading(cells: Sequence[str]) -> bool:
    return all(_PROPERTY.fullmatch(cell) for cell in cells) and "driver_version" in cells


def _heading(cells: Sequence[tuple[str, list[str]]]) -> list[str] | None:
    """Return the names of the columns, or None if the first line is no heading of nvidia-smi."""
    first = cells[0][1]
    if not _is_heading(first):
        return None
    names = [cell.partition(" [")[0] for cell in first]
    if "name" not in names and "gpu_name" not in names:
        return None
    if not _OWN & set(names) and not any("." in name for name in names):
        place = names.index("name")
        products = [row[place] for _, row in cells[1:] if len(row) > place and not _is_heading(row)]
        if not products or not all(_MAKER.match(text) or " " in text for text in products):
            return None  # the names are those of nodes: they have no blanks
    return [_COLUMNS.get(name, name) for name in names]


def _without_heading(cells: Sequence[str]) -> list[str] | None:
    """Return the names of the columns by the values in the first line, or None if it has not one GPU and one driver."""
    names = ["driver" if _DRIVER.fullmatch(cell) else "gpu" if _MAKER.match(cell) else "" for cell in cells]
    if names.count("gpu") != 1 or names.count("driver") != 1:
        return None
    if cells[0].isascii() and cells[0].isdigit():
        names[0] = "index"
    return names


def _machines(rows: Sequence[tuple[str, list[str]]], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the machines: a named one has all lines with its name, another one has lines that follow each other."""
    named: dict[str, Row] = {}
    current: Row | None = None
    last = -1
    for host, cells in rows:
        values = {
            name: cell
            for name, cell in zip(columns, cells, strict=False)
            if cell and not cell.startswith("[")
        }
        index = (
            int(values["index"]) if values.get("index", "").isdecimal() and len(values["index"]) < 6 else None
        )
        driver, gpu = values.get("driver"), values.get("gpu")
        full = current is not None and len(current["gpu"]) >= _MOST_GPUS
        if host:
            current = named.get(host)
            another = current is None
        else:
            another = (
                current is None
                or full
                or current["driver"] != driver
                or (index is not None and index <= last)
            )
        if another or current is None:
            current = {
                "name": host,
                "gpu": [],
                "driver": driver,
                "compute_capability": values.get("compute_capability"),
            }
            named[host or f" {len(named)}"] = current
        last = index if index is not None else -1
        current["gpu"] += [gpu] if gpu else []
    yield from named.values()
