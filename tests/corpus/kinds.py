"""The table of kinds: how many rows of the corpus there are for each reason, platform and source of text, and their scores."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from tests.corpus.score import Scored, shares

HEADINGS = ("reason", "platforms", "texts", "rows", "recent", "cause", "cure", "all")
RECENT = 2025


def table(scored: Iterable[Scored]) -> str:
    """Return one line for each reason that is expected first, with counts of platforms and texts, and the rows right."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.row.reason[0] or "(Compatible)"].append(one)
    lines = [HEADINGS]
    for reason, members in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        found = shares(members)
        recent = sum(one.row.year >= RECENT for one in members)
        lines.append(
            (
                reason,
                _counted(members, lambda one: one.row.platform),
                _counted(members, lambda one: one.row.text),
                *(str(number) for number in (found.rows, recent, found.cause, found.cure, found.right)),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _counted(members: list[Scored], name: Callable[[Scored], str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for one in members:
        counts[name(one)] += 1
    return " ".join(f"{key}:{count}" for key, count in sorted(counts.items(), key=lambda item: -item[1]))
