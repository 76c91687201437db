"""The rows of the table that the benches fill, as text for people and as JSON lines for programs."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    ``baseline`` is a figure in the same unit, measured in the same run, that the value is compared with; None if
    nothing is comparable. ``goal`` is the largest value that is accepted, or the largest ratio if there is a baseline;
    None if the figure is for information only. ``where`` says on what the figure was measured, such as ``1,000 nodes``.
    """

    bench: str
    value: float
    unit: str
    where: str
    baseline: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value divided by the baseline."""
        return None if not self.baseline else self.value / self.baseline

    @property
    def missed(self) -> bool:
        """Whether the figure is larger than its goal."""
        compared = self.value if self.ratio is None else self.ratio
        return self.goal is not None and compared > self.goal

    def line(self) -> str:
        """Return the row as one line of JSON."""
        ratio = None if self.ratio is None else round(self.ratio, 3)
        return json.dumps(
            {
                "bench": self.bench,
                "value": round(self.value, 3),
                "unit": self.unit,
                "baseline": None if self.baseline is None else round(self.baseline, 3),
                "ratio": ratio,
                "where": f"{self.where}; {machine()}",
            }
        )


def machine() -> str:
    """Return the machine and the Python that measured, in a few words."""
    return f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table of text."""
    cells = [("bench", "value", "unit", "baseline", "ratio", "goal", "where")]
    for row in rows:
        goal = "" if row.goal is None else f"{_figure(row.goal)}{' MISSED' if row.missed else ''}"
        cells.append(
            (
                row.bench, _figure(row.value), row.unit, _figure(row.baseline), _figure(row.ratio), goal, row.where,
            )
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
