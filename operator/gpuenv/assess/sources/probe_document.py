"""The probe document: the probe reports of the two stages of one run, joined.

The status of the node report stores the document, and every assessment reads its facts from it
(:mod:`gpuenv.assess.sources.probe_facts`). Programs in the image wrote the probe reports, so they are not trusted. Only
values that JSON and the API server keep unchanged are taken over: no nulls, no NaN, no lone surrogates, no endless
lists. A stored document is therefore equal to the original when it is read again.
"""

from collections.abc import Mapping
from typing import Any, Final

from gpuenv.api.foreign_text import one_line, several_lines
from gpuenv.api.tolerant import MAX_INTEGER, integer, mapping, mappings, text
from gpuenv.assess.facts import Stage

Document = dict[str, Any]

FACTS: Final = "facts"
"""Key of an object with everything in the document that is not a list of rows.

It holds the sections (container, driver, torch), the names of the complete stages, the probe's message about how it
ended, and the names of the parts that the probe omitted.
"""
SECTIONS: Final = ("container", "driver", "torch")
GPUS: Final = "gpus"
STEPS: Final = "steps"
COMMANDS: Final = "commands"
BENCHMARKS: Final = "benchmarks"
KEYS: Final = (FACTS, GPUS, STEPS, COMMANDS, BENCHMARKS)

MAX_TEXT: Final = 500
"""Maximum number of characters in one text."""
MAX_LIST: Final = 64
"""Maximum number of GPUs, of command checks, and of texts in one list, such as the notes about the container."""
MAX_ROWS: Final = 1024
"""Maximum number of steps or benchmarks, enough for 16 GPUs. No list or object may have more entries."""
_TAIL: Final = "tail"
"""Key of the last lines that a command check printed, the only text with line breaks. All others are one line."""
_MAX_DEPTH: Final = 6
_MAX_OMITTED: Final = 256


def join_reports(facts: Mapping[str, Any] | None, kernels: Mapping[str, Any] | None) -> Document:
    """Return the document made from the probe reports of both stages, each None if it could not be read.

    If both reports contain a value, that of the kernels stage counts.
    """
    reports = [report for report in (facts, kernels) if report is not None]
    known: Document = {name: _section(reports, name) for name in SECTIONS}
    known["stages"] = [
        stage.value
        for stage, report in ((Stage.FACTS, facts), (Stage.KERNELS, kernels))
        if report is not None and report.get("stage") == stage and report.get("complete") is True
    ]
    ended = [cleaned for report in reports if (cleaned := clean_text(text(report.get("ended"))))]
    known["ended"] = "; ".join(ended)
    omitted = [word[:_MAX_OMITTED] for report in reports for word in _words(report.get("omitted"))]
    known["omitted"] = omitted[:MAX_LIST]
    document: Document = {FACTS: {key: value for key, value in known.items() if value}, GPUS: _gpus(reports)}
    for name in (STEPS, COMMANDS, BENCHMARKS):
        rows = [_clean_mapping(row) for report in reports for row in mappings(report.get(name))]
        document[name] = rows[:MAX_ROWS]
    return {key: value for key, value in document.items() if value}


def clean_text(value: str) -> str:
    """Return the text as one line of printable characters, cut to :data:`MAX_TEXT` characters."""
    return one_line(value, MAX_TEXT)


def gpu_index(row: Mapping[str, Any], place: int) -> int:
    """Return CUDA's number of the GPU in a row of ``gpus``. If the row has none, return its place in the list."""
    index = integer(row.get("index"))
    return place if index is None else index


def _section(reports: list[Mapping[str, Any]], name: str) -> Document:
    merged: Document = {}
    for report in reports:
        merged |= _clean_mapping(mapping(report, name))
    return merged


def _gpus(reports: list[Mapping[str, Any]]) -> list[Document]:
    """Return one row for each GPU, joined from the probe reports of both stages.

    Each stage reads values of a GPU that the other stage does not read.
    """
    found: dict[int, Document] = {}
    for report in reports:
        for place, row in enumerate(mappings(report.get(GPUS))[:MAX_LIST]):
            gpu = _clean_mapping(row)
            known = found.setdefault(gpu_index(gpu, place), {})
            health = {**mapping(known, "health"), **mapping(gpu, "health")}
            known |= gpu
            if health:
                known["health"] = health
    return list(found.values())[:MAX_ROWS]


def _words(value: object) -> list[str]:
    return [clean_text(word) for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _clean_mapping(value: Mapping[str, Any]) -> Document:
    cleaned = _clean(value, 0)
    return cleaned if isinstance(cleaned, dict) else {}


def _clean(value: object, depth: int) -> Any:
    """Return the value converted to JSON types that the API server keeps unchanged, or None if that is not possible.

    ``depth`` is the number of lists and objects around the value. Lists and objects that lie too deep become None.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _clean_number(value)
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        entries = list(value.items())[:MAX_ROWS]
        cleaned = {
            clean_text(str(key)): several_lines(entry, MAX_TEXT)
            if key == _TAIL and isinstance(entry, str)
            else _clean(entry, depth + 1)
            for key, entry in entries
        }
        return {key: entry for key, entry in cleaned.items() if entry is not None}
    if isinstance(value, list | tuple):
        items = [_clean(item, depth + 1) for item in value[:MAX_ROWS]]
        return [item for item in items if item is not None]
    return None


def _clean_number(value: float) -> float | int | None:
    """Return the number, or None if it is NaN or its absolute value exceeds :data:`MAX_INTEGER`.

    A whole number becomes an integer, because the API server stores 12.0 as 12.
    """
    if not -MAX_INTEGER <= value <= MAX_INTEGER:  # also false for NaN
        return None
    return int(value) if value == int(value) else value
