"""Environments that a sandbox applies, when it calls itself settled, and what it prints."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from gpuenv.api.objects import NodeVerdict, node_verdict
from gpuenv.cli import main
from gpuenv.cli.output import sandbox_view
from gpuenv.cli.output.fleet import fleet_data
from gpuenv_sandbox.observer import unsettled
from gpuenv_sandbox.scenario.environments import read_environments, with_timeouts
from gpuenv_sandbox.scenario.model import SimulatedNode
from gpuenv_sandbox.scenario.read import parse_scenario, read_scenario
from gpuenv_sandbox.scenario.yaml_files import ScenarioError

SPEC: dict[str, Any] = {"image": "pytorch/pytorch:2.9.1"}


def environment(name: str = "torch", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gpuenv.dev/v1alpha1",
        "kind": "GPUEnvironment",
        "metadata": {"name": name, "generation": 2},
        "spec": SPEC | spec,
    }


def written(tmp_path: Path, *documents: Any) -> Path:
    path = tmp_path / "env.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


def test_timeouts_fill_what_an_environment_leaves_open(tmp_path: Path) -> None:
    own = environment("b", probe={"python": "python3.12", "timeouts": {"runSeconds": 99}})
    first, second = read_environments(
        [written(tmp_path, environment("a"), own)], {"runSeconds": 5, "pullSeconds": 7}
    )
    assert first["spec"]["probe"]["timeouts"] == {"runSeconds": 5, "pullSeconds": 7}
    assert second["spec"]["probe"] == {
        "python": "python3.12",
        "timeouts": {"runSeconds": 99, "pullSeconds": 7},
    }
    assert with_timeouts(own, {}) == own
    slow = environment("c", checks={"commands": [{"name": "x", "timeoutSeconds": 90}, {"name": "y"}]})
    assert with_timeouts(slow, {"runSeconds": 5})["spec"]["probe"]["timeouts"] == {"runSeconds": 91}
    assert with_timeouts({"spec": {"probe": "odd"}}, {"runSeconds": 1}) == {"spec": {"probe": "odd"}}
    assert with_timeouts({"spec": None}, {"runSeconds": 1}) == {"spec": None}


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([{"kind": "Pod"}], "env.yaml: holds Pod; only GPUEnvironment belongs here"),
        (["text"], "env.yaml: holds no object"),
        ([{"kind": "GPUEnvironment"}], "env.yaml: metadata.name is missing; add it"),
        ([environment(), environment()], "two environments are called 'torch'"),
        ([], "env.yaml: is empty"),
    ],
)
def test_files_that_hold_no_environments(tmp_path: Path, documents: list[Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        read_environments([written(tmp_path, *documents)], {})


def with_status(ready: str, reason: str = "", generation: int = 2, **summary: int) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "observedGeneration": generation}]
    return environment() | {"status": {"conditions": conditions, "summary": summary}}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (environment(), "the operator has not answered yet"),
        (with_status("True"), ""),
        (with_status("True", generation=1), "the operator has not answered yet"),
        (with_status("True", running=1), "1 probe running"),
        (with_status("False", "ValidationRunning", running=3), "3 probes running"),
        (with_status("False", "ValidationRunning", waiting=3), "ValidationRunning"),
        (with_status("False", "NoMatchingNodes"), ""),
        (with_status("False", "SpecInvalid"), ""),
    ],
)
def test_settled_is_ready_decided_and_nothing_running(found: dict[str, Any], why: str) -> None:
    assert unsettled(found) == why


def test_a_report_without_status_has_no_verdict() -> None:
    assert node_verdict({"spec": {"environmentName": "e", "nodeName": "n"}}) == NodeVerdict(
        "e", "n", "", "", ""
    )


def printed(rows: list[NodeVerdict], nodes: tuple[SimulatedNode, ...]) -> str:
    console = Console(file=io.StringIO(), width=160)
    found = [with_status("False", incompatible=1, running=2)]
    console.print(sandbox_view.table(found, rows, nodes, elapsed=12.3, probing={("torch", "a100")}))
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above


def test_the_table_has_a_line_for_every_node() -> None:
    nodes = read_scenario().nodes
    text = printed([NodeVerdict("torch", "gtx1080ti", "Incompatible", "ArchNotInBuild", "no code")], nodes)
    assert "1 Incompatible  2 running, 12 s" in text
    assert all(node.name in text for node in nodes)
    assert "ArchNotInBuild" in next(line for line in text.splitlines() if line.startswith("gtx1080ti"))
    assert "8 x A100-SXM4-80GB" in text
    assert "probing" in next(line for line in text.splitlines() if line.startswith("a100 "))


def test_a_large_fleet_shows_the_worst_first(tmp_path: Path) -> None:
    many = {"name": "n-###", "repeat": 100, "product": "NVIDIA L4", "driver": "570.124.06"}
    nodes = parse_scenario({"nodes": [many]}, tmp_path / "s.yaml").nodes
    rows = [NodeVerdict("torch", node.name, "Compatible", "", "") for node in nodes[:-1]]
    rows.append(NodeVerdict("torch", "n-100", "Incompatible", "DriverTooOld", ""))
    lines = printed(rows, nodes).splitlines()
    assert "DriverTooOld" in lines[3]
    assert "and 60 more" in lines[-1]
    assert "60 Compatible" in lines[-1]


def test_json_names_environments_and_nodes() -> None:
    rows = [
        NodeVerdict("torch", "a", "Unknown", "GpusBusy", "all in use", validation_time="2026-01-31T12:00:00Z")
    ]
    found = fleet_data([with_status("True")], rows)
    assert found["nodes"] == [
        {
            "environment": "torch",
            "node": "a",
            "verdict": "Unknown",
            "reason": "GpusBusy",
            "message": "all in use",
            "product": "",
            "driver": "",
            "pytorch": "",
            "cuda": "",
            "validationTime": "2026-01-31T12:00:00Z",
        }
    ]
    assert found["environments"][0]["name"] == "torch"
    assert "conditions" in found["environments"][0]


def test_bad_input_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    broken = tmp_path / "s.yaml"
    broken.write_text("nodes: [{name: x}]")
    result = CliRunner().invoke(main, ["sandbox", "--scenario", str(broken)])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"gpuenv sandbox: {broken}: nodes[0].product: is missing; add it"]
    present = written(tmp_path, environment())
    result = CliRunner().invoke(
        main, ["sandbox", "--environment", str(present), "--kubeconfig-out", str(broken)]
    )
    assert (result.exit_code, "exists already" in result.stderr) == (2, True)
