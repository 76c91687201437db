"""Probe reports as short printable text, small enough for a container's termination message.

``gpuenv-report/1:<payload>.`` - the payload is base85 of zlib of JSON, the JSON without its field names:
records are lists in the order of ``REPORT``, and tables are columns, because eight GPUs repeat each other.
The closing dot (a character base85 does not use) tells a message that was cut off from one that is damaged;
what follows it is the rest of a longer report that was being overwritten, and is ignored.

Pure: no clock, no files. The operator decodes what an untrusted image wrote, so everything is bounded.
Kubernetes keeps 4096 bytes of a container's message and 12 KiB over all containers of a pod
(https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/).
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import math
import re
import zlib
from typing import Any, Callable, Dict, NoReturn

SCHEMA = 1
LIMIT = 3000
"""Bytes one encoded report may take by default."""

_PREFIX = "gpuenv-report/"
_END = "."
_HEAD = re.compile(r"gpuenv-report/([0-9]{1,6}):")

Report = Dict[str, Any]


class CodecError(ValueError):
    """A text that is no readable report.

    ``kind``: ``empty``, ``truncated``, ``notAReport``, ``schemaVersion`` or ``tooLarge``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Record:
    """An object with known fields; on the wire the list of their values, in this order."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


class _Table:
    """A list of records; on the wire one column a field. The first is required, so the length is always known."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


PLAIN = "plain"
"""Any JSON value, as it is."""
COLUMNS = "columns"
"""Inside a table: an object whose keys differ little between rows; on the wire one column a key."""

_FAILURE = _Record(layer=PLAIN, code=PLAIN, name=PLAIN, message=PLAIN)

REPORT = _Record(
    schema=PLAIN,
    stage=PLAIN,
    run=PLAIN,
    complete=PLAIN,
    ended=PLAIN,
    omitted=PLAIN,
    container=_Record(
        python=PLAIN,
        executable=PLAIN,
        glibc=PLAIN,
        machine=PLAIN,
        uid=PLAIN,
        memoryLimitMiB=PLAIN,
        shmMiB=PLAIN,
        writable=PLAIN,
        env=PLAIN,
        compiler=PLAIN,
        triton=PLAIN,
        ptxas=PLAIN,
        notes=PLAIN,
        cpuLimit=PLAIN,
        pidsLimit=PLAIN,
    ),
    driver=_Record(
        version=PLAIN,
        cudaVersion=PLAIN,
        nvmlCudaVersion=PLAIN,
        cuInit=PLAIN,
        deviceCount=PLAIN,
        libcuda=_Record(path=PLAIN, origin=PLAIN, error=PLAIN),
        nvml=_FAILURE,
        deviceNodes=_Table(path=PLAIN, errno=PLAIN),
        cuda=_FAILURE,
    ),
    gpus=_Table(
        index=PLAIN,
        product=PLAIN,
        uuid=PLAIN,
        computeCapability=PLAIN,
        memoryMiB=PLAIN,
        memoryFreeMiB=PLAIN,
        mig=PLAIN,
        health=COLUMNS,
    ),
    torch=_Record(
        version=PLAIN,
        gitVersion=PLAIN,
        cuda=PLAIN,
        cpuBuild=PLAIN,
        cudnn=PLAIN,
        cudnnEnabled=PLAIN,
        nccl=PLAIN,
        archFlags=PLAIN,
        available=PLAIN,
        missing=PLAIN,
        importError=_FAILURE,
        initError=_FAILURE,
        warnings=PLAIN,
    ),
    steps=_Table(name=PLAIN, gpu=PLAIN, dtype=PLAIN, status=PLAIN, error=_FAILURE, detail=PLAIN),
    commands=_Table(name=PLAIN, exitCode=PLAIN, signal=PLAIN, timedOut=PLAIN, tail=PLAIN),
    benchmarks=_Table(
        kernel=PLAIN,
        gpu=PLAIN,
        dtype=PLAIN,
        unit=PLAIN,
        median=PLAIN,
        p20=PLAIN,
        p80=PLAIN,
        samples=PLAIN,
        detail=PLAIN,
    ),
)
"""The wire order of every field: append only, or count ``SCHEMA`` up."""


