"""Runs many random inputs through the targets, measures them, and prints a report: ``python -m tests.fuzz.campaign --help``."""

import argparse
import json
import platform
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.fuzz import command_inputs
from tests.fuzz.whole_path import Cost, WholePath

from gpuenv import __version__

Target = Callable[[bytes], Cost | None]
FOUND: Final = Path(__file__).parent / "found"
"""Inputs that broke something, one file each. The tests run them for ever."""
LONGEST: Final = 200
"""The largest number of bytes of a random input. Most decide about one or two bytes each."""
_MOST_FAILURES: Final = 20
_WARM_UP: Final = 200
"""The number of inputs after which the growth of memory is measured."""


def targets() -> dict[str, tuple[Target, int]]:
    """Return the targets by name, each with its share of the inputs."""
    return {
        "run": (WholePath(), 70),
        "error": (command_inputs.error_text, 10),
        "dump": (command_inputs.dump, 5),
        "environment": (command_inputs.environment_file, 5),
        "nodes": (command_inputs.node_list, 5),
        "report": (command_inputs.saved_report, 5),
    }


@dataclass(slots=True)
class Campaign:
    """The sums of a campaign. ``worst`` are the largest costs of judging one run, each with its input as hexadecimal digits."""

    inputs: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """How often each kind of failure occurred: a target, an exception and the line that raised it."""
    failures: list[dict[str, str]] = field(default_factory=list)
    """The first failure of each kind."""
    worst_seconds: tuple[float, str] = (0.0, "")
    worst_bytes: tuple[int, str] = (0, "")
    worst_growth: tuple[int, str, str] = (0, "", "")
    """The largest growth of the process's peak memory during one input in KiB, its target and the input."""
    total_seconds: float = 0.0

    def run(self, name: str, target: Target, data: bytes) -> None:
        """Run one input. An exception of any kind is recorded as a failure."""
        self.inputs[name] += 1
        peak = _peak_memory()
        try:
            cost = target(data)
        except Exception as error:
            self._failed(name, data, error)
            return
        if self.inputs.total() > _WARM_UP:  # before, modules are imported and caches filled
            self.worst_growth = max(self.worst_growth, (_peak_memory() - peak, name, data.hex()))
        if cost is not None:
            self.total_seconds += cost.seconds
            self.worst_seconds = max(self.worst_seconds, (cost.seconds, data.hex()))
            self.worst_bytes = max(self.worst_bytes, (cost.status_bytes, data.hex()))

    def _failed(self, name: str, data: bytes, error: Exception) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{name}: {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
        self.kinds[kind] += 1
        if self.kinds[kind] == 1:
            where = "".join(traceback.format_exception(error))[-4000:]
            self.failures.append(
                {"kind": kind, "input": data.hex(), "error": repr(error)[:500], "where": where}
            )
            print(f"FAILED {kind}: {error!r:.300}\n  input {data.hex()}", file=sys.stderr, flush=True)

    def is_over(self, until: float) -> bool:
        """Return whether to stop: at the monotonic time ``until``, or after too many different failures."""
        return time.monotonic() > until or len(self.failures) >= _MOST_FAILURES

    def finish(self) -> NoReturn:
        """Print the report, and end the process: with 1 if anything failed."""
        print(json.dumps(self.report(), indent=2), flush=True)
        raise SystemExit(1 if self.failures else 0)

    def report(self) -> dict[str, Any]:
        """Return the results as JSON data."""
        runs = self.inputs["run"]
        return {
            "gpuenv": __version__,
            "python": platform.python_version(),
            "inputs": dict(self.inputs),
            "total": self.inputs.total(),
            "failures": [one | {"count": self.kinds[one["kind"]]} for one in self.failures],
            "judging": {
                "meanMilliseconds": round(1000 * self.total_seconds / runs, 3) if runs else None,
                "worstMilliseconds": round(1000 * self.worst_seconds[0], 3),
                "worstInput": self.worst_seconds[1],
                "largestStatusBytes": self.worst_bytes[0],
                "largestInput": self.worst_bytes[1],
            },
            "memory": {
                "peakMiB": round(_peak_memory() / 1024),
                "worstGrowthMiB": round(self.worst_growth[0] / 1024, 1),
                "worstTarget": self.worst_growth[1],
                "worstInput": self.worst_growth[2],
            },
        }


def _peak_memory() -> int:
    """Return the largest resident size that this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def random_inputs(campaign: Campaign, seed: int, inputs: int, until: float) -> None:
    """Run random inputs: ``inputs`` of them, or as many as there is time for until the monotonic time ``until``."""
    known = targets()
    names, shares = list(known), [share for _, share in known.values()]
    generator = random.Random(seed)
    for number in range(inputs):
        if campaign.is_over(until):
            break
        (name,) = generator.choices(names, shares)
        data = generator.randbytes(generator.randrange(1, LONGEST))
        campaign.run(name, known[name][0], data)
        if number % 10_000 == 9_999:
            print(f"{number + 1} inputs, {len(campaign.failures)} failures", file=sys.stderr, flush=True)


def options(description: str | None) -> argparse.Namespace:
    """Return the options of the command line, and say which seed is used."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=1.0, help="the longest time that it may take")
    parser.add_argument("--inputs", type=int, default=10**9, help="the largest number of inputs")
    parser.add_argument("--seed", type=int, default=1, help="where the random inputs begin")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr, flush=True)
    return given


def main() -> None:
    """Run a campaign, and end with 1 if anything failed."""
    given, campaign = options(__doc__), Campaign()
    random_inputs(campaign, given.seed, given.inputs, time.monotonic() + 60 * given.minutes)
    campaign.finish()


if __name__ == "__main__":
    main()
