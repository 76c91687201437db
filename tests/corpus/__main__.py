"""Scores the corpus of published reports (``make corpus``): a table of kinds, and the shares of right answers.

Rows that were set aside are only counted: who reads one that fails cannot write a rule without it in mind.
"""

import argparse

from tests.corpus.kinds import table
from tests.corpus.rows import open_rows, set_aside_rows
from tests.corpus.score import Scored, score_all, shares


def main() -> None:
    """Print the table and the scores of the open rows and of those that were set aside."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="list the open rows that fail")
    parser.add_argument(
        "--show-set-aside",
        action="store_true",
        help="list the rows set aside that fail; only when rules are finished",
    )
    given = parser.parse_args()
    open_ones, set_aside = score_all(open_rows()), score_all(set_aside_rows())
    print(table([*open_ones, *set_aside]))
    print(f"\nopen       {shares(open_ones)}\nset aside  {shares(set_aside)}")
    _list_failing(open_ones if given.verbose else [])
    _list_failing(set_aside if given.show_set_aside else [])


def _list_failing(scored: list[Scored]) -> None:
    for one in scored:
        if not one.right:
            print(f"- {one}")


if __name__ == "__main__":
    main()
