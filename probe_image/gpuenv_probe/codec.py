"""Encodes probe reports as text that fits into a container's termination message, and decodes such text.

The format is ``gpuenv-report/1:<payload>.`` The payload is JSON without field names, compressed with zlib and encoded
in base85. Objects with fixed fields become lists of their values, in the order of ``REPORT``. Lists of such objects
become one list per field, which compresses well, because the rows of several GPUs are alike. The closing dot does not
occur in base85, so its absence shows that a message was cut off. Text after the dot is ignored: it may be the rest of a
longer, older report in the same file.

The module reads no clock and no files. The operator decodes text that an untrusted image wrote, so all sizes are
limited. Kubernetes keeps 4096 bytes of a container's message, and 12 KiB over all containers of a pod
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
from typing import Any, NoReturn

from gpuenv_probe.omissions import OMISSIONS, Report

SCHEMA = 1
LIMIT = 3000
"""The largest size of an encoded report in bytes, unless the caller gives another limit."""
MAX_JSON = 32768
"""The largest size in bytes of the JSON in a report before it is compressed. A report of 16 GPUs has about 20,000."""

_PREFIX = "gpuenv-report/"
_END = "."
_HEAD = re.compile(r"gpuenv-report/([0-9]{1,6}):")


class CodecError(ValueError):
    """The text is not a probe report that this version of gpuenv can read.

    ``kind`` is the cause: ``empty``, ``truncated``, ``notAReport``, ``schemaVersion`` or ``tooLarge``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Record:
    """The shape of an object with fixed fields.

    Such an object is encoded as the list of its values, in the order of ``fields``.
    """

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


class _Table:
    """The shape of a list of objects, called rows.

    Such a list is encoded as one list per field, called a column. Every row must have a value for the first of
    ``fields``, so that the first column gives the number of rows.
    """

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


PLAIN = "plain"
"""The shape of a JSON value that is encoded unchanged, whatever its type."""
COLUMNS = "columns"
"""The shape of a field whose value in each row of a list is an object, with nearly the same keys in all rows.

The field is encoded as one object for all rows: each key has the list of its values, one value per row.
"""

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
        rootReadOnly=PLAIN,
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
        kernelModule=_Record(version=PLAIN, open=PLAIN, gpuFirmware=PLAIN),
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
        benchmark=PLAIN,
        gpu=PLAIN,
        dtype=PLAIN,
        unit=PLAIN,
        median=PLAIN,
        p20=PLAIN,
        p80=PLAIN,
        samples=PLAIN,
        detail=PLAIN,
        notMeasured=PLAIN,
    ),
)
"""The shape of a probe report: all its fields, in the order in which they are encoded.

New fields go at the end of their object. Any other change needs a new number in ``SCHEMA``.
"""


def normalise(report: Report) -> Report:
    """Return ``report`` without nulls, NaN and infinity. Characters that UTF-8 cannot encode are replaced.

    A null is left out, because null and absent both mean *not known*. An empty ``health`` of a GPU is left out too.
    """
    cleaned = _clean(report)
    assert isinstance(cleaned, dict)
    for gpu in cleaned.get("gpus", ()):
        if not gpu.get("health", True):
            del gpu["health"]
    return cleaned


def encode(report: Report, limit: int = LIMIT) -> str:
    """Return ``report`` as text of at most ``limit`` bytes; ``limit`` must be at least 200.

    If the report is too long, or its JSON is longer than ``MAX_JSON``, parts of it are left out in the order of
    ``OMISSIONS``, and the encoded report names these parts in its field ``omitted``. Raises ValueError for a field that
    the schema does not have, which is a bug of the caller.
    """
    current = normalise({"schema": SCHEMA, **report})
    text, size = _encode_text(current)
    for name, omit in OMISSIONS:
        if len(text) <= limit and size <= MAX_JSON:
            break
        smaller = copy.deepcopy(current)
        omit(smaller)
        if smaller == current:
            continue
        smaller["omitted"] = [*smaller.get("omitted", ()), name]
        current = smaller
        text, size = _encode_text(current)
    return text


