"""Reads saved probe reports: JSON with one stage or both, or the compact form in a pod's termination message."""

from collections.abc import Iterator
from typing import Any, Final

from gpuenv.assess.facts import Facts, NodeFacts, Stage
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.cli.shared.errors import BadInput
from gpuenv.files import FileError, json_data

MOST_LINES: Final = 16
"""Maximum number of lines of the compact form that are read. A probe pod writes two lines, one for each stage."""


def parse_report(text: str, path: str) -> Facts:
    """Return the facts in a saved probe report. Raises BadInput if the text is no probe report."""
    documents = list(_documents(text, path))
    stages = {stage: one for one in documents if isinstance(stage := one.get("stage"), str)}
    if not stages.keys() & set(Stage):
        raise BadInput(f"--report: {path}: is no report of the probe (gpuenv check --save FILE writes one)")
    return facts_from_document(join_reports(stages.get(Stage.FACTS), stages.get(Stage.KERNELS)), NodeFacts())


def _documents(text: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield each probe report in the text.

    In JSON, a probe report can be the whole text, an item of a list, or the value of a key.
    """
    for block in _blocks(text):
        if not block.startswith(("{", "[")):
            yield _decoded(block, path)
            continue
        try:
            value = json_data.parse(block)
        except json_data.NoJsonError:
            raise BadInput(f"--report: {path}: is neither JSON nor a report of the probe") from None
        except FileError as error:
            raise BadInput(f"--report: {path}: {error}") from None
        values = value if isinstance(value, list) else [value]
        for entry in values:
            if isinstance(entry, dict) and "stage" not in entry:
                values += [part for part in entry.values() if isinstance(part, dict) and "stage" in part]
            elif isinstance(entry, dict):
                yield entry


def _blocks(text: str) -> list[str]:
    """Return the parts of a text that are decoded one by one: the whole text if it is JSON, else each of its lines.

    In the compact form, each line is the probe report of one stage.
    """
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
