"""Measure how long a plan takes in a large fleet, and the memory it needs.

Run it with ``python tests/bench/bench_plan.py``. The fleet has 5,000 nodes and ten environments, and each environment
is validated on each node. The results are read from the JSON of node reports, as after a restart. The plans measured
are the first one after a restart, one in which nothing changed, one in which a single node report changed, and one with
new knowledge tables, which assesses every result again.
"""

import argparse
import gc
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import builders
from tests.support.world import KNOWLEDGE, World

from gpuenv.plan.actions import Plan
from gpuenv.plan.memo import Memo
from gpuenv.plan.objects import records
from gpuenv.plan.planner import plan
from gpuenv.plan.snapshot import NodeRecord, ReportRecord, Snapshot


def main() -> None:
    """Print one line per measurement."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--nodes", type=int, default=5000)
    options.add_argument("--environments", type=int, default=10)
    size = options.parse_args()
    start = _memory()
    snapshot = build(size.nodes, size.environments)
    gc.collect()
    print(f"{size.nodes} nodes x {size.environments} environments, Python {sys.version.split()[0]}")
    print(f"records: {_memory() - start:.0f} MiB for {len(snapshot.reports)} reports")
    memo = Memo()
    cold = measure("cold plan", snapshot, memo)
    _check(cold, len(snapshot.environments))
    print(f"with memo: {_memory() - start:.0f} MiB")
    for status in cold.actions:
        name = getattr(status, "environment", "")
        record = snapshot.environments[name]
        environments = dict(snapshot.environments)
        environments[name] = replace(record, status=getattr(status, "status", {}))
        snapshot = replace(snapshot, environments=environments)
    measure("after the statuses were written", snapshot, memo)
    steady = measure("steady plan", snapshot, memo)
    assert steady.actions == (), steady.actions[:3]
    key = next(iter(snapshot.reports))
    reports = dict(snapshot.reports)
    reports[key] = replace(reports[key])
    measure("one report replaced", replace(snapshot, reports=reports), memo)
    measure("new tables: all assessed again", snapshot, memo, again=True)


def build(nodes: int, environments: int) -> Snapshot:
    """Return the snapshot of a fleet with finished validations, each record read from its own JSON."""
    world = World()
    for index in range(environments):
        world.environment(f"pt-{index}", image=f"pytorch/pytorch:2.9.{index}")
    world.node("n0")
    for _ in range(environments):
        world.settle()
        for pod in list(world.cache.pods.values()):
            world.finish(environment=pod.environment, node=pod.node)
    world.settle()
    seen = world.cache.snapshot(world.settings)
    stored = world.objects("reports")
    made: dict[str, NodeRecord] = {}
    reports: dict[tuple[str, str], ReportRecord] = {}
    for index in range(nodes):
        name = f"gpu-node-{index:05}"
        labels = {f"compat.gpuenv.dev/pt-{number}": "Compatible" for number in range(environments)}
        node = made[name] = records.node_record(builders.node(name, labels=labels))
        for number in range(environments):
            raw = stored[f"pt-{number}.n0"]
            spec = {"environmentName": f"pt-{number}", "nodeName": name, "nodeUID": node.uid}
            metadata = {"name": f"pt-{number}.{name}", "uid": f"uid-{number}-{name}"}
            internal = raw["status"]["internal"] | {"nodeFingerprint": node.fingerprint}
            status = raw["status"] | {"internal": internal}
            reports[f"pt-{number}", name] = records.report_record(
                {"metadata": metadata, "spec": spec, "status": status}
            )
    return replace(seen, nodes=made, pods={}, reports=reports)


def measure(title: str, snapshot: Snapshot, memo: Memo, *, again: bool = False) -> Plan:
    """Make one plan, print its time, and return it. ``again`` changes the knowledge tables first."""
    knowledge = replace(KNOWLEDGE, sources={"changed": "yes"}) if again else KNOWLEDGE
    begun, used = time.perf_counter(), time.process_time()
    planned = plan(snapshot, builders.NOW, knowledge, memo)
    wall, cpu = 1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)
    print(f"{title}: {wall:.0f} ms ({cpu:.0f} ms of CPU), {len(planned.actions)} actions")
    return planned


def _check(planned: Plan, environments: int) -> None:
    """Check that the plan writes one status per environment and starts no probe."""
    names = {type(action).__name__ for action in planned.actions}
    assert names <= {"WriteStatus", "PostEvent"}, names
    assert sum(type(action).__name__ == "WriteStatus" for action in planned.actions) == environments


def _memory() -> float:
    """Return the resident memory of this process in MiB, or its peak on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
