"""The output formats of ``gpuenv explain`` and ``gpuenv check``.

To add a format, write a function in this module and add it to :data:`FORMATS`. Both commands take the values of their
option ``--output`` from there.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import in_markdown, one_line
from gpuenv.assess.model import Check, Status
from gpuenv.cli.output import text
from gpuenv.cli.output.answer import NOTHING_FOUND, Answer, as_data, cures
from gpuenv.cli.output.images import image_lines
from gpuenv.cli.shared import forms
from gpuenv.cli.shared.forms import Form

if TYPE_CHECKING:
    from gpuenv.cli.output.open_answers import Line

_ADDRESS: Final = re.compile(r"https?://[\w./?=&%#:+~-]+", re.ASCII)
"""Matches the address at the start of a check's source. No character of it ends a link of Markdown."""


def table(answers: Sequence[Answer], verbose: bool) -> str:
    """Return text for people: the details of a single answer, or several answers as a table.

    Below the table, the remedies of each reason appear once.
    """
    return "\n".join(_one(answers[0], verbose) if len(answers) == 1 else _several(answers)) + "\n"


def _one(answer: Answer, verbose: bool) -> list[str]:
    about = one_line(answer.subject) or f"nothing usable was found; {NOTHING_FOUND}"
    lines = [text.headline(str(answer.assessment.verdict), answer.assessment.reason)]
    name = one_line(answer.name, text.MAX_NAME)
    lines.append(f"{name}: {about}" if name else about)
    lines += [one_line(": ".join(filter(None, line))) for line in _open_lines(answer)]
    lines += image_lines(answer)
    for check in _shown(answer, verbose):
        source = verbose or check.status in (Status.FAIL, Status.WARN)
        lines += text.check_lines(check, source=source, torch=answer.facts.torch.version)
    return lines


def _open_lines(answer: Answer) -> Sequence["Line"]:
    """Return the lines that answer an open question, or () if there is none."""
    if answer.open is None:
        return ()
    from gpuenv.cli.output import open_answers  # noqa: PLC0415 - only open questions need it

    return list(open_answers.lines(answer.open, answer.knowledge, answer.facts.torch.version))


def _several(answers: Sequence[Answer]) -> list[str]:
    rows = []
    for answer in answers:
        found = answer.assessment
        rows.append((one_line(answer.name, text.MAX_NAME), str(found.verdict), found.reason, found.message))
    lines = [text.table(("node", "verdict", "reason", "message"), rows)]
    helps = [one_line(f"{reason}: {cure}") for cure, reason in cures(answers).items()]
    images = list(dict.fromkeys(line for answer in answers for line in image_lines(answer)))
    return "\n\n".join("\n".join(part) for part in (lines, images, helps) if part).split("\n")


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
    lines = [f"**{answer.assessment.verdict}{reason}**", "", in_markdown(about), ""]
    lines += [
        f"- {in_markdown(line.text)}" + (f": `{line.command}`" if line.command else "")
        for line in _open_lines(answer)
    ]
    lines += [""] if answer.open is not None else []
    for line in image_lines(answer):
        lines += [in_markdown(line), ""]
    checks = _shown(answer, verbose)
    if checks:
        lines += ["| | check | what | what helps |", "| --- | --- | --- | --- |"]
    for check in checks:
        address = _ADDRESS.match(check.source)
        origins = [f"[source]({address[0]})"] if address else []
        # A path, not a link: the text is pasted into an issue of another project.
        origins += [f"`{reasons.section(check.reason)}`"] if reasons.known(check.reason) else []
        code = f"**{check.reason}** " if check.reason else ""
        what = f"{code}{in_markdown(check.message)}" + (f" ({', '.join(origins)})" if origins else "")
        lines.append(
            f"| {check.status} | {in_markdown(check.name)} | {what} | {in_markdown(text.in_words(check.remedies))} |"
        )
    return lines


def _markdown_several(answers: Sequence[Answer]) -> list[str]:
    lines = ["| node | verdict | reason | message |", "| --- | --- | --- | --- |"]
    for answer in answers:
        found = answer.assessment
        name, message = in_markdown(answer.name), in_markdown(found.message)
        lines.append(f"| {name} | **{found.verdict}** | {found.reason} | {message} |")
    helps = [f"- **{reason}**: {in_markdown(cure)}" for cure, reason in cures(answers).items()]
    return [*lines, "", *helps] if helps else lines


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
