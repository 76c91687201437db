"""Many images on one healthy node: several environments at once, each with its own answer."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import PATIENCE, finished

from gpuenv_sandbox.programs.binaries import ensure
from gpuenv_sandbox.programs.catalogue import API_SERVER, CONTROLLERS, BinaryError

SCENARIO = Path(__file__).parent / "images.yaml"

EXPECTED = {
    "usual": ("Compatible", ""),
    "cpu": ("Incompatible", "TorchCpuBuild"),
    "no-torch": ("Incompatible", "TorchMissing"),
    "no-python": ("Unknown", "PythonMissing"),
    "cu130": ("Incompatible", "DriverTooOld"),
    "old": ("Incompatible", "ArchNotInBuild"),
    "imports": ("Incompatible", "ImportFailed"),
    "compiles": ("Incompatible", "CompileUnavailable"),
    "versions": ("Incompatible", "ExpectationMismatch"),
}


@pytest.fixture(scope="module")
def answer() -> Any:
    """What ``--once`` printed, on a machine whose proxy for the outside world does not lead to its own loopback."""
    try:
        ensure([*API_SERVER, *CONTROLLERS])
    except BinaryError as error:
        pytest.skip(str(error))
    options = ["--scenario", str(SCENARIO), "--once", "--timeout", str(PATIENCE), "-o", "json"]
    command = [sys.executable, "-m", "gpuenv", "sandbox", *options]
    variables = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = finished(command, timeout=2 * PATIENCE, env=variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("environment", EXPECTED)
def test_every_image_gets_its_verdict_and_reason(answer: Any, environment: str) -> None:
    (found,) = [row for row in answer["nodes"] if row["environment"] == environment]
    assert (found["verdict"], found["reason"]) == EXPECTED[environment], found["message"]


def test_an_environment_without_nodes_says_so(answer: Any) -> None:
    (status,) = [status for status in answer["environments"] if status["name"] == "nowhere"]
    (ready,) = [row for row in status["conditions"] if row["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("True", "NoMatchingNodes")
    assert status["summary"]["selected"] == 0
