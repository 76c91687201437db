"""Reads cases that somebody stored: node reports of a cluster, or reports of people as options and texts."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.assess.table_change import Sample, judged
from gpuenv.cli.assessing import answers_to
from gpuenv.cli.inputs.files import parsed, read_text
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.pasted import Texts
from gpuenv.cli.shared.errors import BadInput
from gpuenv.files import yaml_data
from gpuenv.knowledge import Knowledge
from gpuenv.plan.objects.stored_document import pick

OPTION: Final = "--cases"
MAX_BYTES: Final = 200_000_000
"""Size of the largest file. A node report has up to 64 KiB as YAML, and a cluster thousands of them."""
_PLURAL: Final = {"torch": "torches", "image": "images", "driver": "drivers", "gpu": "gpus"}
"""Options that may be given several times, and their fields of :class:`Given`."""
_SINGLE: Final = frozenset({"cuda", "cudnn", "python", "arch_list", "compute_capability", "platform"})
_NOTHING: Final = {one.name: () if one.name in _PLURAL.values() else None for one in fields(Given)}


def read_cases(path: str) -> Iterator[Sample]:
    """Yield the cases in a file, in one of two forms.

    The file is what ``kubectl get gpunodereports -o yaml`` (or ``json``) writes, of which reports without facts are left
    out; or it is a YAML list of mappings with ``error`` and ``collect_env``, texts as people paste them, and ``flags``,
    options of ``gpuenv explain`` without the dashes. Raises BadInput if the file cannot be read, or has no case.
    """
    document = parsed(
        lambda words: yaml_data.parse(words, lenient=True), read_text(path, OPTION, MAX_BYTES), path, OPTION
    )
    found = list(_pasted(document, path) if isinstance(document, list) else _reports(mapping(document), path))
    if not found:
        raise BadInput(f"{OPTION}: {path}: has no case")
    yield from found


def _reports(listed: Mapping[str, Any], path: str) -> Iterator[Sample]:
    items = mappings(listed.get("items")) or [listed]
    reports = [item for item in items if item.get("kind") == names.REPORT_KIND]
    if not reports:
        raise BadInput(
            f"{OPTION}: {path}: has no {names.REPORT_KIND}; kubectl get gpunodereports -o yaml writes them"
        )
    for report in reports:
        status = mapping(report.get("status"))
        facts = pick(status)
        if facts:
            name = one_line(text(mapping(report.get("metadata")).get("name")))
            yield Sample(name, partial(judged, facts_from_document(facts, NodeFacts())))


def _pasted(rows: list[Any], path: str) -> Iterator[Sample]:
    for number, row in enumerate(rows):
        where = f"{OPTION}: {path}: case {number + 1}"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: is no mapping with error, collect_env or flags")
        texts = Texts(collect_env=text(row.get("collect_env")) or None, error=text(row.get("error")) or None)
        given = _given(mapping(row.get("flags")), where)
        name = one_line(text(row.get("source")) or f"case {number + 1}")
        yield Sample(name, partial(_worst, given, texts))


def _given(flags: Mapping[str, Any], where: str) -> Given:
    """Return the options in a case. Raises BadInput if one is unknown, or is no text."""
    found: dict[str, Any] = dict(_NOTHING)
    for name, value in flags.items():
        values = tuple(value) if isinstance(value, list) else (value,)
        if not all(isinstance(one, str) for one in values):
            raise BadInput(f"{where}: {one_line(str(name))}: write the value as text, in quotes")
        if name in _PLURAL:
            found[_PLURAL[name]] = values
        elif name in _SINGLE and len(values) == 1:
            found[name] = values[0]
        else:
            raise BadInput(f"{where}: {one_line(str(name))}: is no option that a case can have")
    return Given(**found)


def _worst(given: Given, texts: Texts, tables: Knowledge) -> Assessment:
    """Return the worst assessment of a case: several GPUs are several nodes."""
    found = [answer.assessment for answer in answers_to(given, texts, tables)]
    return max(found, key=lambda one: one.verdict.severity)
