"""The log of a soak test: one JSON object a line, for each fault, check-point and breach. A log can be replayed."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A fault to come: how many seconds after the start of its round, its name and its parameters."""

    at: float
    fault: str
    parameters: Object


@dataclass(frozen=True)
class Round:
    """A theme, and its faults in order. After a round everything must become right again."""

    number: int
    theme: str
    faults: tuple[Planned, ...]

    def shortened(self, seconds: float) -> "Round":
        """Return the round with its faults of the first so many seconds only."""
        return replace(self, faults=tuple(one for one in self.faults if one.at < seconds))


@dataclass
class Log:
    """Writes the log, and counts."""

    path: Path
    seed: int
    began: float = field(default_factory=time.monotonic)
    faults: Counter[str] = field(default_factory=Counter)
    breaches: list[Object] = field(default_factory=list)
    checkpoints: list[Object] = field(default_factory=list)
    round: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    """What was counted besides faults."""

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return round(time.monotonic() - self.began, 3)

    def fault(self, one: Round, planned: Planned, hit: str, *, missed: bool = False) -> None:
        """Log a fault that has ended. ``hit`` says what it has hit, such as the name of a pod.

        A fault that has ``missed``, because there was nothing to hit, does not count.
        """
        self.faults[planned.fault] += not missed
        self._write(
            {
                "seed": self.seed,
                "round": one.number,
                "theme": one.theme,
                "at": planned.at,
                "fault": planned.fault,
                "parameters": planned.parameters,
                "hit": hit,
            }
        )

    def checkpoint(self, one: Round, seconds: float, problems: list[str]) -> None:
        """Log how long it took after the last fault until everything was right, or what was not."""
        entry = {
            "round": one.number,
            "theme": one.theme,
            "checkpoint": not problems,
            "recovered": round(seconds, 1),
        }
        self.checkpoints.append(entry | {"problems": problems})
        self._write(entry | {"problems": problems[:40]})

    def breach(self, kind: str, line: str) -> None:
        """Log something that must never be, as it happens."""
        entry = {"round": self.round, "breach": kind, "text": line}
        self.breaches.append(entry | {"seconds": self.seconds})
        self._write(entry)

    def _write(self, entry: Object) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entry | {"seconds": self.seconds}) + "\n")


def read_entries(path: Path) -> Iterator[Object]:
    """Yield all lines of a log, which may be compressed (``.gz``)."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    yield from map(json.loads, text.decode().splitlines())


def read_rounds(path: Path) -> list[Round]:
    """Return the rounds of a log, to be made again."""
    rounds: dict[int, tuple[str, list[Planned]]] = {}
    for entry in read_entries(path):
        if "fault" in entry:
            _, faults = rounds.setdefault(entry["round"], (entry["theme"], []))
            faults.append(Planned(entry["at"], entry["fault"], entry["parameters"]))
    return [
        Round(number, theme, tuple(sorted(faults, key=lambda one: (one.at, one.fault))))
        for number, (theme, faults) in sorted(rounds.items())
    ]
