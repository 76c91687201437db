"""Runs benches, prints their figures as one table, and writes them as JSON lines (``make bench``).

Each bench runs in a process of its own, one after another. The exit code is 1 if a figure misses its goal.
"""

import argparse
import sys
from pathlib import Path

from tests.bench.harness.benches import BENCHES, measure
from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row, table


def main() -> int:
    """Run the benches on the command line, or all of them."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("bench", nargs="*", help=f"which benches: {', '.join(BENCHES)}; all by default")
    parser.add_argument("--nodes", type=int, default=usual.nodes, help="nodes of a fleet (%(default)s)")
    parser.add_argument("--environments", type=int, default=usual.environments, help="(%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=usual.minutes, help="of a settled fleet (%(default)s)"
    )
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file too")
    found = parser.parse_args()
    unknown = set(found.bench) - set(BENCHES)
    if unknown:
        parser.error(f"there is no bench {sorted(unknown)[0]!r}; choose from {', '.join(BENCHES)}")
    options = Options(nodes=found.nodes, environments=found.environments, minutes=found.minutes)
    rows: list[Row] = []
    for bench in found.bench or BENCHES:
        print(f"== {bench}", file=sys.stderr)
        rows += measure(bench, options)
    lines = "".join(f"{row.line()}\n" for row in rows)
    print(f"{table(rows)}\n\n{lines}", end="")
    if found.out:
        with found.out.open("a", encoding="utf-8") as file:
            file.write(lines)
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
