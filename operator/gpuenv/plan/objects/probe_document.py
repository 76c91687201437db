"""The two probe reports of one run as one document: what a report's status stores and is assessed by.

The image wrote it, so it is cut down to what JSON and the API server take without changing it: no nulls, no
NaN, no lone surrogates, no endless lists. Reading back what was written then gives the same document.
"""

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final

from gpuenv.plan.objects.tolerant import mapping, mappings, text

Document = dict[str, Any]

MAX_DEPTH: Final = 6
MAX_TEXT: Final = 500
MAX_ENTRIES: Final = 1024
MAX_NOTES: Final = 64
_SECTIONS: Final = ("container", "driver", "torch")
_ROWS: Final = ("gpus", "steps", "commands", "benchmarks")
_STAGES: Final = ("facts", "kernels")
_PLATFORMS: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_MAX_INTEGER: Final = 2**53


def join(facts: Mapping[str, Any] | None, kernels: Mapping[str, Any] | None) -> Document:
    """One document of what both stages reported; the later stage's values win."""
    reports = [report for report in (facts, kernels) if report is not None]
    known: Document = {}
    for name in _SECTIONS:
        merged: Document = {}
        for report in reports:
            merged |= _clean_mapping(mapping(report, name))
        known[name] = merged
    known["stages"] = [
        stage
        for stage, report in zip(_STAGES, (facts, kernels), strict=True)
        if report is not None and report.get("stage") == stage and report.get("complete") is True
    ]
    ended = [cleaned for report in reports if (cleaned := _clean_text(text(report.get("ended"))))]
    known["ended"] = "; ".join(ended)
    known["omitted"] = [word[:256] for report in reports for word in _words(report.get("omitted"))][
        :MAX_NOTES
    ]
    document: Document = {"facts": {key: value for key, value in known.items() if value}}
    document["gpus"] = _gpus(reports)
    for name in _ROWS[1:]:
        document[name] = [_clean_mapping(row) for report in reports for row in mappings(report.get(name))]
    return {
        key: value[:MAX_ENTRIES] if isinstance(value, list) else value
        for key, value in document.items()
        if value
    }


def split(document: Mapping[str, Any]) -> tuple[Document, Document]:
    """The document as the two reports that an assessment reads."""
    known = mapping(document, "facts")
    stages = known.get("stages")
    complete = stages if isinstance(stages, list) else []
    first: Document = {"stage": "facts", "complete": "facts" in complete, "gpus": document.get("gpus")}
    first |= {name: known.get(name) for name in (*_SECTIONS, "ended", "omitted")}
    second: Document = {"stage": "kernels", "complete": "kernels" in complete}
    return first, second | {name: document.get(name) for name in _ROWS[1:]}


def pick(status: Mapping[str, Any]) -> Document:
    """The document inside a report's status."""
    return {key: status[key] for key in ("facts", *_ROWS) if status.get(key)}


def pack(document: Document) -> bytes:
    """Small enough that 50,000 of them fit in memory; the same bytes for the same content."""
    if not document:
        return b""
    return zlib.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def unpack(packed: bytes) -> Document:
    """The inverse of :func:`pack`; for bytes of our own only."""
    document: Document = json.loads(zlib.decompress(packed)) if packed else {}
    return document


def figures(document: Mapping[str, Any]) -> tuple[tuple[str, str, str, float], ...]:
    """(kernel, dtype, product, median) of each benchmark; the lowest where GPUs of one product differ."""
    products = {_index(gpu.get("index")): text(gpu.get("product")) for gpu in mappings(document.get("gpus"))}
    lowest: dict[tuple[str, str, str], float] = {}
    for row in mappings(document.get("benchmarks")):
        median = row.get("median")
        if isinstance(median, int | float) and not isinstance(median, bool) and median > 0:
            key = (text(row.get("kernel")), text(row.get("dtype")), products.get(_index(row.get("gpu")), ""))
            lowest[key] = min(float(median), lowest.get(key, math.inf))
    return tuple((*key, median) for key, median in sorted(lowest.items()))


def versions(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the image contains, by name, as far as it is known."""
    torch, container = mapping(document, "facts", "torch"), mapping(document, "facts", "container")
    found = {
        "PyTorch": torch.get("version"),
        "CUDA": torch.get("cuda"),
        "cuDNN": torch.get("cudnn"),
        "Python": container.get("python"),
    }
    return tuple(
        (name, str(value)) for name, value in found.items() if isinstance(value, str | int) and value
    )


def platform(document: Mapping[str, Any]) -> str:
    """``linux/amd64``, as registries name it; empty when not known."""
    machine = text(mapping(document, "facts", "container").get("machine"))
    return f"linux/{_PLATFORMS.get(machine, machine)}" if machine else ""


def _index(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _gpus(reports: list[Mapping[str, Any]]) -> list[Document]:
    """GPUs by index; both stages look at them, each with facts of its own."""
    found: dict[int, Document] = {}
    for report in reports:
        for row in mappings(report.get("gpus"))[:MAX_NOTES]:
            gpu = _clean_mapping(row)
            known = found.setdefault(_index(gpu.get("index")), {})
            health = {**mapping(known, "health"), **mapping(gpu, "health")}
            known |= gpu
            if health:
                known["health"] = health
    return list(found.values())


def _words(value: object) -> list[str]:
    return [_clean_text(word) for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _clean_mapping(value: Mapping[str, Any]) -> Document:
    cleaned = _clean(value, 0)
    return cleaned if isinstance(cleaned, dict) else {}


def _clean(value: object, depth: int) -> Any:
    """The value as JSON that survives the API server; None for what does not."""
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _clean_number(value)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        entries = list(value.items())[:MAX_ENTRIES]
        cleaned = {_clean_text(str(key)): _clean(entry, depth + 1) for key, entry in entries}
        return {key: entry for key, entry in cleaned.items() if entry is not None}
    if isinstance(value, list | tuple):
        items = [_clean(item, depth + 1) for item in value[:MAX_ENTRIES]]
        return [item for item in items if item is not None]
    return None


def _clean_text(value: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else " " for char in value[:MAX_TEXT])


def _clean_number(value: float) -> float | int | None:
    """Whole numbers as integers, because the API server writes 12.0 as 12."""
    if not -_MAX_INTEGER <= value <= _MAX_INTEGER:  # also false for NaN
        return None
    return int(value) if value == int(value) else value
