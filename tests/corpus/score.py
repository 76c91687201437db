"""Judges rows of the corpus with ``gpuenv explain`` and compares the answers with what the threads found."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.corpus.rows import Row, arguments
from tests.support.explain import as_json

from gpuenv.assess.model import Verdict

REMEDIES: Final = 2
"""How many remedies of the leading check are read: people try the first one or two."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A row and the answer to it: its verdict, and the reason and the remedies of its leading check."""

    row: Row
    verdict: str
    reason: str
    remedies: str

    @property
    def cause_right(self) -> bool:
        """Whether verdict and leading reason are right."""
        return self.verdict in self.row.verdict and self.reason in self.row.reason

    @property
    def cure_right(self) -> bool:
        """Whether the remedies have one of the expected words and none of the forbidden ones."""
        said = not self.row.cure or any(word in self.remedies for word in self.row.cure)
        return said and not any(word in self.remedies for word in self.row.never)

    @property
    def right(self) -> bool:
        """Whether verdict, leading reason and cure are right."""
        return self.cause_right and self.cure_right

    @property
    def false_compatible(self) -> bool:
        """Whether something is said to work that did not work, or that nobody knows."""
        return self.verdict == "Compatible" and "Compatible" not in self.row.verdict

    def __str__(self) -> str:
        """What is wrong with the answer, in one line."""
        wrong = []
        if not self.cause_right:
            expected = f"{'/'.join(self.row.verdict)} {'/'.join(self.row.reason)}"
            wrong.append(f"{self.verdict} {self.reason or '-'}, expected {expected}")
        if not self.cure_right:
            never = f", none of {self.row.never}" if self.row.never else ""
            wrong.append(f"cure {self.remedies[:160]!r}, expected one of {self.row.cure}{never}")
        return f"{self.row.source}: {'; '.join(wrong) or 'right'}"


def score(row: Row) -> Scored:
    """Run ``gpuenv explain`` with the inputs of a row, in this process."""
    given = list(arguments(row))
    with tempfile.TemporaryDirectory() as folder:
        for option, text in (("--collect-env", row.collect_env), ("--error", row.error)):
            if text:
                path = Path(folder) / option.strip("-")
                path.write_text(text, encoding="utf-8")
                given += [option, str(path)]
        found = as_json(*given)
    # Several GPUs are several answers; what counts is the worst one.
    answer = max(found.get("results", [found]), key=lambda one: Verdict(one["verdict"]).severity)
    check = _leading(answer)
    remedies = " ".join(one["message"] for one in check.get("remedies", [])[:REMEDIES])
    return Scored(row, answer["verdict"], check.get("code", ""), remedies.lower())


def _leading(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the leading check: the first one of the answer, without the notes to a Compatible one. {} if there is none."""
    ignored = {"Pass", "Skipped"} | ({"Note"} if answer["verdict"] == "Compatible" else set())
    checks: list[dict[str, Any]] = answer["reasons"]
    return next((check for check in checks if check["status"] not in ignored), {})


def score_all(rows: Iterable[Row]) -> list[Scored]:
    """Return the scored rows, in their order."""
    return [score(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Shares:
    """How many rows there are, and for how many of them the answer is right."""

    rows: int
    cause: int
    cure: int
    right: int
    false_compatible: int

    def __str__(self) -> str:
        """The figures in one line, with shares in percent."""
        return (
            f"{self.rows} rows: verdict and reason right {_percent(self.cause, self.rows)}, "
            f"cure right {_percent(self.cure, self.rows)}, all of it {_percent(self.right, self.rows)}, "
            f"false Compatible {self.false_compatible}"
        )


def shares(scored: Iterable[Scored]) -> Shares:
    """Count the right answers."""
    found = list(scored)
    return Shares(
        len(found),
        sum(one.cause_right for one in found),
        sum(one.cure_right for one in found),
        sum(one.right for one in found),
        sum(one.false_compatible for one in found),
    )


def _percent(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"
