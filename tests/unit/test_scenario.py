"""Scenario files: what they mean, and what people hear who write them wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpuenv.api import reasons
from gpuenv_sandbox.scenario.model import Fault, Platform, Scenario
from gpuenv_sandbox.scenario.read import read_scenario
from gpuenv_sandbox.scenario.yaml_files import ScenarioError

TESTS = Path(__file__).parents[1]
NODE = {"name": "n1", "product": "NVIDIA L4", "driver": "570.124.06"}


def write(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def load_nodes(tmp_path: Path, *nodes: dict[str, Any], **more: Any) -> Scenario:
    return read_scenario(write(tmp_path, {"nodes": list(nodes), **more}))


def test_default_scenario_has_what_it_promises() -> None:
    default = read_scenario()
    assert len(default.nodes) >= 12
    assert all(node.expect is not None for node in default.nodes)
    assert {node.expect.reason for node in default.nodes if node.expect and node.expect.reason} <= set(
        reasons.ROWS
    )
    assert {node.platform for node in default.nodes} >= {
        Platform.GFD,
        Platform.GKE,
        Platform.EKS,
        Platform.AKS,
    }


def documented(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of docs/scenario.md."""
    text = (TESTS.parent / "docs" / "scenario.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `")
    ]


def test_the_documented_faults_are_those_of_the_code_with_their_verdicts() -> None:
    nodes = read_scenario(TESTS / "integration" / "all_faults.yaml").nodes
    verdicts = {
        one.fault: f"{one.expect.verdict}, {one.expect.reason}" for one in nodes if one.fault and one.expect
    }
    said = {Fault(name): verdict.partition(" (")[0] for name, _, verdict in documented("Faults")}
    assert set(said) == set(Fault)
    assert said == verdicts


def test_the_documented_table_is_the_default_scenario() -> None:
    assert {name: (verdict, reason) for name, _, verdict, reason in documented("The default scenario")} == {
        node.name: (node.expect.verdict, node.expect.reason) for node in read_scenario().nodes if node.expect
    }


def test_hardware_comes_from_the_table_or_from_the_file(tmp_path: Path) -> None:
    known, given, own = load_nodes(
        tmp_path,
        NODE,
        NODE | {"name": "n2", "memoryMiB": 1000},
        NODE | {"name": "n3", "product": "My GPU", "computeCapability": "10.3", "memoryMiB": 288_000},
    ).nodes
    assert (known.hardware.compute_capability, known.hardware.memory_mib) == ((8, 9), 23034)
    assert (given.hardware.compute_capability, given.hardware.memory_mib) == ((8, 9), 1000)
    assert own.hardware.compute_capability == (10, 3)


def test_repeat_numbers_the_names(tmp_path: Path) -> None:
    nodes = load_nodes(
        tmp_path, NODE | {"name": "a-###", "repeat": 3}, NODE | {"name": "b", "repeat": 10, "fault": "slow"}
    ).nodes
    assert [node.name for node in nodes[:4]] == ["a-001", "a-002", "a-003", "b-01"]
    assert {node.fault for node in nodes[3:]} == {Fault.SLOW}


def test_images_by_pattern(tmp_path: Path) -> None:
    images = {"*-cpu": {"cuda": None}, "registry:5000/*": {"torch": "2.11.0+cu130", "cuda": "13.0"}}
    loaded = load_nodes(tmp_path, NODE, image={"python": "3.12.1"}, images=images)
    assert loaded.contents("pytorch:2-cpu").cuda is None
    assert loaded.contents("pytorch:2-cpu").archs == ()
    assert loaded.contents("registry:5000/torch:1").cuda == "13.0"
    assert loaded.contents("registry:5000/torch:1").python == "3.12.1"
    assert loaded.contents("anything:else") == loaded.image


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    loaded = load_nodes(tmp_path, NODE, environments=["env.yaml", "/abs/env.yaml"])
    assert loaded.environments == (tmp_path / "env.yaml", Path("/abs/env.yaml"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("nodes: [", r"mine.yaml: is no YAML \(line 2: .*\); correct it"),
        ("- 1", "mine.yaml: is a list; write it as a mapping"),
        ({}, "mine.yaml: nodes: is missing; add it"),
        ({"nodes": []}, "nodes: is empty; write a list with at least one entry"),
        ({"nodes": [3]}, r"nodes\[0\]: is 3; write it as a mapping"),
        ({"nodes": [NODE], "node": 1}, "has no field 'node'; did you mean nodes?"),
        (
            {"nodes": [NODE | {"fault": "uvmMising"}]},
            r"nodes\[0\].fault: 'uvmMising' is not known; did you mean uvmMissing?",
        ),
        ({"nodes": [NODE | {"faults": "slow"}]}, "has no field 'faults'; did you mean fault?"),
        (
            {"nodes": [NODE | {"driver": 570.12}]},
            r'nodes\[0\].driver: is 570.12; write a text in quotes, "570.12"',
        ),
        ({"nodes": [NODE | {"driver": "R570"}]}, "'R570' is no driver version; write it like 570.124.06"),
        ({"nodes": [NODE | {"gpus": 0}]}, r"nodes\[0\].gpus: is 0; write a whole number from 1 to 64"),
        ({"nodes": [NODE | {"inUse": 2}]}, "inUse: is 2; write a whole number from 0 to 1"),
        ({"nodes": [NODE | {"platform": "gcp"}]}, "platform: 'gcp' is not known"),
        ({"nodes": [NODE | {"name": "Not_A_Name"}]}, "'Not_A_Name' is no node name"),
        ({"nodes": [NODE, NODE]}, "two nodes are called 'n1'"),
        (
            {"nodes": [NODE | {"product": "NVIDIA L44"}]},
            "'NVIDIA L44' is not in the tables; did you mean 'NVIDIA L4'",
        ),
        (
            {"nodes": [NODE | {"product": "X1"}]},
            "'X1' is not in the tables; add computeCapability and memoryMiB",
        ),
        ({"nodes": [NODE | {"computeCapability": "8"}]}, "'8' is no compute capability"),
        ({"nodes": [NODE | {"expect": {"verdict": "OK"}}]}, "expect.verdict: 'OK' is not known"),
        ({"nodes": [NODE | {"repeat": 20_000}]}, "repeat: is 20000; write a whole number from 1 to 10000"),
        (
            {"nodes": [NODE], "timeouts": {"runSecond": 3}},
            "has no field 'runSecond'; did you mean runSeconds?",
        ),
        (
            {"nodes": [NODE], "operator": {"stuckSecond": 1}},
            "has no field 'stuckSecond'; did you mean stuckSeconds?",
        ),
        ({"nodes": [NODE], "timeouts": {"runSeconds": 0}}, "timeouts.runSeconds: is 0"),
        ({"nodes": [NODE], "pace": {"pull": "fast"}}, "pace.pull: is 'fast'; write a number"),
        (
            {"nodes": [NODE], "image": {"cuda": 12.8}},
            'image.cuda: is 12.8; write a text or null in quotes, "12.8"',
        ),
        ({"nodes": [NODE], "image": {"archs": ["80"]}}, "image.archs: '80' is no build target"),
        ({"nodes": [NODE], "images": {"*": {"toch": "2"}}}, "has no field 'toch'; did you mean torch?"),
    ],
)
def test_mistakes_are_one_line_with_file_field_and_cure(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(ScenarioError, match=words) as caught:
        read_scenario(write(tmp_path, document))
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot be read \(No such file or directory\); give the path"):
        read_scenario(tmp_path / "nowhere.yaml")
