"""Moves the rows that the draw takes from files of the corpus into ``set_aside.yaml``: ``python -m tests.corpus.sort FILE ...``.

Rows are moved as they are written, and stay in the order of their numbers in the draw. Run it after new rows are written.
"""

import re
import sys
from pathlib import Path
from typing import Final

import yaml
from tests.corpus.rows import SET_ASIDE, Row, draw_number, row_of

_START_OF_ITEM: Final = re.compile(r"^(?=- )", re.MULTILINE)
_HEADER: Final = (
    "# One row in five, taken by chance. Nobody reads these before rules are written: see docs/testing.md.\n"
)


def _items(path: Path) -> tuple[str, list[tuple[Row, str]]]:
    """Return the comment at the head of a file, and each row with its text."""
    text = path.read_text(encoding="utf-8") if path.exists() else _HEADER
    head, *items = _START_OF_ITEM.split(text)
    return head, [(row_of(yaml.safe_load(item)[0], path.name), item.rstrip("\n") + "\n") for item in items]


def sort(path: Path, set_aside: Path = SET_ASIDE) -> int:
    """Move the drawn rows of one file, and return how many there were."""
    head, found = _items(path)
    drawn = [(row, item) for row, item in found if row.drawn]
    set_aside_head, others = _items(set_aside)
    together = sorted([*others, *drawn], key=lambda one: draw_number(one[0]))
    set_aside.write_text(set_aside_head + "".join(item for _, item in together), encoding="utf-8")
    path.write_text(head + "".join(item for row, item in found if not row.drawn), encoding="utf-8")
    return len(drawn)


def main() -> None:
    """Move the drawn rows of the files on the command line."""
    for name in sys.argv[1:]:
        print(f"{name}: {sort(Path(name))} rows set aside")


if __name__ == "__main__":
    main()
