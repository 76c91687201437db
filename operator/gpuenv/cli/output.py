"""How verdicts are shown: a table for people, JSON for programs, Markdown to paste into an issue."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from click import style

from gpuenv.assess.case import Case, is_cpu_build, make_case
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Assessment, Check, Status
from gpuenv.knowledge import Knowledge
from gpuenv.knowledge.versions import show

MARKS: Final = {
    Status.FAIL: ("✗", "red"),
    Status.UNKNOWN: ("?", "magenta"),
    Status.WARN: ("!", "yellow"),
    Status.NOTE: ("·", "blue"),
    Status.SKIPPED: ("-", None),
    Status.PASS: ("✓", "green"),
}
COLOURS: Final = {"Compatible": "green", "Degraded": "yellow", "Incompatible": "red", "Unknown": "magenta"}
WANTED: Final = (
    "looked for a PyTorch version, a CUDA version, a driver version, GPU names and known error texts"
)


class Judged(Protocol):
    """What can be shown: the facts of one image on one node, and what they add up to."""

    @property
    def name(self) -> str:
        """What the person calls the node; "" for the only one."""
        ...

    @property
    def facts(self) -> Facts:
        """What is known."""
        ...

    @property
    def assessment(self) -> Assessment:
        """What it adds up to."""
        ...

    @property
    def knowledge(self) -> Knowledge:
        """The tables that it follows from."""
        ...


def told(assessment: Assessment) -> list[Check]:
    """The checks that say something: all but those that passed, each once."""
    found: dict[tuple[str, str], Check] = {}
    for check in assessment.checks:
        if check.status not in (Status.PASS, Status.SKIPPED):
            found.setdefault((check.reason, check.message), check)
    return list(found.values())


def table(answers: Sequence[Judged], verbose: bool) -> str:
    """One answer line by line; several as a table, with each cure once."""
    return _one(answers[0], verbose) if len(answers) == 1 else _many(answers)


def _one(answer: Judged, verbose: bool) -> str:
    assessment = answer.assessment
    verdict = str(assessment.verdict)
    reason = f": {assessment.reason}" if assessment.reason else ""
    lines = [style(verdict + reason, fg=COLOURS[verdict], bold=True)]
    known = _summary(answer.facts)
    about = known if known else f"nothing usable was found; {WANTED}"
    lines.append(f"{answer.name}: {about}" if answer.name else about)
    for check in assessment.checks if verbose else told(assessment):
        mark, colour = MARKS[check.status]
        code = f"{check.reason}: " if check.reason else ""
        lines.append(f"{style(mark, fg=colour)} {check.name:<16} {code}{check.message}")
        if check.remediation and check.status not in (Status.PASS, Status.NOTE):
            lines.append(f"    → {check.remediation}")
        if check.source and (verbose or check.status in (Status.FAIL, Status.WARN)):
            lines.append(f"    {style(check.source, dim=True)}")
    return "\n".join(lines) + "\n"


def _many(answers: Sequence[Judged]) -> str:
    rows = [("node", "verdict", "reason", "message")]
    rows += [
        (answer.name, str(answer.assessment.verdict), answer.assessment.reason, answer.assessment.message)
        for answer in answers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for number, row in enumerate(rows):
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        if number:
            cells[1] = style(cells[1], fg=COLOURS[row[1]])
        lines.append("  ".join((*cells, row[3])).rstrip())
    cures = _cures(answers)
    lines += ["", *(f"{reason}: {cure}" for cure, reason in cures.items())] if cures else []
    return "\n".join(lines) + "\n"


def _cures(answers: Sequence[Judged]) -> dict[str, str]:
    """The cure of each answer's worst check, each once, with its reason."""
    found: dict[str, str] = {}
    for answer in answers:
        worst = answer.assessment.checks[0] if answer.assessment.checks else None
        if worst and answer.assessment.reason and worst.remediation:
            found.setdefault(worst.remediation, worst.reason)
    return found


def _summary(facts: Facts) -> str:
    parts = []
    if facts.torch.version or facts.torch.cuda:
        version = f" {facts.torch.version}" if facts.torch.version else ""
        cuda = f" (CUDA {facts.torch.cuda})" if facts.torch.cuda else ""
        parts.append(f"PyTorch{version}{cuda}")
    driver = facts.driver.version or facts.node.driver_version
    if driver:
        parts.append(f"driver {driver}")
    names: dict[str, int] = {}
    for gpu in facts.gpus:
        name = gpu.product or (show(gpu.compute_capability) if gpu.compute_capability else "GPU")
        names[name] = names.get(name, 0) + 1
    parts += [f"{count} × {name}" if count > 1 else name for name, count in names.items()]
    if facts.errors:
        parts.append(f"{len(facts.errors)} error{'s' if len(facts.errors) > 1 else ''}")
    if facts.unrecognised:
        parts.append("an error that is not known")
    return ", ".join(parts)


