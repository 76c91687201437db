"""Parts of a probe report that are left out, one after the other, if it is too long for a termination message."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

from gpuenv_probe import statuses

Report = Dict[str, Any]


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8"))


class Cut:
    """An omission that cuts every text in a report to at most ``length`` characters."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, report: Report) -> None:
        self.cut(report)

    def cut(self, value: Any) -> int:
        """Cut every text in ``value``, a list or an object. Return how many bytes of JSON that saves."""
        saved = 0
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in entries:
            if isinstance(item, str):
                if len(item) > self.length:
                    value[key] = item[: self.length - 1] + "…"
                    saved += _json_bytes(item) - _json_bytes(value[key])
            elif isinstance(item, (dict, list)):
                saved += self.cut(item)
        return saved


def _drop(*path: str) -> Callable[[Report], None]:
    """Return a function that removes the field at ``path`` from a report.

    Where the path meets a list of rows, the field is removed from every row.
    """

    def drop(report: Report) -> None:
        places: list[Any] = [report]
        for name in path[:-1]:
            found = [place[name] for place in places if isinstance(place.get(name), (dict, list))]
            places = [row for item in found for row in (item if isinstance(item, list) else [item])]
        for place in places:
            place.pop(path[-1], None)

    return drop


def _drop_spread(report: Report) -> None:
    for row in report.get("benchmarks", ()):
        for name in ("p20", "p80", "samples"):
            row.pop(name, None)


def _drop_passed(report: Report) -> None:
    if "steps" in report:
        report["steps"] = [step for step in report["steps"] if step.get("status") != statuses.PASS]


def _drop_all_but_name(report: Report) -> None:
    kept: Report = {name: report[name] for name in ("schema", "stage", "run") if name in report}
    report.clear()
    report.update(kept, complete=False, ended="the report does not fit")


OMISSIONS: tuple[tuple[str, Callable[[Report], None]], ...] = (
    ("texts over 300 characters", Cut(300)),
    ("benchmarks.detail", _drop("benchmarks", "detail")),
    ("gpus.health.unavailable", _drop("gpus", "health", "unavailable")),
    ("texts over 120 characters", Cut(120)),
    ("commands.tail", _drop("commands", "tail")),
    ("container.env", _drop("container", "env")),
    ("steps.detail", _drop("steps", "detail")),
    ("torch.warnings", _drop("torch", "warnings")),
    ("benchmarks spread", _drop_spread),
    ("container.notes", _drop("container", "notes")),
    ("gpus.health", _drop("gpus", "health")),
    ("benchmarks", _drop("benchmarks")),
    ("steps that passed", _drop_passed),
    ("texts over 60 characters", Cut(60)),
    ("container", _drop("container")),
    ("commands", _drop("commands")),
    ("gpus", _drop("gpus")),
    ("steps.error.message", _drop("steps", "error", "message")),
    ("everything", _drop_all_but_name),
)
"""The parts to leave out of a probe report that is too long, one after the other, until it fits.

Each entry has the name of a part, which the report's field ``omitted`` then contains, and the function that removes the
part from a report. The least important parts come first, and the parts that decide the verdict come last.
"""