def decode(text: str, max_bytes: int = MAX_JSON) -> Report:
    """Return the probe report that is encoded in ``text``. Raises CodecError if there is none that can be read.

    A report with more than ``max_bytes`` bytes of JSON is refused. The types of single fields are not checked: the
    caller has to do that.
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
        raise CodecError("schemaVersion", f"the report calls itself schema {_shown(report.get('schema'))}")
    return report


def _encode_text(report: Report) -> tuple[str, int]:
    """Return the encoded report, and the size of its JSON in bytes."""
    document = json.dumps(
        _pack(REPORT, report, "report"), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode("utf-8")
    payload = base64.b85encode(zlib.compress(document, 9)).decode("ascii")
    return f"{_PREFIX}{SCHEMA}:{payload}{_END}", len(document)


def _shown(value: Any) -> str:
    """Return a short number for a message. Of anything else, which may be endless or deep, return only the type."""
    return str(value) if isinstance(value, int) and abs(value) < 10**9 else f"of type {type(value).__name__}"


def _inflate(payload: str, max_bytes: int) -> bytes:
    """Return the bytes of JSON that ``payload`` contains in base85 and compressed.

    Raises CodecError if the payload is damaged, or if the JSON is larger than ``max_bytes``.
    """
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
    """Return ``value`` without nulls, NaN and infinity in its objects, and with texts that UTF-8 can encode."""
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
    """Return ``value`` in the form in which it is encoded, which ``shape`` determines.

    An object with fixed fields becomes the list of its values, and a list of rows becomes a list of columns. ``where``
    is the path of ``value`` in the report, for error messages. Raises ValueError for a field that ``shape`` lacks.
    """
    if value is None or shape is PLAIN:
        return value
    if isinstance(shape, _Record):
        _refuse_unknown(shape.fields, value, where)
        items = [_pack(inner, value.get(name), f"{where}.{name}") for name, inner in shape.fields.items()]
        while items and items[-1] is None:
            items.pop()
        return items
    return [
        _pack_column(inner, [row.get(name) for row in _checked_rows(shape, value, where)], f"{where}.{name}")
        for name, inner in shape.fields.items()
    ]


def _pack_column(shape: Any, cells: list[Any], where: str) -> Any:
    """Return one column in the form in which it is encoded, or None if none of its cells has a value.

    ``cells`` are the values of one field in all rows, None where a row lacks the field. A column without any cells is
    the exception: it becomes an empty list, because the first column must show that the list has no rows.
    """
    if any(cell is not None for cell in cells) or not cells:
        if shape is COLUMNS:
            keys = sorted({key for cell in cells if cell for key in cell})
            return {key: [(cell or {}).get(key) for cell in cells] for key in keys}
        return [_pack(shape, cell, where) for cell in cells]
    return None


def _checked_rows(shape: _Table, rows: list[Report], where: str) -> list[Report]:
    """Return ``rows`` unchanged, or raise ValueError if a row has an unknown field or lacks the first field.

    ``where`` is the path of the rows in the report, for error messages.
    """
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
    """Return the value from which ``_pack`` made ``value``. Raises ValueError if ``value`` does not fit ``shape``."""
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
                for row, cell in _pair(rows, cells):
                    row.setdefault(name, {})[key] = cell
        else:
            for row, cell in _pair(rows, column):
                row[name] = _unpack(inner, cell)
    return rows


def _pair(rows: list[Report], cells: Any) -> list[tuple[Report, Any]]:
    """Return each row together with its value in one column, without the rows whose value is null.

    ``cells`` is the decoded column. Raises ValueError if it is not a list with exactly one value per row.
    """
    if not isinstance(cells, list) or len(cells) != len(rows):
        raise ValueError("the columns of a table differ in length")
    return [(row, cell) for row, cell in zip(rows, cells) if cell is not None]
