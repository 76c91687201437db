"""The command of the soak test: makes rounds of faults and check-points for some minutes, or replays a log.

``make soak MINUTES=10 SEED=1`` calls it; docs/testing.md explains it.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from tests.soak import oracle
from tests.soak.faults.catalogue import FAULTS, MISSED
from tests.soak.log import Log, Planned, Round, read_rounds
from tests.soak.rounds import THEMES, Theme, make_round
from tests.soak.watcher import Watcher
from tests.soak.world import World

from gpuenv.controller.kube.errors import ApiError

RECOVERY_SECONDS = 60.0
"""Within this time after the last fault of a round, everything must be right."""
FIRST_SECONDS = 240.0
NODES = 14
SHOWN = 12


async def soak(
    log: Log,
    *,
    nodes: int,
    seconds: float = 0.0,
    rounds: list[Round] | None = None,
    themes: tuple[Theme, ...] = THEMES,
    recovery: float = RECOVERY_SECONDS,
) -> World:
    """Run ``rounds``, or if there are none, rounds of ``themes`` for so many seconds. Return the world, which is gone.

    ``recovery`` is the time in seconds within which everything must be right after the last fault of a round.
    """
    async with World.running(nodes, log.breach) as world:
        async with Watcher(world, world.kube, log.breach).running() as watcher:
            taken, wrong = await oracle.until_right(world, FIRST_SECONDS)
            log.checkpoint(Round(0, "start", ()), taken, wrong)
            number = 0
            while number < len(rounds) if rounds else log.seconds < seconds:
                one = rounds[number] if rounds else make_round(log.seed, number, themes)
                number += 1
                log.round = one.number
                await _make(world, log, one)
                await _check(world, log, one, recovery)
                world.fleet.check()
                say(
                    f"{log.seconds:6.0f} s  round {one.number}: {one.theme}, {len(one.faults)} faults: {_state(log)}"
                )
        log.notes = {
            "label changes": watcher.label_changes,
            "probe pods": len(watcher.runs),
            "most live probe pods": watcher.most_pods,
        }
        return world


async def _make(world: World, log: Log, one: Round) -> None:
    """Make all faults of a round at their times, and wait until the last one has ended."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for planned in one.faults:
            await asyncio.sleep(max(0.0, began + planned.at - time.monotonic()))
            group.create_task(_fault(world, log, one, planned))


async def _fault(world: World, log: Log, one: Round, planned: Planned) -> None:
    fault, began = FAULTS[planned.fault], time.monotonic()
    if fault.blinds is not None:
        known = len(world.truth.disturbances)
        world.truth.disturbances.append((began, began + 600))
    try:
        hit = await fault.make(world, **planned.parameters)
    except ApiError as error:  # another fault was in the way
        hit = f"refused: {error}"
    if fault.blinds is not None:
        world.truth.disturbances[known] = (began, time.monotonic() + fault.blinds)
    log.fault(one, planned, hit, missed=hit == MISSED)


async def _check(world: World, log: Log, one: Round, recovery: float) -> None:
    taken, wrong = await oracle.until_right(world, recovery)
    log.checkpoint(one, taken, wrong)
    for line in wrong[:SHOWN]:
        say(f"        {line}")
    if wrong:  # the next round is about its own faults
        late, still = await oracle.until_right(world, FIRST_SECONDS)
        say(f"        {'still wrong' if still else 'right'} after another {late:.0f} s")


def _state(log: Log) -> str:
    last = log.checkpoints[-1]
    return f"right after {last['recovered']} s" if last["checkpoint"] else "NOT RIGHT in time"


def report(log: Log, world: World) -> bool:
    """Print what was done and found, and return whether nothing broke."""
    families = Counter[str]()
    for name, count in log.faults.items():
        families[name.partition(".")[0]] += count
    say(
        f"\nseed {log.seed}, {log.seconds:.0f} s, {sum(families.values())} faults, {world.operators.starts} operators started"
    )
    for family, total in sorted(families.items()):
        kinds = sorted(
            (name.partition(".")[2], count)
            for name, count in log.faults.items()
            if name.startswith(f"{family}.")
        )
        say(f"  {family}: {total} ({', '.join(f'{count} {kind}' for kind, count in kinds)})")
    say("  " + ", ".join(f"{value} {name}" for name, value in log.notes.items()))
    held = [one for one in log.checkpoints if one["checkpoint"]]
    recovered = [one["recovered"] for one in held[1:]] or [0.0]
    say(f"check-points: {len(held)} of {len(log.checkpoints)} held")
    say(
        f"right again after the last fault: median {statistics.median(recovered)} s, worst {max(recovered)} s"
    )
    resident = [size / 1024 for _, size in world.operators.resident] or [0.0]
    say(
        f"operator's resident memory: median {statistics.median(resident):.0f} MB, most {max(resident):.0f} MB"
    )
    kinds_of_breach = Counter(one["breach"] for one in log.breaches)
    say(f"breaches as they happened: {dict(kinds_of_breach) or 'none'}")
    for one in log.breaches[:SHOWN]:
        say(f"  {one['seconds']:.1f} s, {one['breach']}: {one['text'][:600]}")
    say(f"log: {log.path}")
    return len(held) == len(log.checkpoints) and not log.breaches


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - a command


def main() -> int:
    """Run the command, and return its exit code: 1 if anything broke."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--themes", default="", help="names of themes, with commas; default: all")
    parser.add_argument("--replay", type=Path, help="the log of a soak test, whose faults are made again")
    parser.add_argument("--log", type=Path, help="default: build/soak-SEED.jsonl or build/soak-replay.jsonl")
    given = parser.parse_args()
    rounds = read_rounds(given.replay) if given.replay else []
    wanted = [name.strip() for name in given.themes.split(",") if name.strip()]
    unknown = sorted(set(wanted) - {theme.name for theme in THEMES})
    if unknown:
        parser.error(f"no themes {unknown}; there are {[theme.name for theme in THEMES]}")
    themes = tuple(theme for theme in THEMES if not wanted or theme.name in wanted)
    log = Log(given.log or Path("build", f"soak-{'replay' if rounds else given.seed}.jsonl"), given.seed)
    work = soak(log, nodes=given.nodes, seconds=given.minutes * 60, rounds=rounds, themes=themes)
    return 0 if report(log, asyncio.run(work)) else 1


if __name__ == "__main__":
    sys.exit(main())
