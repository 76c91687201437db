"""Parts of the output of all commands: coloured verdicts, the lines of a check, aligned columns.

Names and messages in them come from images, nodes and files. Each function shows them by
:func:`gpuenv.api.foreign_text.one_line`, so that none can pass for a line, a column or a colour of gpuenv.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from click import style

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line, width
from gpuenv.api.remedies import Remedies
from gpuenv.assess.model import Check, Status, Verdict
from gpuenv.cli.output.install_lines import remedy_command

VERDICT_COLOURS: Final[Mapping[str, str]] = {
    Verdict.COMPATIBLE: "green",
    Verdict.DEGRADED: "yellow",
    Verdict.INCOMPATIBLE: "red",
    Verdict.UNKNOWN: "magenta",
}
MAX_CELL: Final = 1000
"""Longest text of a table's cell in characters. It is that of a stored message."""
MAX_NAME: Final = 256
NAME_WIDTH: Final = 16
"""Columns of a terminal that the name of a check fills at least."""
_STATUS_GLYPHS: Final = {
    Status.FAIL: ("✗", "red"),
    Status.UNKNOWN: ("?", "magenta"),
    Status.WARN: ("!", "yellow"),
    Status.NOTE: ("·", "blue"),
    Status.SKIPPED: ("-", None),
    Status.PASS: ("✓", "green"),
}
"""Maps the status of a check to the character before the check, and to the colour of that character."""


def headline(verdict: str, reason: str) -> str:
    """Return the verdict, and its reason unless that is "", in the colour of the verdict."""
    words = f"{verdict}: {one_line(reason)}" if reason else verdict
    return style(words, fg=VERDICT_COLOURS[verdict], bold=True)


def check_lines(check: Check, *, source: bool, torch: str | None = None, title: str = "") -> Iterator[str]:
    """Yield the lines about one check: its message, its remedies, and its source if ``source`` is True.

    ``torch`` is the version of PyTorch that the person named, for commands that can be copied; None stands for none.
    ``title`` stands in the place of the check's name, unless it is "".
    """
    glyph, colour = _STATUS_GLYPHS[check.status]
    name = one_line(title, MAX_CELL) + ":" if title else one_line(check.name, MAX_NAME)
    words = one_line(f"{check.reason}: {check.message}" if check.reason else check.message)
    yield f"{style(glyph, fg=colour)} {_padded(name, NAME_WIDTH)} {words}".rstrip()
    if check.status not in (Status.PASS, Status.NOTE):
        yield from remedy_lines(check.remedies, torch)
    if check.source and source:
        yield f"    {style(_origin(check), dim=True)}"


def remedy_lines(remedies: Remedies, torch: str | None = None) -> Iterator[str]:
    """Yield the lines that say what solves a problem, with commands to copy, or nothing if there are no remedies."""
    if remedies:
        yield f"    → {one_line(in_words(remedies))}"
    for image in dict.fromkeys(dict(one.parameters).get("image", "") for one in remedies):
        if image:
            yield f"      image {one_line(image, MAX_NAME)}"
    for command in dict.fromkeys(remedy_command(one, torch) for one in remedies):
        if command:
            yield f"      {one_line(command)}"


def in_words(remedies: Remedies) -> str:
    """Return remedies as one text for people: ``Upgrade the driver; or use another image.``"""
    messages = [one.message for one in remedies]
    if len(messages) < 2:
        return "".join(messages)
    first, *others = (message.removesuffix(".") for message in messages)
    return "; or ".join((first, *map(_uncapitalised, others))) + "."


def _uncapitalised(message: str) -> str:
    """Return a sentence as it is written within another one. A first word in capital letters stays as it is."""
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]


def _origin(check: Check) -> str:
    """Return one line with the source of a check, and the section of ``docs/reasons.md`` about its reason."""
    outside = one_line(check.source) if check.source != reasons.OWN_RULE else ""
    section = f"see {reasons.section(check.reason)}" if reasons.known(check.reason) else ""
    return "  ".join(part for part in (outside, section) if part) or one_line(check.source)


def subject(torch: str | None, cuda: str | None, driver: str | None, gpus: Sequence[str]) -> list[str]:
    """Return the parts of a line that names an image and a node, such as ``driver 580.65.06`` and ``2 × NVIDIA L4``.

    A part that is not known is left out. The texts are those that were given, for any format of the output.
    """
    parts = []
    if torch or cuda:
        parts.append("PyTorch" + (f" {torch}" if torch else "") + (f" (CUDA {cuda})" if cuda else ""))
    if driver:
        parts.append(f"driver {driver}")
    for name in dict.fromkeys(gpus):
        count = gpus.count(name)
        parts.append(f"{count} × {name}" if count > 1 else name)
    return parts


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    colour: Callable[[str], str | None] = VERDICT_COLOURS.get,
) -> str:
    """Return header and rows as aligned columns. The last column is not padded.

    ``colour`` returns the colour of a cell. By default, verdicts have their own.
    """
    cells = [tuple(header), *(tuple(one_line(cell, MAX_CELL) for cell in row) for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(header) - 1)]
    lines = []
    for row in cells:
        padded = [(cell, _padded(cell, columns)) for cell, columns in zip(row, (*widths, 0), strict=True)]
        fields = [style(filled, fg=fg) if (fg := colour(cell)) else filled for cell, filled in padded]
        lines.append("  ".join(fields).rstrip())
    return "\n".join(lines)


def _padded(text: str, columns: int) -> str:
    """Return a line with spaces at its end, so that it fills as many columns of a terminal."""
    return text + " " * (columns - width(text))
