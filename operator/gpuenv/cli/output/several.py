"""Several answers at once: a fleet by kind or by node, builds on one node, and what a change would make of them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from gpuenv.api import check_names
from gpuenv.api.foreign_text import in_markdown, one_line
from gpuenv.assess.model import Verdict
from gpuenv.assess.questions.builds import WorkingBuild
from gpuenv.cli.output import text
from gpuenv.cli.output.answer import Answer, assumed
from gpuenv.cli.output.by import By
from gpuenv.cli.output.images import image_lines
from gpuenv.cli.output.install_lines import remedy_command
from gpuenv.cli.output.kinds import COLOURS, Cause, by_node, causes, cell, driver_text, gpu_text, kinds
from gpuenv.cli.output.open_answers import drivers
from gpuenv.cli.output.open_answers import lines as open_lines

MOST_CAUSES: Final = 50
"""How many causes are shown. JSON has all answers."""
MOST_NAMES: Final = 10
"""How many nodes or GPUs a cause names."""


class Sheet(NamedTuple):
    """A table: its header, and its rows."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sheet(answers: Sequence[Answer], by: By) -> Sheet:
    """Return the table of several answers."""
    if answers[0].before is not None:
        return _differences(answers)
    rows = by_node(answers)
    if len(rows) == 1:
        return _builds(rows[0])
    builds = tuple(answer.build or "ANSWER" for answer in rows[0])
    if by is By.NODE:
        return _by_node(rows, builds if len(builds) > 1 else ())
    return _by_kind(answers, builds, named=bool(answers[0].node))


def _builds(answers: Sequence[Answer]) -> Sheet:
    rows = []
    for answer in answers:
        found, opened = answer.assessment, answer.open
        message = found.message
        if opened is not None and opened.drivers is not None:
            message = f"with driver {drivers(opened.drivers)}; {message}"
        rows.append((answer.build, str(found.verdict), found.reason, message))
    return Sheet(("BUILD", "VERDICT", "REASON", "MESSAGE"), rows)


def _by_kind(answers: Sequence[Answer], builds: tuple[str, ...], *, named: bool) -> Sheet:
    found = kinds(answers)
    rows: list[tuple[str, ...]] = []
    for kind in found:
        count = (str(len(kind.nodes)),) if named else ()
        rows.append((kind.gpu, kind.driver, *count, *map(cell, kind.answers)))
    total = sum(len(kind.nodes) for kind in found)
    good = [
        sum(len(kind.nodes) for kind in found if kind.answers[place].assessment.verdict is Verdict.COMPATIBLE)
        for place in range(len(found[0].answers))
    ]
    rows.append(
        (
            "compatible nodes" if named else "compatible",
            "",
            *(("",) if named else ()),
            *(f"{number}/{total}" for number in good),
        )
    )
    return Sheet(("GPU", "DRIVER", *(("NODES",) if named else ()), *builds), rows)


def _by_node(nodes: Sequence[Sequence[Answer]], builds: tuple[str, ...]) -> Sheet:
    named = bool(nodes[0][0].node)
    rows: list[tuple[str, ...]] = []
    for row in nodes:
        start = ((row[0].node,) if named else ()) + (gpu_text(row[0]), driver_text(row[0]))
        found = row[0].assessment
        single = (str(found.verdict), found.reason, found.message)
        rows.append((*start, *(map(cell, row) if builds else single)))
    header = (*(("NODE",) if named else ()), "GPU", "DRIVER")
    return Sheet((*header, *(builds or ("VERDICT", "REASON", "MESSAGE"))), rows)


def _differences(answers: Sequence[Answer]) -> Sheet:
    """Return a row for each kind and build: the answer now, and after the change. What changes comes first."""
    rows = []
    for kind in kinds(answers):
        for one in kind.answers:
            now, then = cell(one.before) if one.before else "", cell(one)
            start = (str(len(kind.nodes)), kind.gpu, kind.driver, one.build)
            same = f"{then} ({len(_new_builds(one))} builds run)" if _new_builds(one) else "unchanged"
            rows.append((*start, now, same if now == then else then))
    rows.sort(key=lambda row: row[-1] == "unchanged")
    header = ("NODES", "GPU", "DRIVER", "BUILD", "NOW", "THEN")
    return Sheet(header, rows)


def _new_builds(answer: Answer) -> Sequence[WorkingBuild]:
    """Return the builds that run after a change, if that is the question and its answer is another than before."""
    before, opened = answer.before, answer.open
    if before is None or opened is None or answer.facts.torch.version or before.open == opened:
        return ()
    return opened.builds


