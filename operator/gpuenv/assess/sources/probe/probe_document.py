"""The probe document: the probe reports of the two stages of one run, joined.

The status of the node report stores the document, and every assessment reads its facts from it
(:mod:`gpuenv.assess.sources.probe.probe_facts`). Programs in the image wrote the probe reports, so they are not trusted. Only
values that JSON and the API server keep unchanged are taken over (:mod:`gpuenv.assess.sources.probe.cleaned_values`). A
stored document is therefore equal to the original when it is read again.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from gpuenv.api.tolerant import integer, mapping, mappings, text
from gpuenv.assess.facts import Stage
from gpuenv.assess.sources.probe.cleaned_values import Cleaner, clean_text
from gpuenv.assess.sources.probe.step_rows import joined_steps
from gpuenv_probe.omissions import OMISSIONS, Cut

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

MAX_BYTES: Final = 32 * 1024
"""Maximum size of a document in bytes, as JSON. The reports of 16 GPUs with all benchmarks fit into it."""
MAX_LIST: Final = 64
"""Maximum number of GPUs, of command checks, and of texts in one list, such as the notes about the container."""
MAX_ROWS: Final = 1024
"""Maximum number of steps in a probe report that are read, enough for 16 GPUs with 64 steps each."""
MAX_STEPS: Final = 256
"""Maximum number of rows of steps in a document. A row can be about several GPUs."""
MAX_BENCHMARKS: Final = 320
VALUES_LEFT_OUT: Final = "values beyond the limit"
"""Word in ``omitted``: the probe reports contain more values about the image and the GPUs than are read."""
STEPS_LEFT_OUT: Final = "steps beyond the limit"
"""Word in ``omitted``: the probe reports contain more steps than are read, so that nobody knows whether all passed."""
_MAX_OMITTED: Final = 32
_MAX_WORD: Final = 64
_NAME_BYTES: Final = 16
"""Size in bytes of the name of a part, with quotes, colon and comma."""
_EMPTIED: Final = "complete"
"""Key that the last of the omissions adds to a report from which it has removed everything."""


def join_reports(facts: Mapping[str, Any] | None, kernels: Mapping[str, Any] | None) -> Document:
    """Return the document made from the probe reports of both stages, each None if it could not be read.

    If both reports contain a value, that of the kernels stage counts. If the document is larger than
    :data:`MAX_BYTES`, parts of it are left out in the order in which the probe itself leaves out parts of a report that
    is too long, and ``omitted`` names these parts.
    """
    reports = [report for report in (facts, kernels) if report is not None]
    cleaner = Cleaner()
    parts: Document = {name: _section(cleaner, reports, name) for name in SECTIONS}
    parts[GPUS] = _gpus(cleaner, reports)
    raw = _rows(reports, STEPS)
    steps = joined_steps(raw[:MAX_ROWS])
    parts[STEPS] = steps[:MAX_STEPS]
    parts[COMMANDS] = [cleaner.mapping(row) for row in _rows(reports, COMMANDS)[:MAX_LIST]]
    parts[BENCHMARKS] = [cleaner.mapping(row) for row in _rows(reports, BENCHMARKS)[:MAX_BENCHMARKS]]
    told: Document = {
        "stages": [
            stage.value
            for stage, report in ((Stage.FACTS, facts), (Stage.KERNELS, kernels))
            if report is not None and report.get("stage") == stage and report.get("complete") is True
        ],
        "ended": "; ".join(word for report in reports if (word := clean_text(text(report.get("ended"))))),
        "omitted": _omitted(reports),
    }
    if len(raw) > MAX_ROWS or len(steps) > MAX_STEPS:
        told["omitted"] = [*told["omitted"], STEPS_LEFT_OUT]
    if cleaner.left < 0:
        told["omitted"] = [*told["omitted"], VALUES_LEFT_OUT]
    return _fitted(parts, told)


def _fitted(parts: Document, told: Document) -> Document:
    """Return the document made of its parts. Leave out parts until it has at most :data:`MAX_BYTES` bytes.

    ``told`` is what the document says about the reports themselves; it always stays.
    """
    sizes = {name: _size(part) for name, part in parts.items()}
    about_reports = _size(told) + _size([name for name, _ in OMISSIONS])
    for name, omit in OMISSIONS:
        if sum(sizes.values()) + about_reports <= MAX_BYTES:
            break
        smaller = _without(name, omit, parts, sizes)
        if _EMPTIED in parts:
            return {FACTS: {"ended": parts["ended"], "omitted": [*told["omitted"], name]}}
        if smaller != sizes:
            told = told | {"omitted": [*told["omitted"], name]}
        sizes = smaller
    known = {name: parts[name] for name in SECTIONS if parts.get(name)} | told
    document: Document = {FACTS: {key: value for key, value in known.items() if value}}
    document |= {name: parts[name] for name in (GPUS, STEPS, COMMANDS, BENCHMARKS) if parts.get(name)}
    return {key: value for key, value in document.items() if value}


def _without(
    name: str, omit: Callable[[Document], None], parts: Document, sizes: dict[str, int]
) -> dict[str, int]:
    """Remove from the parts what an omission removes, and return their sizes. ``sizes`` are those before.

    Only parts that can become smaller are measured: all texts that are cut, or the part that the omission names.
    """
    if isinstance(omit, Cut):
        return {part: size - omit.cut(parts[part]) for part, size in sizes.items()}
    omit(parts)
    return {
        part: _size(parts[part]) if name.startswith(part) else size
        for part, size in sizes.items()
        if part in parts
    }


def _size(part: object) -> int:
    """Return the size of a part of a document as JSON, with its name."""
    return _NAME_BYTES + len(json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode())


def gpu_index(row: Mapping[str, Any], place: int) -> int:
    """Return CUDA's number of the GPU in a row of ``gpus``. If the row has none, return its place in the list."""
    index = integer(row.get("index"))
    return place if index is None else index


def _section(cleaner: Cleaner, reports: list[Mapping[str, Any]], name: str) -> Document:
    merged: Document = {}
    for report in reports:
        merged |= cleaner.mapping(mapping(report, name))
    return merged


def _rows(reports: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the rows of a list in both reports. A row without any value is none."""
    return [row for report in reports for row in mappings(report.get(name)) if row]


def _gpus(cleaner: Cleaner, reports: list[Mapping[str, Any]]) -> list[Document]:
    """Return one row for each GPU, joined from the probe reports of both stages.

    Each stage reads values of a GPU that the other stage does not read.
    """
    found: dict[int, Document] = {}
    for report in reports:
        for place, row in enumerate(mappings(report.get(GPUS))[:MAX_LIST]):
            gpu = cleaner.mapping(row)
            known = found.setdefault(gpu_index(gpu, place), {})
            health = {**mapping(known, "health"), **mapping(gpu, "health")}
            known |= {key: value for key, value in gpu.items() if key != "health"}
            if health:
                known["health"] = health
    return list(found.values())[:MAX_LIST]


def _omitted(reports: list[Mapping[str, Any]]) -> list[str]:
    """Return the names of the parts that the probe left out, each once."""
    listed = [value for report in reports if isinstance(value := report.get("omitted"), list)]
    words = [word for value in listed for word in value[:_MAX_OMITTED] if isinstance(word, str)]
    return list(dict.fromkeys(clean_text(word[:_MAX_WORD]) for word in words))[:_MAX_OMITTED]
