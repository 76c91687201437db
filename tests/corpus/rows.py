"""The rows of the corpus: published reports, each with the verdict, reason and cure that its thread found.

The rows are in ``tests/unit/cases/``, a YAML list a file. docs/testing.md says what the fields mean.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import yaml

CASES: Final = Path(__file__).parents[1] / "unit" / "cases"
SET_ASIDE: Final = CASES / "set_aside.yaml"
"""The rows that the draw took. Nobody reads them before rules are written, so their score shows what rules are worth."""
OTHER_FORMATS: Final = frozenset({"published.yaml"})
ONE_IN: Final = 5
"""The draw takes one row in so many."""

PLATFORMS: Final = (
    "linux", "docker", "kubernetes", "gke", "eks", "aks", "openshift", "windows", "wsl", "jetson", "arm", "vm", "vgpu",
    "notebook", "hpc", "unknown",
)  # fmt: skip
TEXTS: Final = (
    "traceback", "log", "collect-env", "nvidia-smi", "runtime", "kernel-log", "events", "resolver", "packages", "versions",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published report.

    ``flags``, ``error`` and ``collect_env`` are what is given to ``gpuenv explain``. Any of ``verdict`` and any of
    ``reason`` is right. One of ``cure`` has to be in the remedies, and none of ``never``.
    """

    source: str
    year: int
    platform: str
    text: str
    verdict: list[str]
    reason: list[str]
    cure: list[str]
    flags: Mapping[str, str | list[str]] = field(default_factory=dict)
    error: str = ""
    collect_env: str = ""
    never: list[str] = field(default_factory=list)

    @property
    def drawn(self) -> bool:
        """Whether the draw takes this row out of those that rules may be written from."""
        return draw_number(self) % ONE_IN == 0


FIELDS: Final = frozenset(one.name for one in fields(Row))


def draw_number(row: Row) -> int:
    """Return the number that decides the draw. It follows from the row alone, so nobody chooses it."""
    return int(hashlib.sha256(f"{row.source}\n{row.error}".encode()).hexdigest(), 16)


def read(path: Path) -> list[Row]:
    """Return the rows of one file. Raises ValueError if an item is no row."""
    if not path.exists():
        return []
    return [row_of(item, path.name) for item in yaml.safe_load(path.read_text(encoding="utf-8")) or []]


def row_of(item: dict[str, Any], where: str) -> Row:
    """Return the row in an item of a file's list. Raises ValueError if a field is missing or unknown."""
    strange = set(item) - FIELDS
    if strange:
        raise ValueError(
            f"{where}: {item.get('source')}: {', '.join(sorted(strange))}: no such field of a row"
        )
    try:
        return Row(**item)
    except TypeError as error:
        raise ValueError(f"{where}: {item.get('source')}: {error}") from None


def open_files() -> list[Path]:
    """Return the files of rows that anybody may read."""
    return sorted(
        path for path in CASES.glob("*.yaml") if path != SET_ASIDE and path.name not in OTHER_FORMATS
    )


def open_rows() -> list[Row]:
    """Return the rows that the draw left."""
    return [row for path in open_files() for row in read(path)]


def set_aside_rows() -> list[Row]:
    """Return the rows that the draw took."""
    return read(SET_ASIDE)


def arguments(row: Row) -> Iterator[str]:
    """Yield the command-line options of a row, except the two that are texts."""
    for name, given in row.flags.items():
        for value in [given] if isinstance(given, str) else given:
            yield from (f"--{name.replace('_', '-')}", value)
