"""Every fault that a simulated machine can have, through the real operator to its verdict (all_faults.yaml)."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import PATIENCE, finished

from gpuenv_sandbox.programs.binaries import ensure
from gpuenv_sandbox.programs.catalogue import API_SERVER, CONTROLLERS, BinaryError
from gpuenv_sandbox.scenario.model import SimulatedNode
from gpuenv_sandbox.scenario.read import read_scenario

SCENARIO = Path(__file__).parent / "all_faults.yaml"
NODES = read_scenario(SCENARIO).nodes


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    """What ``--once`` printed, by node."""
    try:
        ensure([*API_SERVER, *CONTROLLERS])
    except BinaryError as error:
        pytest.skip(str(error))
    options = ["--scenario", str(SCENARIO), "--once", "--timeout", str(PATIENCE), "-o", "json"]
    command = [sys.executable, "-m", "gpuenv", "sandbox", *options]
    done = finished(command, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return {row["node"]: row for row in json.loads(done.stdout)["nodes"]}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_every_fault_gets_its_verdict_and_reason(rows: dict[str, Any], node: SimulatedNode) -> None:
    found = rows[node.name]
    assert node.expect is not None
    assert (found["verdict"], found["reason"]) == (node.expect.verdict, node.expect.reason), found["message"]
