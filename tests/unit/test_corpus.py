"""The corpus of published reports: its rows are well formed, none becomes a false Compatible, and enough answers are right."""

import re
from functools import cache
from pathlib import Path

import pytest
from tests.corpus import rows
from tests.corpus.rows import PLATFORMS, TEXTS, Row, open_rows, set_aside_rows
from tests.corpus.score import Scored, score_all, shares
from tests.corpus.sort import sort

from gpuenv.api import reasons
from gpuenv.assess.model import Verdict

CAUSE = 0.87
"""The least share of open rows with the right verdict and leading reason. It only rises, except when rows are added."""
CURE = 0.88
"""The least share of open rows whose first remedies say what helped."""
PRIVATE = re.compile(
    r"/home/(?!user\b)\w|/Users/(?!user\b)\w|C:\\Users\\(?!user\b)\w|[\w.]+@[\w-]+\.\w|\b192\.168\.\d|\b172\.(1[6-9]|2\d|3[01])\.\d"
)
"""Matches what names a person or a machine: directories of users, addresses of mail, private addresses."""


@cache
def scored() -> tuple[list[Scored], list[Scored]]:
    """Return the open rows and those set aside, scored."""
    return score_all(open_rows()), score_all(set_aside_rows())


def faults(row: Row) -> list[str]:
    """Return what is wrong with the form of a row."""
    known = {"", *(reason for reason in row.reason if reasons.known(reason))}
    return [
        fault
        for fault, there in {
            "source": not re.match(r"https://\S+$", row.source),
            "year": not 2010 <= row.year <= 2027,
            "platform": row.platform not in PLATFORMS,
            "text": row.text not in TEXTS,
            "nothing is given": not (row.flags or row.error or row.collect_env),
            "flags": any(not isinstance(value, str | list) for value in row.flags.values()),
            "verdict": not row.verdict or not {*row.verdict} <= {*map(str, Verdict)},
            "reason": not row.reason or not {*row.reason} <= known,
            "no reason is for Compatible alone": ("" in row.reason) != ("Compatible" in row.verdict),
            "cure": any(word != word.lower() or not word for word in [*row.cure, *row.never]),
            "names a person or a machine": PRIVATE.search(row.error + row.collect_env) is not None,
        }.items()
        if there
    ]


def test_every_row_is_well_formed() -> None:
    assert {row.source: found for row in open_rows() if (found := faults(row))} == {}
    assert sum(bool(faults(row)) for row in set_aside_rows()) == 0, "of the rows set aside"


def test_no_row_is_there_twice() -> None:
    inputs = [
        (row.source, row.error, row.collect_env, str(row.flags)) for row in [*open_rows(), *set_aside_rows()]
    ]
    assert [given[0] for given in {*inputs} if inputs.count(given) > 1] == []


def test_the_draw_decides_which_rows_are_set_aside() -> None:
    move = "run python -m tests.corpus.sort on the file"
    assert [row.source for row in open_rows() if row.drawn] == [], move
    assert sum(not row.drawn for row in set_aside_rows()) == 0, "rows that the draw did not take"


def test_nothing_that_failed_becomes_compatible() -> None:
    open_ones, set_aside = scored()
    assert [one.row.source for one in open_ones if one.false_compatible] == []
    assert shares(set_aside).false_compatible == 0, "of the rows set aside"


def test_enough_answers_are_right() -> None:
    found = shares(scored()[0])
    assert found.cause >= CAUSE * found.rows, found
    assert found.cure >= CURE * found.rows, found


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"source": "https://a.b", "reasons": []}, "reasons: no such field"),
        ({"source": "https://a.b"}, "missing"),
    ],
)
def test_an_item_that_is_no_row_is_refused(item: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows.row_of(item, "a.yaml")


def test_sorting_moves_drawn_rows_as_they_are_written(tmp_path: Path) -> None:
    text = "# About the file.\n"
    for number in range(20):
        text += (
            f"- source: https://example.com/{number}\n  year: 2026\n  platform: linux\n  text: log\n"
            f"  error: |\n    Error {number}\n  verdict: [Unknown]\n  reason: [NotEnoughFacts]\n  cure: []\n"
        )
    path, set_aside = tmp_path / "subject.yaml", tmp_path / "set_aside.yaml"
    path.write_text(text)
    before = rows.read(path)
    moved = sort(path, set_aside)
    assert moved == sum(row.drawn for row in before) > 0
    assert rows.read(path) == [row for row in before if not row.drawn]
    assert sorted(rows.read(set_aside), key=str) == sorted((row for row in before if row.drawn), key=str)
    assert path.read_text().startswith("# About the file.\n")
    assert sort(path, set_aside) == 0
