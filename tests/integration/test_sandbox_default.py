"""``gpuenv sandbox`` as people start it: the default scenario, the real control plane, the real operator.

The table of nodes and verdicts is the scenario's own (``expect`` in scenarios/default.yaml).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import PATIENCE, PATIENTLY, finished, wait_until

from gpuenv_sandbox.programs.binaries import ensure
from gpuenv_sandbox.programs.catalogue import API_SERVER, CONTROLLERS, BinaryError
from gpuenv_sandbox.scenario.model import SimulatedNode
from gpuenv_sandbox.scenario.read import read_scenario

NODES = read_scenario().nodes
ENVIRONMENT = "pytorch-2-9"


class Sandbox:
    """A sandbox in the foreground of a process of its own, until it is told to end."""

    def __init__(self, directory: Path) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self.stdout, self.stderr = directory / "stdout", directory / "stderr"
        command = [
            sys.executable,
            "-m",
            "gpuenv",
            "sandbox",
            "-o",
            "json",
            "--kubeconfig-out",
            str(self.kubeconfig),
        ]
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        wait_until(self._told, self.words, timeout=2 * PATIENCE)
        self.answer = json.loads(self.stdout.read_text())
        self.authority = Path(
            json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
        )

    def words(self) -> str:
        """What it said so far."""
        return self.stderr.read_text()[-3000:]

    def kubectl(self, *arguments: str) -> Any:
        kubectl = ensure(["kubectl"])["kubectl"]
        command = [str(kubectl), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = finished(command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, number: int) -> int:
        """Signals it once; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def _told(self) -> bool:
        assert self.process.poll() is None, f"the sandbox ended with {self.process.poll()}: {self.words()}"
        return "stays until Ctrl-C" in self.words()


