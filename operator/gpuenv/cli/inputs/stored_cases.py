"""Reads cases that somebody stored: node reports of a cluster, whose facts can be assessed again."""

from collections.abc import Iterator
from typing import Final

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.sources.probe_document import KEYS
from gpuenv.assess.sources.probe_facts import facts_from_document
from gpuenv.assess.table_change import Sample
from gpuenv.cli.inputs.files import parsed, read_text
from gpuenv.cli.shared.errors import BadInput
from gpuenv.files import yaml_data

OPTION: Final = "--cases"
MAX_BYTES: Final = 200_000_000
"""Size of the largest file. A node report has up to 64 KiB as YAML, and a cluster thousands of them."""


def read_cases(path: str) -> Iterator[Sample]:
    """Yield the facts of each node report in a file that ``kubectl get gpunodereports -o yaml`` (or ``json``) wrote.

    Reports without facts are left out. Raises BadInput if the file cannot be read, or contains no node report.
    """
    document = parsed(
        lambda words: yaml_data.parse(words, lenient=True), read_text(path, OPTION, MAX_BYTES), path, OPTION
    )
    listed = mapping(document)
    items = mappings(listed.get("items")) or [listed]
    reports = [item for item in items if item.get("kind") == names.REPORT_KIND]
    if not reports:
        raise BadInput(
            f"{OPTION}: {path}: has no {names.REPORT_KIND}; kubectl get gpunodereports -o yaml writes them"
        )
    for report in reports:
        status = mapping(report.get("status"))
        facts = {key: status[key] for key in KEYS if status.get(key)}
        if facts:
            yield Sample(
                one_line(text(mapping(report.get("metadata")).get("name"))),
                facts_from_document(facts, NodeFacts()),
            )
