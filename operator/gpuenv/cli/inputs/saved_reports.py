"""A probe report that was saved: JSON with both stages, one stage, or the compact form of a termination message."""

import json
from collections.abc import Iterator
from typing import Any

from gpuenv.assess.facts import Facts, NodeFacts
from gpuenv.assess.sources.probe_report import facts_from_reports


def read_report(text: str, path: str, error: type[ValueError]) -> Facts:
    """The facts of a saved report. Raises ``error`` with one line for what is none."""
    stages = {document.get("stage"): document for document in _documents(text, path, error)}
    if not stages.keys() & {"facts", "kernels"}:
        raise error(f"--report: {path}: is no report of the probe (gpuenv check --save FILE writes one)")
    return facts_from_reports(stages.get("facts"), stages.get("kernels"), NodeFacts())


def _documents(text: str, path: str, error: type[ValueError]) -> Iterator[dict[str, Any]]:
    for block in _blocks(text):
        if not block.startswith("{") and not block.startswith("["):
            yield _compact(block, path, error)
            continue
        try:
            value = json.loads(block)
        except (ValueError, RecursionError):
            raise error(f"--report: {path}: is neither JSON nor a report of the probe") from None
        values = value if isinstance(value, list) else [value]
        for entry in values:
            if isinstance(entry, dict) and "stage" not in entry:
                values += [part for part in entry.values() if isinstance(part, dict) and "stage" in part]
            elif isinstance(entry, dict):
                yield entry


def _blocks(text: str) -> list[str]:
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return [stripped]
    return [line.strip() for line in stripped.splitlines() if line.strip()][:16]


def _compact(text: str, path: str, error: type[ValueError]) -> dict[str, Any]:
    from gpuenv_probe.codec import CodecError, decode  # noqa: PLC0415  only for compact reports

    try:
        return dict(decode(text))
    except CodecError as problem:
        raise error(f"--report: {path}: {problem}") from None
