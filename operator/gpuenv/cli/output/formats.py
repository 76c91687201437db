"""The output formats of ``gpuenv explain`` and ``gpuenv check``.

To add a format, write a function in this module and add it to :data:`FORMATS`. Both commands take the values of their
option ``--output`` from there.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from gpuenv.api import reasons
from gpuenv.api.foreign_text import in_markdown, one_line
from gpuenv.assess.model import Check, Status
from gpuenv.cli.output import text
from gpuenv.cli.output.answer import Answer, as_data, nothing
from gpuenv.cli.output.by import By
from gpuenv.cli.output.images import image_lines
from gpuenv.cli.shared import forms
from gpuenv.cli.shared.forms import Form

if TYPE_CHECKING:
    from gpuenv.cli.output.open_answers import Line

_ADDRESS: Final = re.compile(r"https?://[\w./?=&%#:+~-]+", re.ASCII)
"""Matches the address at the start of a check's source. No character of it ends a link of Markdown."""


class Formatter(Protocol):
    """A function that formats answers. ``verbose`` and ``by`` are the values of the options of the same name."""

    def __call__(self, answers: Sequence[Answer], verbose: bool, by: By = By.KIND) -> str:
        """Return the text to print."""
        ...


def table(answers: Sequence[Answer], verbose: bool, by: By = By.KIND) -> str:
    """Return text for people: the details of a single answer, or several answers as a table.

    Below the table, each cause appears once, with its nodes and its remedies.
    """
    return "\n".join(_one(answers[0], verbose) if _is_single(answers) else _several(answers, by)) + "\n"


def _is_single(answers: Sequence[Answer]) -> bool:
    return len(answers) == 1 and answers[0].before is None


def _several(answers: Sequence[Answer], by: By) -> list[str]:
    from gpuenv.cli.output import several  # noqa: PLC0415 - most questions are about one image on one node

    return list(several.lines(answers, by))


def _one(answer: Answer, verbose: bool) -> list[str]:
    about = one_line(answer.subject) or nothing(answer.facts)
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


def _data(form: Form, answers: Sequence[Answer], verbose: bool, by: By = By.KIND) -> str:
    """Return a text for programs: one object for a single answer, or an object with ``results`` for several."""
    del verbose, by  # a text for programs always contains everything
    data = [as_data(answer) for answer in answers]
    if _is_single(answers):
        return forms.DATA[form](data[0]) + "\n"
    found: dict[str, Any] = {"results": data}
    if answers[0].node:
        from gpuenv.cli.output import several  # noqa: PLC0415 - most questions are about one image on one node

        found["kinds"] = several.kinds_data(answers)
    return forms.DATA[form](found) + "\n"


def markdown(answers: Sequence[Answer], verbose: bool, by: By = By.KIND) -> str:
    """Return Markdown text to paste into an issue on GitHub."""
    if _is_single(answers):
        lines = _markdown_one(answers[0], verbose)
    else:
        from gpuenv.cli.output import several  # noqa: PLC0415 - most questions are about one image on one node

        lines = several.markdown(answers, by)
    return "\n".join(lines) + "\n"


def _markdown_one(answer: Answer, verbose: bool) -> list[str]:
    reason = f": {answer.assessment.reason}" if answer.assessment.reason else ""
    about = ": ".join(part for part in (answer.name, answer.subject or nothing(answer.facts)) if part)
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


def _shown(answer: Answer, verbose: bool) -> Sequence[Check]:
    return answer.assessment.checks if verbose else answer.findings


FORMATS: Final[dict[Form, Formatter]] = {
    Form.TABLE: table,
    **{form: partial(_data, form) for form in (Form.JSON, Form.YAML)},
    Form.MARKDOWN: markdown,
}
"""Maps each value of ``--output`` to the function that formats answers."""

option = forms.option(*FORMATS)
"""The option ``--output`` of ``gpuenv explain`` and ``gpuenv check``.

It passes the name of the format to the command as the parameter ``form``.
"""
