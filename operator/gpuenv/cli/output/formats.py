"""The output formats of ``gpuenv explain`` and ``gpuenv check``.

To add a format, write a function in this module and add it to :data:`FORMATS`. Both commands take the values of their
option ``--output`` from there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gpuenv.api import reasons
from gpuenv.assess.model import Check, Status
from gpuenv.cli.output import text
from gpuenv.cli.output.answer import NOTHING_FOUND, Answer, as_data, cures
from gpuenv.cli.shared import forms
from gpuenv.cli.shared.forms import Form


def table(answers: Sequence[Answer], verbose: bool) -> str:
    """Return text for people: the details of a single answer, or several answers as a table.

    Below the table, the remedies of each reason appear once.
    """
    return "\n".join(_one(answers[0], verbose) if len(answers) == 1 else _several(answers)) + "\n"


def _one(answer: Answer, verbose: bool) -> list[str]:
    about = answer.subject or f"nothing usable was found; {NOTHING_FOUND}"
    lines = [text.headline(str(answer.assessment.verdict), answer.assessment.reason)]
    lines.append(f"{answer.name}: {about}" if answer.name else about)
    for check in _shown(answer, verbose):
        source = verbose or check.status in (Status.FAIL, Status.WARN)
        lines += text.check_lines(check, source=source)
    return lines


def _several(answers: Sequence[Answer]) -> list[str]:
    rows = []
    for answer in answers:
        found = answer.assessment
        rows.append((answer.name, str(found.verdict), found.reason, found.message))
    lines = [text.table(("node", "verdict", "reason", "message"), rows)]
    helps = [f"{reason}: {cure}" for cure, reason in cures(answers).items()]
    return [*lines, "", *helps] if helps else lines


def _data(form: Form, answers: Sequence[Answer], verbose: bool) -> str:
    """Return a text for programs: one object for a single answer, or an object with ``results`` for several."""
    del verbose  # a text for programs always contains everything
    data = [as_data(answer) for answer in answers]
    return forms.DATA[form](data[0] if len(data) == 1 else {"results": data}) + "\n"


def markdown(answers: Sequence[Answer], verbose: bool) -> str:
    """Return Markdown text to paste into an issue on GitHub."""
    one = len(answers) == 1
    lines = _markdown_one(answers[0], verbose) if one else _markdown_several(answers)
    return "\n".join(lines) + "\n"


def _markdown_one(answer: Answer, verbose: bool) -> list[str]:
    reason = f": {answer.assessment.reason}" if answer.assessment.reason else ""
    about = ": ".join(part for part in (answer.name, answer.subject or NOTHING_FOUND) if part)
    lines = [f"**{answer.assessment.verdict}{reason}**", "", _escaped(about), ""]
    checks = _shown(answer, verbose)
    if checks:
        lines += ["| | check | what | what helps |", "| --- | --- | --- | --- |"]
    for check in checks:
        origins = [f"[source]({check.source.split()[0]})"] if check.source.startswith("http") else []
        # A path, not a link: the text is pasted into an issue of another project.
        origins += [f"`{reasons.section(check.reason)}`"] if reasons.known(check.reason) else []
        code = f"**{check.reason}** " if check.reason else ""
        what = f"{code}{_escaped(check.message)}" + (f" ({', '.join(origins)})" if origins else "")
        lines.append(
            f"| {check.status} | {check.name} | {what} | {_escaped(text.in_words(check.remedies))} |"
        )
    return lines


def _markdown_several(answers: Sequence[Answer]) -> list[str]:
    lines = ["| node | verdict | reason | message |", "| --- | --- | --- | --- |"]
    for answer in answers:
        found = answer.assessment
        name, message = _escaped(answer.name), _escaped(found.message)
        lines.append(f"| {name} | **{found.verdict}** | {found.reason} | {message} |")
    helps = [f"- **{reason}**: {_escaped(cure)}" for cure, reason in cures(answers).items()]
    return [*lines, "", *helps] if helps else lines


_ESCAPES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "\\|",
    "`": "\\`",
    "*": "\\*",
    "[": "\\[",
    "\n": " ",
    "\r": " ",
}


def _escaped(words: str) -> str:
    """Return the text with all characters escaped that have a meaning in Markdown or HTML.

    Names and error texts come from strangers and may contain anything.
    """
    return "".join(_ESCAPES.get(char, char) for char in words)


def _shown(answer: Answer, verbose: bool) -> Sequence[Check]:
    return answer.assessment.checks if verbose else answer.findings


FORMATS: Final[dict[Form, Callable[[Sequence[Answer], bool], str]]] = {
    Form.TABLE: table,
    **{form: partial(_data, form) for form in (Form.JSON, Form.YAML)},
    Form.MARKDOWN: markdown,
}
"""Maps each value of ``--output`` to the function that formats answers. Its second argument is ``--verbose``."""

option = forms.option(*FORMATS)
"""The option ``--output`` of ``gpuenv explain`` and ``gpuenv check``.

It passes the name of the format to the command as the parameter ``form``.
"""