@pytest.fixture(scope="module", autouse=True)
def binaries() -> None:
    try:
        ensure([*API_SERVER, *CONTROLLERS])
    except BinaryError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    started = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def mentioned_by(text: str) -> list[str]:
    """Command lines of running processes that hold ``text``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if text in line:
            found.append(line)
    return found


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_every_node_gets_its_verdict_and_reason(sandbox: Sandbox, node: SimulatedNode) -> None:
    rows = {row["node"]: row for row in sandbox.answer["nodes"] if row["environment"] == ENVIRONMENT}
    assert node.expect is not None
    found = rows[node.name]
    assert (found["verdict"], found["reason"]) == (node.expect.verdict, node.expect.reason), found["message"]
    assert found["message"] or found["verdict"] == "Compatible"


def test_the_environment_sums_up(sandbox: Sandbox) -> None:
    (status,) = sandbox.answer["environments"]
    counts = [node.expect.verdict.lower() for node in NODES if node.expect]
    assert status["name"] == ENVIRONMENT
    assert status["summary"]["selected"] == len(NODES)
    for verdict in set(counts):
        assert status["summary"][verdict] == counts.count(verdict)
    conditions = {row["type"]: row["status"] for row in status["conditions"]}
    assert (conditions["Accepted"], conditions["Ready"], conditions["Compatible"]) == (
        "True",
        "True",
        "False",
    )
    named = {name for problem in status["problems"] for name in problem["nodes"]}
    assert named == {node.name for node in NODES if node.expect and node.expect.verdict != "Compatible"}


def test_labels_say_the_same(sandbox: Sandbox) -> None:
    listed = json.loads(sandbox.kubectl("get", "nodes", "-o", "json"))["items"]
    labels = {
        node["metadata"]["name"]: node["metadata"]["labels"].get(f"compat.gpuenv.dev/{ENVIRONMENT}")
        for node in listed
    }
    assert labels == {node.name: node.expect.verdict for node in NODES if node.expect}


def test_people_can_look_with_kubectl(sandbox: Sandbox) -> None:
    assert "DriverTooOld" in sandbox.kubectl("get", "gnr")
    assert "UvmMissing" in sandbox.kubectl("describe", "gnr", f"{ENVIRONMENT}.a10-no-uvm")
    assert sandbox.kubectl("wait", "--for=condition=Ready", f"genv/{ENVIRONMENT}", PATIENTLY)
    assert "condition met" in sandbox.kubectl(
        "wait", "--for=condition=Compatible=False", f"genv/{ENVIRONMENT}", PATIENTLY
    )


def test_pods_of_others_are_left_alone(sandbox: Sandbox) -> None:
    pod = json.loads(sandbox.kubectl("get", "pod", "-n", "team-a", "train-a100-busy", "-o", "json"))
    assert pod["status"]["phase"] == "Running"
    assert not [key for key in (pod["metadata"].get("labels") or {}) if "gpuenv" in key]


def verdict(sandbox: Sandbox, node: str) -> str:
    path = "jsonpath={.status.verdict} {.status.reason}"
    return str(sandbox.kubectl("get", "gnr", f"{ENVIRONMENT}.{node}", "-o", path)).strip()


def becomes(sandbox: Sandbox, node: str, wanted: str) -> None:
    wait_until(lambda: verdict(sandbox, node) == wanted, lambda: verdict(sandbox, node))


def test_a_new_driver_is_noticed_and_repairs_the_node(sandbox: Sandbox) -> None:
    driver = "nvidia.com/cuda.driver-version.full=570.124.06"
    sandbox.kubectl("label", "node", "t4-old-driver", driver, "--overwrite")
    becomes(sandbox, "t4-old-driver", "Compatible")


def test_a_node_that_breaks_is_found_by_a_run_on_demand(sandbox: Sandbox) -> None:
    sandbox.kubectl("annotate", "node", "a100", "sandbox.gpuenv.dev/fault=fabricNotReady")
    sandbox.kubectl("annotate", "gnr", f"{ENVIRONMENT}.a100", "gpuenv.dev/revalidate=now")
    becomes(sandbox, "a100", "Incompatible FabricNotReady")


def test_a_node_with_the_label_skip_is_held_off_until_it_is_taken_away(sandbox: Sandbox) -> None:
    sandbox.kubectl("label", "node", "l40s-no-pull", "gpuenv.dev/skip=true")
    becomes(sandbox, "l40s-no-pull", "Unknown HeldOff")
    assert sandbox.kubectl("get", "nodes", "-l", "gpuenv.dev/skip", "-o", "name") == "node/l40s-no-pull\n"
    sandbox.kubectl("label", "node", "l40s-no-pull", "gpuenv.dev/skip=false", "--overwrite")
    becomes(sandbox, "l40s-no-pull", "Unknown ImagePullFailed")


def test_nothing_is_left_behind(sandbox: Sandbox) -> None:
    directory = sandbox.authority.parent.parent
    assert mentioned_by(str(directory))
    assert sandbox.end(signal.SIGTERM) == 0
    assert not sandbox.kubeconfig.exists()
    wait_until(lambda: not directory.exists())
    wait_until(lambda: not mentioned_by(str(directory)), lambda: mentioned_by(str(directory)))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "gpuenv", "sandbox"]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(command, stdout=err, stderr=err, env=variables)
    wait_until(lambda: mentioned_by(f"--data-dir={tmp_path}"))
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    wait_until(lambda: not mentioned_by(str(tmp_path)), lambda: mentioned_by(str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["stderr"]


def test_a_refused_environment_is_told_in_the_servers_words(tmp_path: Path) -> None:
    path = tmp_path / "env.yaml"
    path.write_text(
        "{apiVersion: gpuenv.dev/v1alpha1, kind: GPUEnvironment, metadata: {name: x}, spec: {image: torch}}"
    )
    command = [sys.executable, "-m", "gpuenv", "sandbox", "--once", "--environment", str(path)]
    done = finished(command)
    assert done.returncode == 1
    assert "spec.image needs a tag or a digest" in done.stderr.splitlines()[-1]
