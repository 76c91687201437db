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
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("bench", nargs="*", help=f"which benches: {', '.join(BENCHES)}; all by default")
    parser.add_argument("--nodes", type=int, help="nodes of a fleet; by default each bench has its own sizes")
    parser.add_argument("--environments", type=int, default=10, help="of a large fleet (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a settled fleet (%(default)s)")
    parser.add_argument("--out", type=Path, help="append the JSON lines to this file too, after each bench")
    found = parser.parse_args()
    unknown = set(found.bench) - set(BENCHES)
    if unknown:
        parser.error(f"there is no bench {min(unknown)!r}; choose from {', '.join(BENCHES)}")
    rows: list[Row] = []
    for bench in found.bench or BENCHES:
        for nodes in [found.nodes] if found.nodes else BENCHES[bench]:
            print(f"== {bench}, {nodes:,} nodes", file=sys.stderr)
            new = measure(bench, Options(nodes, found.environments, found.minutes))
            rows += new
            if found.out:
                with found.out.open("a", encoding="utf-8") as file:
                    file.writelines(f"{row.line()}\n" for row in new)
    print(table(rows), *(row.line() for row in rows), sep="\n")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