def normalise(report: Report) -> Report:
    """``report`` without nulls (absent and null both mean *not known*), NaN, and text that UTF-8 cannot hold."""
    cleaned = _clean(report)
    assert isinstance(cleaned, dict)
    for gpu in cleaned.get("gpus", ()):
        if not gpu.get("health", True):
            del gpu["health"]
    return cleaned


def encode(report: Report, limit: int = LIMIT) -> str:
    """``report`` as text of at most ``limit`` bytes (at least 200).

    What does not fit is left out in the order of ``OMISSIONS`` and named in ``omitted``.
    Raises ValueError for a field the schema does not know: that is a mistake of the caller.
    """
    current = normalise({"schema": SCHEMA, **report})
    text = _encode_text(current)
    for name, omit in OMISSIONS:
        if len(text) <= limit:
            break
        smaller = copy.deepcopy(current)
        omit(smaller)
        if smaller == current:
            continue
        smaller["omitted"] = [*smaller.get("omitted", ()), name]
        current = smaller
        text = _encode_text(current)
    return text


def decode(text: str, max_bytes: int = 65536) -> Report:
    """The report in ``text``, decompressed to at most ``max_bytes``.

    Raises CodecError with the kind of trouble. Types of single fields are not checked: the reader does that.
    """
    text = text.strip()
    if not text:
        raise CodecError("empty", "the termination message is empty")
    head = _HEAD.match(text)
    if head is None:
        if len(text) < len(_PREFIX) + 7 and (
            _PREFIX.startswith(text) or re.fullmatch(_PREFIX + "[0-9]*", text)
        ):
            raise CodecError("truncated", "the report is cut off in its first characters")
        raise CodecError("notAReport", "the termination message is no gpuenv report")
    if int(head.group(1)) != SCHEMA:
        raise CodecError(
            "schemaVersion", f"the report has schema {head.group(1)}, but only {SCHEMA} can be read here"
        )
    end = text.find(_END, head.end())
    if end < 0:
        raise CodecError("truncated", f"the report is cut off after {len(text)} characters")
    document = _parse(_inflate(text[head.end() : end], max_bytes))
    if document is None:
        raise CodecError("notAReport", "the report is null")
    try:
        report: Report = _unpack(REPORT, document)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise CodecError("notAReport", f"the report's layout is damaged: {error}") from None
    if report.get("schema") != SCHEMA:
        raise CodecError("schemaVersion", f"the report calls itself schema {report.get('schema')!r:.40}")
    return report


