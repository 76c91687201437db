"""``python -m gpuenv.knowledge.reference_pages docs``: generates ``docs/reasons.md`` and ``docs/checks.md``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpuenv.api import check_names
from gpuenv.api.reasons import OWN_RULE, ROWS, NextRun, Row, Subject
from gpuenv.api.remedies import PARAMETERS, Action
from gpuenv.knowledge.load import load
from gpuenv.knowledge.model import ErrorRule, Knowledge

REASONS_HEAD: Final = """# Reasons

Every check, condition and Event of gpuenv names its reason by one of these constants. They are API: new ones may be added, and
existing ones keep their meaning. A reason does not say how bad a problem is; the status of the check does.

This page is made from `operator/gpuenv/api/reasons/` and `operator/gpuenv/knowledge/errors.yaml` by `make docs`.

- **Next run** says when the probe runs again by itself if this is the reason of the verdict. The interval is
  `spec.strategy.revalidationPeriodSeconds` of the environment. A pause that doubles applies only while the verdict is Unknown,
  and a floor in TFLOPS or GB/s needs no confirmation. `gpuenv revalidate` requests a run at any time; a new image, another
  driver or a reboot starts one, too. `gpuenv wait` does not wait for nodes with a reason whose next run is "when the node
  can be probed again", unless somebody has asked for a run on that very node.
- **Cure** says what solves the problem, with its [action](#actions) for programs in brackets. Reports and statuses have both
  as an item of `remedies`, together with what is known about the node at hand. A reason without an action has no remedy.
- **Event** is the type of the Event that is posted about a new verdict with this reason, except Compatible. It is Normal if the
  problem goes away by itself or never changes a verdict.
"""
VERDICTS: Final = """
## Reasons of checks and verdicts

| reason | meaning | next run | Event |
| --- | --- | --- | --- |"""
ACTIONS: Final = """
## Actions

The `action` of a remedy is one of these words. They are API in the same way as reasons; a program that reads them has to expect
words that it does not know. A remedy has a parameter only where its value is certain.

| action | what to do | parameters |
| --- | --- | --- |"""
PARAMETERS_HEAD: Final = """
| parameter | what it says |
| --- | --- |"""
CONDITIONS: Final = """
## Reasons of an environment's conditions

| reason | meaning | next run |
| --- | --- | --- |"""


def reasons_page(knowledge: Knowledge) -> str:
    """Return the Markdown page about all reasons. ``knowledge`` supplies the errors by which a reason is recognised.

    The texts about a reason are always those of the package, even if ``knowledge`` replaces them.
    """
    rows = dict(sorted(ROWS.items()))
    parts = [REASONS_HEAD.rstrip("\n"), VERDICTS]
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
    parts.append(ACTIONS)
    parts += [f"| {one} | {one.description} | {_names(one.parameters)} |" for one in sorted(Action)]
    parts.append(PARAMETERS_HEAD)
    parts += [f"| `{name}` | {meaning} |" for name, meaning in sorted(PARAMETERS.items())]
    for code, row in rows.items():
        parts += _section(code, row, knowledge)
    return "\n".join(parts) + "\n"


def _link_to(code: str) -> str:
    return f"[{code}](#{code.lower()})"


def _names(parameters: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in parameters)


def _event(row: Row) -> str:
    return "Warning" if row.behaviour.warns else "Normal"


def _section(code: str, row: Row, knowledge: Knowledge) -> Iterator[str]:
    yield f"\n## {code}\n\n{row.meaning}\n"
    yield f"- **Cause:** {row.cause}"
    yield f"- **Cure:** {row.cure}" + (f" (`{row.action}`)" if row.action is not None else "")
    yield from _seen(code, knowledge)
    if row.behaviour.next_run is not NextRun.NONE:
        yield f"- **Next run:** {row.behaviour.next_run}"
    if row.subject is Subject.NODE:
        yield f"- **Event:** {_event(row)}"
    yield f"- **Source:** {_link(row.source)}"


def _seen(reason: str, knowledge: Knowledge) -> list[str]:
    """Return the line that lists the error numbers and texts by which a reason is recognised, or no line."""
    signs = [sign for rule in knowledge.errors if rule.reason == reason for sign in _signs(rule)]
    return [f"- **Seen as:** {', '.join(signs)}"] if signs else []


def _signs(rule: ErrorRule) -> list[str]:
    layer = {"cuda": "CUDA", "nvml": "NVML", "os": "errno"}.get(rule.layer, rule.layer)
    numbers = [f"{layer} error {code}" for code in rule.codes]
    words = [f"`{' … '.join(part for part in parts)}`" for parts in rule.text[:3]]
    return numbers + words


def _link(source: str) -> str:
    return f"<{source}>" if source != OWN_RULE else "a rule of gpuenv's own"


CHECKS_HEAD: Final = """# Checks

A check is one line of an assessment, as `gpuenv explain`, `gpuenv check` and `gpuenv report` print it, and as the node report
stores it. Its name is API. Its status is one of Fail, Unknown, Warn, Note, Skipped and Pass: the worst one decides the verdict. A
check that does not pass names its [reason](reasons.md). A check that does not apply is left out.

This page is made from `operator/gpuenv/api/check_names.py` by `make docs`.

| check | passes where |
| --- | --- |
"""


def checks_page() -> str:
    """Return the Markdown page about all checks."""
    rows = (f"| `{name}` | {text} |" for name, text in sorted(check_names.DESCRIPTIONS.items()))
    return CHECKS_HEAD + "\n".join(rows) + "\n"


def pages() -> dict[str, str]:
    """Return the content of both pages, by the name of the file in ``docs/``."""
    return {"checks.md": checks_page(), "reasons.md": reasons_page(load())}


if __name__ == "__main__":
    for file_name, content in pages().items():
        (Path(sys.argv[1]) / file_name).write_text(content, encoding="utf-8")
