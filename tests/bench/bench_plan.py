"""Measure how long a plan takes in a large fleet, and the memory that its records need.

Each environment has been validated on each node, and the results are read from the JSON of node reports, as after a
restart. A fleet four times as large shows whether the time grows faster than the fleet.
"""

import gc
import os
import time
from dataclasses import replace

from tests.bench.harness.finished import copied_report, finished
from tests.bench.harness.options import Options
from tests.bench.harness.processes import memory_mib
from tests.bench.harness.rows import Row
from tests.support import builders
from tests.support.world import KNOWLEDGE

from gpuenv.api import names
from gpuenv.plan.actions import Plan, WriteStatus
from gpuenv.plan.memo import Memo
from gpuenv.plan.objects import records
from gpuenv.plan.planner import plan
from gpuenv.plan.snapshot import NodeRecord, ReportRecord, Snapshot

MS = 1000
GOALS_MS = {"nothing new": 50.0, "one node changed": 60.0, "all changed": 2000.0}
REPEATS = 5
"""How often a short plan is made. The least time counts, because other work on the machine only adds to it."""
TIMES = 4
GOAL_GROWTH = 2.0
"""How much more time a node may take in the fleet that is TIMES as large.

A time that grows with the square of the fleet would be TIMES as much. Less than 2 is the processor's: the records of the
larger fleet do not fit into its caches.
"""


def run(options: Options) -> list[Row]:
    """Return the rows for a fleet of this size."""
    base, memory = figures(options.nodes, options.environments)
    large, _ = figures(TIMES * options.nodes, options.environments)
    where = f"{options.nodes:,} nodes x {options.environments} environments"
    rows = [
        Row(f"plan, {name}", spent, "ms of CPU", where, goal=GOALS_MS.get(name))
        for name, spent in base.items()
    ]
    rows += [
        Row(
            f"plan, {name}, a node", large[name] / (TIMES * options.nodes), "ms of CPU",
            f"{TIMES * options.nodes:,} nodes, baseline {options.nodes:,}", spent / options.nodes, GOAL_GROWTH,
        )
        for name, spent in base.items()
        if name in GOALS_MS
    ]  # fmt: skip
    return [*rows, Row("plan, memory of the records", memory, "MiB", where)]


def figures(nodes: int, environments: int) -> tuple[dict[str, float], float]:
    """Return the CPU milliseconds of each plan, and the MiB of memory that the records need."""
    start = memory_mib(os.getpid())
    snapshot = build(nodes, environments)
    gc.collect()
    memory = memory_mib(os.getpid()) - start
    memo = Memo()
    found: dict[str, float] = {}
    found["the first one"], cold = measure(snapshot, memo)
    _check(cold, len(snapshot.environments))
    written = {
        action.environment: replace(snapshot.environments[action.environment], status=action.status)
        for action in cold.actions
        if isinstance(action, WriteStatus)
    }
    snapshot = replace(snapshot, environments={**snapshot.environments, **written})
    measure(snapshot, memo)
    steady = [measure(snapshot, memo) for _ in range(REPEATS)]
    assert all(planned.actions == () for _, planned in steady)
    found["nothing new"] = min(spent for spent, _ in steady)
    found["one node changed"] = min(_one_changed(snapshot, memo) for _ in range(REPEATS))
    found["all changed"], _ = measure(snapshot, memo, again=True)
    return found, memory


def _one_changed(snapshot: Snapshot, memo: Memo) -> float:
    """Make one plan after a node report was replaced, and return its CPU milliseconds."""
    key = next(iter(snapshot.reports))
    reports = {**snapshot.reports, key: replace(snapshot.reports[key])}
    return measure(replace(snapshot, reports=reports), memo)[0]


def build(nodes: int, environments: int) -> Snapshot:
    """Return the snapshot of a fleet with finished validations, each record read from its own JSON."""
    world = finished(environments, builders.NOW)
    models = list(world.objects("reports").values())
    labels = {names.node_label(name): "Compatible" for name in world.objects("environments")}
    made: dict[str, NodeRecord] = {}
    reports: dict[tuple[str, str], ReportRecord] = {}
    for index in range(nodes):
        name = f"gpu-node-{index:05}"
        node = made[name] = records.node_record(builders.node(name, labels=labels))
        for model in models:
            raw = copied_report(model, name, node.uid, node.fingerprint)
            reports[raw["spec"]["environmentName"], name] = records.report_record(raw)
    return replace(world.cache.snapshot(world.settings), nodes=made, pods={}, reports=reports)


def measure(snapshot: Snapshot, memo: Memo, *, again: bool = False) -> tuple[float, Plan]:
    """Make one plan, and return its CPU milliseconds and the plan. ``again`` changes the knowledge tables first."""
    knowledge = replace(KNOWLEDGE, sources={"changed": "yes"}) if again else KNOWLEDGE
    used = time.process_time()
    planned = plan(snapshot, builders.NOW, knowledge, memo)
    return MS * (time.process_time() - used), planned


def _check(planned: Plan, environments: int) -> None:
    """Check that the plan writes one status per environment and starts no probe."""
    found = {type(action).__name__ for action in planned.actions}
    assert found <= {"WriteStatus", "PostEvent"}, found
    assert sum(isinstance(action, WriteStatus) for action in planned.actions) == environments
