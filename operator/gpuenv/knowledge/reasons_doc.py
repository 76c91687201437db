"""``python -m gpuenv.knowledge.reasons_doc > docs/reasons.md``: the page of reasons, from their table and the errors'."""

import sys
from collections.abc import Iterator
from typing import Final

from gpuenv.api.reasons import OWN_RULE, ROWS, NextRun, Row, Subject
from gpuenv.knowledge.load import load
from gpuenv.knowledge.model import ErrorRule, Knowledge

HEAD: Final = """# Reasons

Every check, condition and Event of gpuenv names its reason by one of these constants. They are API: new ones may come, those
that are here keep their meaning. How bad a reason is says the status beside it, not the reason.

This page is made from `operator/gpuenv/api/reasons/` and `operator/gpuenv/knowledge/errors.yaml` by `make docs`.

- **Next run** says when the probe runs again by itself, where the reason leads the verdict. The interval is `spec.interval`
  of the environment. A pause that doubles applies while the verdict is Unknown, and a floor in absolute figures needs no
  confirmation. `gpuenv revalidate` asks for a run at any time; a new image, another driver or a reboot starts one too.
- **Event** is the type of the Event that is posted when the reason leads a new verdict other than Compatible. It is Normal where
  the reason passes by itself.
"""
VERDICTS: Final = """
## Reasons of checks and verdicts

| reason | meaning | next run | Event |
| --- | --- | --- | --- |"""
CONDITIONS: Final = """
## Reasons of an environment's conditions

| reason | meaning | next run |
| --- | --- | --- |"""


def page(knowledge: Knowledge) -> str:
    """Return the whole page. The words are those of the package, whatever words ``knowledge`` has for them."""
    rows = dict(sorted(ROWS.items()))
    parts = [HEAD.rstrip("\n"), VERDICTS]
    parts += [
        f"| {_link_to(code)} | {row.meaning} | {row.behaviour.next_run} | {_event(row)} |"
        for code, row in rows.items()
        if row.subject is Subject.NODE
    ]
    parts.append(CONDITIONS)
    parts += [
        f"| {_link_to(code)} | {row.meaning} | {row.behaviour.next_run} |"
        for code, row in rows.items()
        if row.subject is Subject.ENVIRONMENT
    ]
    for code, row in rows.items():
        parts += _section(code, row, knowledge)
    return "\n".join(parts) + "\n"


def _link_to(code: str) -> str:
    return f"[{code}](#{code.lower()})"


def _event(row: Row) -> str:
    return "Warning" if row.behaviour.warns else "Normal"


def _section(code: str, row: Row, knowledge: Knowledge) -> Iterator[str]:
    yield f"\n## {code}\n\n{row.meaning}\n"
    yield f"- **Cause:** {row.cause}"
    yield f"- **Cure:** {row.cure}"
    yield from _seen(code, knowledge)
    if row.behaviour.next_run is not NextRun.NONE:
        yield f"- **Next run:** {row.behaviour.next_run}"
    if row.subject is Subject.NODE:
        yield f"- **Event:** {_event(row)}"
    yield f"- **Source:** {_link(row.source)}"


def _seen(reason: str, knowledge: Knowledge) -> list[str]:
    """Numbers and words by which the reason is recognised in errors."""
    signs = [sign for rule in knowledge.errors if rule.reason == reason for sign in _signs(rule)]
    return [f"- **Seen as:** {', '.join(signs)}"] if signs else []


def _signs(rule: ErrorRule) -> list[str]:
    layer = {"cuda": "CUDA", "nvml": "NVML", "os": "errno"}.get(rule.layer, rule.layer)
    numbers = [f"{layer} error {code}" for code in rule.codes]
    words = [f"`{' … '.join(part for part in parts)}`" for parts in rule.text[:3]]
    return numbers + words


def _link(source: str) -> str:
    return f"<{source}>" if source != OWN_RULE else "a rule of gpuenv's own"


if __name__ == "__main__":
    sys.stdout.write(page(load()))