def _encode_text(report: Report) -> str:
    document = json.dumps(
        _pack(REPORT, report, "report"), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    payload = base64.b85encode(zlib.compress(document.encode("utf-8"), 9)).decode("ascii")
    return f"{_PREFIX}{SCHEMA}:{payload}{_END}"


def _inflate(payload: str, max_bytes: int) -> bytes:
    try:
        packed = base64.b85decode(payload)
        inflater = zlib.decompressobj()
        data = inflater.decompress(packed, max_bytes + 1)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise CodecError("notAReport", f"the report is damaged: {error}") from None
    if len(data) > max_bytes:
        raise CodecError("tooLarge", f"the report is larger than {max_bytes} bytes once decompressed")
    if not inflater.eof or inflater.unused_data:
        raise CodecError(
            "notAReport", "the report is damaged: its compressed data does not end where it should"
        )
    return data


def _parse(data: bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CodecError("notAReport", f"the report holds no JSON: {error}") from None


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        cleaned = {str(key): _clean(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _pack(shape: Any, value: Any, where: str) -> Any:
    if value is None or shape is PLAIN:
        return value
    if isinstance(shape, _Record):
        _refuse_unknown(shape.fields, value, where)
        items = [_pack(inner, value.get(name), f"{where}.{name}") for name, inner in shape.fields.items()]
        while items and items[-1] is None:
            items.pop()
        return items
    return [
        _pack_column(inner, [row.get(name) for row in _rows(shape, value, where)], f"{where}.{name}")
        for name, inner in shape.fields.items()
    ]


def _pack_column(shape: Any, cells: list[Any], where: str) -> Any:
    if any(cell is not None for cell in cells) or not cells:
        if shape is COLUMNS:
            keys = sorted({key for cell in cells if cell for key in cell})
            return {key: [(cell or {}).get(key) for cell in cells] for key in keys}
        return [_pack(shape, cell, where) for cell in cells]
    return None


def _rows(shape: _Table, rows: list[Report], where: str) -> list[Report]:
    first = next(iter(shape.fields))
    for row in rows:
        _refuse_unknown(shape.fields, row, where)
        if row.get(first) is None:
            raise ValueError(f"{where}: every row needs {first!r}")
    return rows


def _refuse_unknown(fields: dict[str, Any], value: Report, where: str) -> None:
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ValueError(f"{where} has no field {unknown[0]!r}")


def _unpack(shape: Any, value: Any) -> Any:
    if value is None or shape is PLAIN:
        return value
    if not isinstance(value, list) or len(value) > len(shape.fields):
        raise ValueError("a record is no list of its fields")
    if isinstance(shape, _Record):
        named = zip(shape.fields.items(), value)
        return {name: _unpack(inner, item) for (name, inner), item in named if item is not None}
    return _unpack_table(shape, value)


def _unpack_table(shape: _Table, columns: list[Any]) -> list[Report]:
    if not columns or not isinstance(columns[0], list):
        raise ValueError("a table lacks its first column")
    rows: list[Report] = [{} for _ in columns[0]]
    for (name, inner), column in zip(shape.fields.items(), columns):
        if column is None:
            continue
        if inner is COLUMNS:
            for key, cells in column.items():
                for row, cell in _match(rows, cells):
                    row.setdefault(name, {})[key] = cell
        else:
            for row, cell in _match(rows, column):
                row[name] = _unpack(inner, cell)
    return rows


def _match(rows: list[Report], cells: Any) -> list[tuple[Report, Any]]:
    if not isinstance(cells, list) or len(cells) != len(rows):
        raise ValueError("the columns of a table differ in length")
    return [(row, cell) for row, cell in zip(rows, cells) if cell is not None]


def _cut_texts(value: Any, length: int) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _cut_texts(item, length)
    elif isinstance(value, list):
        value[:] = [_cut_texts(item, length) for item in value]
    elif isinstance(value, str) and len(value) > length:
        return value[: length - 1] + "…"
    return value


def _cut(length: int) -> Callable[[Report], None]:
    def cut(report: Report) -> None:
        _cut_texts(report, length)

    return cut


def _drop(*path: str) -> Callable[[Report], None]:
    """An omission: removes the field at ``path``; a table on the way means in each of its rows."""

    def drop(report: Report) -> None:
        places: list[Any] = [report]
        for name in path[:-1]:
            found = [place[name] for place in places if isinstance(place.get(name), (dict, list))]
            places = [row for item in found for row in (item if isinstance(item, list) else [item])]
        for place in places:
            place.pop(path[-1], None)

    return drop


def _drop_spread(report: Report) -> None:
    for row in report.get("benchmarks", ()):
        for name in ("p20", "p80", "samples"):
            row.pop(name, None)


def _drop_passed(report: Report) -> None:
    if "steps" in report:
        report["steps"] = [step for step in report["steps"] if step.get("status") != "Pass"]


def _drop_all_but_name(report: Report) -> None:
    kept: Report = {name: report[name] for name in ("schema", "stage", "run") if name in report}
    report.clear()
    report.update(kept, complete=False, ended="the report does not fit")


OMISSIONS: tuple[tuple[str, Callable[[Report], None]], ...] = (
    ("texts over 300 characters", _cut(300)),
    ("benchmarks.detail", _drop("benchmarks", "detail")),
    ("gpus.health.unavailable", _drop("gpus", "health", "unavailable")),
    ("texts over 120 characters", _cut(120)),
    ("commands.tail", _drop("commands", "tail")),
    ("container.env", _drop("container", "env")),
    ("steps.detail", _drop("steps", "detail")),
    ("torch.warnings", _drop("torch", "warnings")),
    ("benchmarks spread", _drop_spread),
    ("container.notes", _drop("container", "notes")),
    ("gpus.health", _drop("gpus", "health")),
    ("benchmarks", _drop("benchmarks")),
    ("steps that passed", _drop_passed),
    ("texts over 60 characters", _cut(60)),
    ("container", _drop("container")),
    ("commands", _drop("commands")),
    ("gpus", _drop("gpus")),
    ("steps.error.message", _drop("steps", "error", "message")),
    ("everything", _drop_all_but_name),
)
"""What is left out of a report that is too long, in this order: from what is nice to know to what decides."""
