"""Says how tables differ from those of the package, and which answers this changes."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gpuenv.assess.table_change import Change, Sample, changes, combinations
from gpuenv.cli.output.knowledge_tables import TABLES, records
from gpuenv.knowledge import Knowledge

SHOWN: Final = 20
"""How many rows and changes the text shows. JSON and YAML have them all."""
_KEYS: Final = {"torch": 2}
"""How many columns name a row of a table, if it is not one."""


def compared(before: Knowledge, after: Knowledge, stored: Sequence[Sample]) -> dict[str, Any]:
    """Return as data: rows that are new, gone or different in each table, how many answers were compared, and changes."""
    samples = [*combinations(before, after), *stored]
    return {
        "tables": {name: rows for name in TABLES if (rows := _rows(name, before, after))},
        "compared": {"combinations": len(samples) - len(stored), "storedCases": len(stored)},
        "changes": [_data(change) for change in changes(samples, before, after)],
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for people about what :func:`compared` returned."""
    for name, rows in found["tables"].items():
        yield f"{name}: " + ", ".join(f"{len(rows[how])} {how}" for how in ("new", "gone", "different"))
        told = [
            *(f"  + {row}" for row in rows["new"]),
            *(f"  - {row}" for row in rows["gone"]),
            *(f"  ~ {row}: {', '.join(columns)}" for row, columns in rows["different"].items()),
        ]
        yield from _shortened(told)
    if not found["tables"]:
        yield "the tables are those of gpuenv"
    count = found["compared"]
    stored = f" and {count['storedCases']} stored cases" if count["storedCases"] else ""
    answers = len(found["changes"])
    yield f"{count['combinations']} combinations of build, GPU and driver{stored}: {answers or 'no'} answers change"
    yield from _shortened([f"  {_words(change)}" for change in found["changes"]])


def _shortened(told: list[str]) -> Iterator[str]:
    yield from told[:SHOWN]
    if len(told) > SHOWN:
        yield f"  and {len(told) - SHOWN} more (-o json has them all)"


def _rows(name: str, before: Knowledge, after: Knowledge) -> dict[str, Any]:
    old, new = (_by_name(name, tables) for tables in (before, after))
    different = {
        row: [column for column, value in new[row].items() if old[row].get(column) != value]
        for row in new
        if row in old and old[row] != new[row]
    }
    found = {
        "new": [row for row in new if row not in old],
        "gone": [row for row in old if row not in new],
        "different": different,
    }
    return found if any(found.values()) else {}


def _by_name(name: str, tables: Knowledge) -> dict[str, dict[str, Any]]:
    found = {}
    for record in records(list(TABLES[name](tables))):
        key = " ".join(str(value) for value in list(record.values())[: _KEYS.get(name, 1)])
        found[key] = record
    return found


def _data(change: Change) -> dict[str, Any]:
    return {
        "case": change.name,
        "before": {"verdict": str(change.before.verdict), "reason": change.before.reason},
        "after": {"verdict": str(change.after.verdict), "reason": change.after.reason},
    }


def _words(change: dict[str, Any]) -> str:
    before, after = (
        ": ".join(filter(None, (change[when]["verdict"], change[when]["reason"])))
        for when in ("before", "after")
    )
    return f"{change['case']}: {before} -> {after}"