def _opened(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield what runs after a change, once for each kind of nodes, where that is the question."""
    if answers[0].before is None:
        return
    found = [kind for kind in kinds(answers) if _new_builds(kind.answers[0])][:MOST_CAUSES]
    for kind in found:
        one = kind.answers[0]
        yield ""
        if len(found) > 1:
            yield one_line(f"{kind.gpu}:")
        for line in open_lines(one.open, one.knowledge, None) if one.open else ():
            yield one_line(": ".join(filter(None, line)))


def summary(answers: Sequence[Answer]) -> str:
    """Return what a change would make of all answers, in one line, or "" if they are about no change."""
    if answers[0].before is None:
        return ""
    became: dict[str, int] = {}
    for answer in answers:
        before = answer.before.assessment.verdict if answer.before else None
        if answer.assessment.verdict is not before:
            word = str(answer.assessment.verdict)
            became[word] = became.get(word, 0) + 1
    opened = sum(1 for answer in answers if _new_builds(answer))
    same = len(answers) - sum(became.values()) - opened
    parts = [
        f"{count} become{'s' if count == 1 else ''} {word}"
        for word, count in sorted(became.items(), reverse=True)
    ]
    parts += [f"{opened} with other builds that run"] if opened else []
    parts += [f"{same} unchanged"] if same or not opened else []
    return f"with {answers[0].change}: " + ", ".join(parts)


def lines(answers: Sequence[Answer], by: By) -> Iterator[str]:
    """Yield the lines of several answers for people: the table, what was assumed, and the causes with their cures."""
    if first := summary(answers):
        yield one_line(first)
    found = sheet(answers, by)
    yield text.table(found.header, found.rows, colour=_colour)
    notes = _notes(answers)
    if notes:
        yield ""
        yield from notes
    yield from _opened(answers)
    shown, several = _concerning(answers), len({answer.judged_build for answer in answers}) > 1
    for cause in shown[:MOST_CAUSES]:
        yield ""
        yield from _cause_lines(cause, build=several)
    if len(shown) > MOST_CAUSES:
        yield f"\nand {len(shown) - MOST_CAUSES} more causes; -o json has them all"


def _concerning(answers: Sequence[Answer]) -> list[Cause]:
    """Return the causes to show: of a change, only those that it brings."""
    return causes(
        [
            one
            for one in answers
            if one.before is None or one.before.assessment.reason != one.assessment.reason
        ]
    )


def _notes(answers: Sequence[Answer]) -> list[str]:
    """Return what was assumed about builds, which of them the tables lack, and what images show, each once."""
    first = by_node(answers)[0]
    found = [
        f"{answer.build or answer.facts.torch.version}: CUDA {words}"
        for answer in first
        if (words := assumed(answer))
    ]
    found += [
        f"{answer.build or answer.facts.torch.version}: {check.reason}: {check.message}"
        for answer in answers
        for check in answer.findings
        if check.name == check_names.TORCH_RELEASE and check.reason != answer.assessment.reason
    ]
    images = [line for answer in answers for line in image_lines(answer)]
    return list(dict.fromkeys([*map(one_line, found), *images]))


def _title(cause: Cause, *, build: bool) -> str:
    """Return the nodes of a cause, and its build if ``build``: ``2.12.0+cu130, 5 nodes (Tesla V100-SXM2-16GB)``."""
    gpus = _some(cause.gpus)
    count = len(cause.nodes)
    where = f"{count} node{'s' if count > 1 else ''} ({gpus})" if cause.nodes[0] else gpus
    return f"{cause.build}, {where}" if build else where


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _cause_lines(cause: Cause, *, build: bool) -> Iterator[str]:
    yield from text.check_lines(
        cause.check, source=False, torch=cause.torch, title=_title(cause, build=build)
    )
    if len(cause.nodes) > 1 and cause.nodes[0]:
        yield f"    nodes: {one_line(_some(cause.nodes))}"


def markdown(answers: Sequence[Answer], by: By) -> list[str]:
    """Return the lines of several answers as Markdown."""
    found = sheet(answers, by)
    words = [summary(answers)] if answers[0].before is not None else []
    result = [part for line in words for part in (in_markdown(line), "")]
    result += [_markdown_row(found.header), "| " + " | ".join("---" for _ in found.header) + " |"]
    result += [_markdown_row(row) for row in found.rows]
    result += [part for line in _notes(answers) for part in ("", in_markdown(line))]
    result += [part for line in _opened(answers) for part in ("", in_markdown(line)) if line]
    several = len({answer.judged_build for answer in answers}) > 1
    for cause in _concerning(answers)[:MOST_CAUSES]:
        cure = in_markdown(text.in_words(cause.check.remedies))
        commands = dict.fromkeys(remedy_command(one, cause.torch) for one in cause.check.remedies)
        copied = "".join(f" `{command}`" for command in commands if command)
        what = f"**{cause.check.reason}** {in_markdown(_title(cause, build=several))}: {in_markdown(cause.check.message)}"
        result += ["", f"- {what}. {cure}{copied}"]
        if len(cause.nodes) > 1 and cause.nodes[0]:
            result.append(f"  Nodes: {in_markdown(_some(cause.nodes))}")
    return result


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(in_markdown, cells)) + " |"


def kinds_data(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the kinds of nodes as JSON data, each with its nodes and its answer for each build."""
    return [
        {
            "gpu": kind.gpu,
            "driver": kind.driver,
            "nodes": list(kind.nodes),
            "builds": [
                {
                    "build": one.build,
                    "verdict": str(one.assessment.verdict),
                    "reason": one.assessment.reason,
                }
                for one in kind.answers
            ],
        }
        for kind in kinds(answers)
    ]


def _colour(value: str) -> str | None:
    return COLOURS.get(value.split(" ", 1)[0]) or text.VERDICT_COLOURS.get(value)
