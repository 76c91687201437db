"""Saved probe reports: JSON with one stage or both, or the compact form of a pod's termination message."""

import json
from collections.abc import Iterator
from typing import Any, Final

from gpuenv.assess.facts import Facts, NodeFacts
from gpuenv.assess.sources.probe_document import join_reports
from gpuenv.assess.sources.probe_facts import facts_from_document
from gpuenv.cli.errors import BadInput

MOST_LINES: Final = 16
"""Lines in the compact form that are read; a probe pod writes two, one for each stage."""


def parse_report(text: str, path: str) -> Facts:
    """Return the facts in a saved report. Raises BadInput when the text is no report of the probe."""
    stages = {document.get("stage"): document for document in _documents(text, path)}
    if not stages.keys() & {"facts", "kernels"}:
        raise BadInput(f"--report: {path}: is no report of the probe (gpuenv check --save FILE writes one)")
    return facts_from_document(join_reports(stages.get("facts"), stages.get("kernels")), NodeFacts())


def _documents(text: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield the report of each stage, wherever it stands: alone, in a list, or under its stage's name."""
    for block in _blocks(text):
        if not block.startswith(("{", "[")):
            yield _decoded(block, path)
            continue
        try:
            value = json.loads(block)
        except (ValueError, RecursionError):
            raise BadInput(f"--report: {path}: is neither JSON nor a report of the probe") from None
        values = value if isinstance(value, list) else [value]
        for entry in values:
            if isinstance(entry, dict) and "stage" not in entry:
                values += [part for part in entry.values() if isinstance(part, dict) and "stage" in part]
            elif isinstance(entry, dict):
                yield entry


def _blocks(text: str) -> list[str]:
    """Return the whole text when it is JSON, else its lines: the compact form takes a line for each stage."""
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return [stripped]
    return [line.strip() for line in stripped.splitlines() if line.strip()][:MOST_LINES]


def _decoded(line: str, path: str) -> dict[str, Any]:
    from gpuenv_probe.codec import CodecError, decode  # noqa: PLC0415 - only for the compact form

    try:
        return dict(decode(line))
    except CodecError as problem:
        raise BadInput(f"--report: {path}: {problem}") from None