def as_data(answer: Judged) -> dict[str, Any]:
    """The JSON form of one answer, the same for ``explain`` and ``check``."""
    assessment = answer.assessment
    case = make_case(answer.facts, None, (), answer.knowledge, None)
    return {
        "verdict": str(assessment.verdict),
        "reasons": [
            {
                "code": check.reason,
                "status": str(check.status),
                "check": check.name,
                "message": check.message,
                "remediation": check.remediation,
                "source": check.source,
            }
            for check in told(assessment)
        ],
        "facts": facts_data(case),
        "unknowns": unknowns(case),
    } | ({"name": answer.name} if answer.name else {})


def facts_data(case: Case) -> dict[str, Any]:
    """The facts that verdicts follow from, without what is not known."""
    facts = case.facts
    data = {
        "source": facts.source,
        "pytorch": facts.torch.version,
        "cuda": show(case.runtime) if case.runtime else None,
        "cudaAvailable": facts.torch.available,
        "cudnn": facts.torch.cudnn,
        "archList": list(case.arch_flags) if case.arch_flags else None,
        "python": facts.container.python,
        "driver": case.driver_text or None,
        "driverCuda": show(case.api_cuda) if case.api_cuda else None,
        "platform": facts.node.platform,
        "gpus": [
            {
                key: value
                for key, value in {
                    "index": device.index,
                    "product": device.product,
                    "computeCapability": show(device.compute_capability)
                    if device.compute_capability
                    else None,
                }.items()
                if value is not None
            }
            for device in case.devices
        ],
        "errors": [failure.message for failure in facts.errors],
    }
    return {key: value for key, value in data.items() if value not in (None, [])}


def unknowns(case: Case) -> list[str]:
    """What a verdict would follow from, and is not known."""
    if is_cpu_build(case.facts):
        return []
    missing = {
        "pytorch": not case.facts.torch.version,
        "cuda": case.runtime is None,
        "driver": case.driver is None and case.api is None,
        "gpu": not case.devices,
        "computeCapability": any(device.compute_capability is None for device in case.devices),
        "archList": not case.arch_flags,
    }
    return [name for name, absent in missing.items() if absent]


def as_json(answers: Sequence[Judged], verbose: bool) -> str:
    """One object for one answer; ``{"results": [...]}`` for several."""
    del verbose
    data = [as_data(answer) for answer in answers]
    return json.dumps(data[0] if len(data) == 1 else {"results": data}, indent=2, ensure_ascii=False) + "\n"


def markdown(answers: Sequence[Judged], verbose: bool) -> str:
    """Tables that GitHub shows."""
    lines: list[str] = []
    if len(answers) > 1:
        lines += ["| node | verdict | reason | message |", "| --- | --- | --- | --- |"]
        for answer in answers:
            found = answer.assessment
            lines.append(
                f"| {_cell(answer.name)} | **{found.verdict}** | {found.reason} | {_cell(found.message)} |"
            )
        cures = _cures(answers)
        lines += ["", *(f"- **{reason}**: {_cell(cure)}" for cure, reason in cures.items())] if cures else []
        return "\n".join(lines) + "\n"
    answer = answers[0]
    reason = f": {answer.assessment.reason}" if answer.assessment.reason else ""
    about = ": ".join(part for part in (answer.name, _summary(answer.facts) or WANTED) if part)
    lines += [f"**{answer.assessment.verdict}{reason}**", "", _cell(about), ""]
    checks = answer.assessment.checks if verbose else told(answer.assessment)
    if checks:
        lines += ["| | check | what | what helps |", "| --- | --- | --- | --- |"]
    for check in checks:
        source = f" ([source]({check.source.split()[0]}))" if check.source.startswith("http") else ""
        code = f"**{check.reason}** " if check.reason else ""
        cells = (
            str(check.status),
            check.name,
            f"{code}{_cell(check.message)}{source}",
            _cell(check.remediation),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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


def _cell(text: str) -> str:
    """Text that stays text in Markdown: names and errors come from whoever pasted them."""
    return "".join(_ESCAPES.get(char, char) for char in text)


FORMS: Final[dict[str, Callable[[Sequence[Judged], bool], str]]] = {
    "table": table,
    "json": as_json,
    "markdown": markdown,
}
"""Output forms by name."""
