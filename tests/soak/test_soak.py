"""A short soak test with a fixed seed, and the oracle itself: it must see what is wrong."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.soak import oracle
from tests.soak.command import soak
from tests.soak.log import Log, read_rounds
from tests.soak.rounds import THEMES, make_round
from tests.soak.watcher import Watcher
from tests.soak.world import NODES, PODS, REPORTS, World
from tests.support import probe_pods
from tests.support.wait import PATIENCE, wait_until_async

from gpuenv.api import names
from gpuenv_sandbox.programs.catalogue import BinaryError

SEED = 7
NODE_COUNT = 5


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "soak.jsonl", SEED)


@pytest.fixture
async def world(log: Log) -> AsyncIterator[World]:
    try:
        async with World.running(NODE_COUNT, log.breach) as running:
            yield running
    except BinaryError as error:
        pytest.skip(str(error))


async def test_nothing_breaks_in_a_short_soak(log: Log) -> None:
    wanted = ("kills", "outages", "answers", "hands")
    themes = [theme for theme in THEMES if theme.name in wanted]
    rounds = [make_round(SEED, number, (theme,)).shortened(12) for number, theme in enumerate(themes)]
    try:
        await soak(log, nodes=NODE_COUNT, rounds=rounds, recovery=PATIENCE)
    except BinaryError as error:
        pytest.skip(str(error))
    assert log.breaches == []
    assert [one for one in log.checkpoints if not one["checkpoint"]] == []
    assert log.faults["operator.kill"] > 0
    assert read_rounds(log.path) == rounds


async def test_the_oracle_sees_what_is_wrong(world: World, log: Log) -> None:
    async with Watcher(world, world.kube, log.breach).running():
        _, wrong = await oracle.until_right(world, PATIENCE)
        assert wrong == []
        world.operators.signal("one", signal.SIGSTOP)  # so that it repairs nothing meanwhile
        kept, key = world.names()[0], names.node_label("first")

        async def breach(kind: str) -> None:
            await wait_until_async(
                lambda: kind in {one["breach"] for one in log.breaches}, lambda: log.breaches
            )

        patch = {"metadata": {"labels": {key: "Incompatible"}}}
        await world.kube.merge_patch(f"{NODES}/{kept}", patch)
        await breach("label against the evidence")
        await world.kube.merge_patch(f"{NODES}/{kept}", {"metadata": {"labels": {key: None}}})
        await breach("label removed")
        for name in ("forged-1", "forged-2"):
            await world.kube.create(PODS, _probe_pod(kept, name))
        await breach("one pod a node")
        await world.kube.delete(f"{REPORTS}/{names.report_name('second', kept)}")
        await world.kube.merge_patch(
            f"{REPORTS}/{names.report_name('third', world.names()[1])}/status",
            {"status": {"verdict": "Degraded"}},
        )
        seen = list(oracle.problems(world, await oracle.see(world)))
    assert f"first on {kept}: label None, verdict Compatible" in seen
    assert f"second on {kept}: 0 reports" in seen
    assert any(line.startswith("third on") and "verdict Degraded" in line for line in seen)


def _probe_pod(node: str, name: str) -> dict[str, Any]:
    named = probe_pods.changed(probe_pods.built("first"), ("metadata", "name"), name)
    return probe_pods.changed(named, ("metadata", "annotations", names.ANNOTATION_NODE), node)


def test_a_seed_makes_the_same_faults_again(tmp_path: Path) -> None:
    rounds = [make_round(SEED, number) for number in range(len(THEMES))]
    gaps = {theme.name: theme.gaps for theme in THEMES}
    assert {one.theme: {planned.fault for planned in one.faults} for one in rounds} == {
        name: set(faults) for name, faults in gaps.items()
    }
    assert rounds == [make_round(SEED, number) for number in range(len(THEMES))]
    assert rounds != [make_round(SEED + 1, number) for number in range(len(THEMES))]
    log = Log(tmp_path / "log.jsonl", SEED)
    for one in rounds:
        for planned in reversed(one.faults):  # a fault is logged when it has ended
            log.fault(one, planned, "")
        log.checkpoint(one, 1.0, [])
    assert read_rounds(log.path) == rounds
