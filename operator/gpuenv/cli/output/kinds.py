"""Several answers in groups: nodes of one kind (equal GPUs, driver and answers), and causes with the nodes they concern."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.remedies import Action, Remedies, Remedy
from gpuenv.assess.model import Check, Verdict
from gpuenv.cli.output.answer import Answer, gpu_title

UNKNOWN: Final = "not known"
"""Stands for a GPU or a driver that is not known."""
_GLYPHS: Final = {Verdict.INCOMPATIBLE: "✗", Verdict.UNKNOWN: "?", Verdict.DEGRADED: "!"}
COLOURS: Final = {"✗": "red", "?": "magenta", "!": "yellow", "ok": "green"}
"""Maps the first word of a cell to its colour."""
_WHATEVER_THE_DRIVER: Final = frozenset({reasons.ArchNotInBuild, reasons.CudnnDroppedGpu})


@dataclass(frozen=True, slots=True)
class Kind:
    """Nodes with equal GPUs, an equal driver and equal answers. ``answers`` are those of the first node, one a build."""

    gpu: str
    driver: str
    nodes: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of verdicts: the build and the nodes that it concerns, the names of their GPUs, and what helps."""

    check: Check
    build: str
    nodes: tuple[str, ...]
    gpus: tuple[str, ...]
    torch: str | None


def gpu_text(answer: Answer) -> str:
    """Return the GPUs of a node in words, such as ``8 × NVIDIA A100-SXM4-80GB``."""
    titles = [gpu_title(gpu) for gpu in answer.facts.gpus]
    found = [
        f"{titles.count(name)} × {name}" if titles.count(name) > 1 else name for name in dict.fromkeys(titles)
    ]
    return " + ".join(found) or answer.facts.node.product or UNKNOWN


def driver_text(answer: Answer) -> str:
    """Return the driver of a node as text. It is the present one, also of an answer about another driver."""
    answer = answer.before or answer
    return answer.facts.driver.version or answer.facts.node.driver_version or UNKNOWN


def by_node(answers: Iterable[Answer]) -> list[list[Answer]]:
    """Return the answers of each node, one a build, in the order of the builds."""
    nodes: dict[int, list[Answer]] = {}
    for answer in answers:
        nodes.setdefault(answer.node_number, []).append(answer)
    return list(nodes.values())


def kinds(answers: Iterable[Answer]) -> list[Kind]:
    """Return the nodes of all answers by kind: those with the worst answers first, then the larger kinds."""
    groups: dict[tuple[str, ...], list[list[Answer]]] = {}
    for row in by_node(answers):
        before = [cell(one.before) if one.before else "" for one in row]
        key = (gpu_text(row[0]), driver_text(row[0]), *map(cell, row), *before)
        groups.setdefault(key, []).append(row)
    found = [
        Kind(key[0], key[1], tuple(row[0].node for row in rows), tuple(rows[0]))
        for key, rows in groups.items()
    ]
    return sorted(found, key=lambda kind: (-_badness(kind.answers), -len(kind.nodes)))


def _badness(answers: Iterable[Answer]) -> int:
    return sum(answer.assessment.verdict.severity for answer in answers)


def cell(answer: Answer) -> str:
    """Return an answer in a few words: ``ok``, ``✗ DriverTooOld → 580.65.06``, ``✗ ArchNotInBuild (no driver helps)``."""
    assessment, opened = answer.assessment, answer.open
    if assessment.verdict is Verdict.COMPATIBLE:
        return "ok"
    found = f"{_GLYPHS[assessment.verdict]} {assessment.reason}".rstrip()
    if assessment.reason in _WHATEVER_THE_DRIVER or (opened is not None and opened.no_driver):
        return f"{found} (no driver helps)"
    if opened is not None and opened.drivers is not None and answer.facts.gpus:
        least = opened.drivers.first
        return f"{found} (ok from driver {least if '.' in least else f'R{least}'})"
    return found + _way(assessment.checks[0].remedies if assessment.checks else ())


def _way(remedies: Remedies) -> str:
    """Return the driver that the best remedy names, such as `` → 580.65.06``, or "" if it names none."""
    told = dict(remedies[0].parameters) if remedies else {}
    action = remedies[0].action if remedies else ""
    if action == Action.UPGRADE_DRIVER and told.get("minVersion"):
        least = told["minVersion"]
        return f" → {least if '.' in least else f'R{least}'}"
    return f" → R{told['branch']}" if action == Action.CHANGE_DRIVER and told.get("branch") else ""


def causes(answers: Sequence[Answer]) -> list[Cause]:
    """Return the leading causes of all verdicts except Compatible, each with its nodes; the most severe ones first.

    Nodes with the same build, reason and remedies share a cause. Its message is that of the first of them. If a change puts
    one build in the place of several, it counts once for each node.
    """
    groups: dict[tuple[str, str, tuple[Remedy, ...]], dict[int, Answer]] = {}
    for answer in answers:
        found = answer.assessment
        if found.verdict is not Verdict.COMPATIBLE and found.checks:
            key = (answer.judged_build, found.reason, found.checks[0].remedies)
            groups.setdefault(key, {}).setdefault(answer.node_number, answer)
    ordered = sorted(
        ([*rows.values()] for rows in groups.values()), key=lambda rows: -rows[0].assessment.verdict.severity
    )
    return [
        Cause(
            check=rows[0].assessment.checks[0],
            build=rows[0].judged_build,
            nodes=tuple(row.node for row in rows),
            gpus=tuple(dict.fromkeys(map(gpu_text, rows))),
            torch=rows[0].facts.torch.version,
        )
        for rows in ordered
    ]
