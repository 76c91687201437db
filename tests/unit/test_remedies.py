"""Remedies: what a program can read from them, in assessments, in the status of both kinds, and in words for people."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.assessed import HEALTHY, judge, stopped, told
from tests.support.started_worlds import fleet

from gpuenv import manifests
from gpuenv.api import names, reasons
from gpuenv.api.reasons import ROWS
from gpuenv.api.remedies import PARAMETERS, Action, Remedy, read_remedies, remedies_data, remedy
from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, TorchFacts
from gpuenv.assess.model import Status
from gpuenv.cli.output.text import in_words
from gpuenv.knowledge import KnowledgeError, load
from gpuenv.knowledge.files import packaged_tables
from gpuenv.knowledge.load import build

ROOT = Path(__file__).parents[2]
K = load()


def flags(torch: str, cuda: str, gpu: str, driver: str) -> Facts:
    return Facts(
        source="flags",
        torch=TorchFacts(version=torch, cuda=cuda),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=gpu),),
    )


def remedies_for(facts: Facts, reason: str) -> dict[str, dict[str, str]]:
    """The parameters of each remedy of the first check with a reason, by action, the best first."""
    found = judge(facts)
    check = next((check for check in found.checks if check.reason == reason), None)
    assert check is not None, told(found)
    return {one.action: dict(one.parameters) for one in check.remedies}


# ---- the words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", Action)
def test_an_action_is_one_described_word(action: Action) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", action)
    assert action.replace("GPU", "Gpu") == "".join(part.capitalize() for part in action.name.split("_"))
    assert action.description.endswith(".")
    assert set(action.parameters) <= set(PARAMETERS)


def test_no_action_and_no_parameter_is_left_over() -> None:
    named = {row.action for row in ROWS.values()} | {rule.action for rule in K.errors}
    for path in (ROOT / "operator" / "gpuenv").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        named |= {
            Action[node.attr]
            for node in attributes
            if isinstance(node.value, ast.Name) and node.value.id == "Action"
        }
    assert set(Action) <= named
    assert set(PARAMETERS) == {name for action in Action for name in action.parameters}


def test_the_page_lists_every_action_and_parameter() -> None:
    page = (ROOT / reasons.PAGE).read_text(encoding="utf-8")
    assert [action for action in Action if f"| {action} | {action.description} |" not in page] == []
    assert [name for name in PARAMETERS if f"| `{name}` |" not in page] == []


def test_remedies_in_words_are_one_sentence() -> None:
    upgrade, change = (
        Remedy("UpgradeDriver", "Upgrade the driver."),
        Remedy("ChangeImage", "Use another image."),
    )
    nvidia = Remedy("X", "NVIDIA's container runs.")
    assert in_words(()) == ""
    assert in_words((upgrade,)) == "Upgrade the driver."
    assert in_words((upgrade, change)) == "Upgrade the driver; or use another image."
    assert in_words((upgrade, nvidia)) == "Upgrade the driver; or NVIDIA's container runs."


# ---- remedies of checks ------------------------------------------------------------------------------------


def test_a_driver_that_is_too_old_has_three_ways_out() -> None:
    found = remedies_for(flags("2.11.0+cu130", "13.0", "NVIDIA L4", "535.104.05"), "DriverTooOld")
    assert found == {
        "UpgradeDriver": {"minVersion": "580.65.06"},
        "ChangeImage": {"cuda": "12.8", "index": "cu128", "pytorch": "2.11"},
        "RepairImage": {"package": "cuda-compat-13-0"},
    }
    assert next(iter(found)) == "UpgradeDriver"


def test_the_last_driver_of_a_gpu_is_a_limit() -> None:
    old = flags("2.9.1+cu128", "12.8", "Tesla V100-SXM2-16GB", "470.57.02")
    upgrade = remedies_for(old, "DriverTooOld")["UpgradeDriver"]
    assert upgrade == {"minVersion": "525.60.13", "maxBranch": "580", "branch": "580"}
    gone = flags("2.9.1+cu128", "12.8", "Tesla V100-SXM2-16GB", "595.45.04")
    assert remedies_for(gone, "DriverDroppedGpu") == {"ChangeDriver": {"branch": "580"}}


def test_a_driver_older_than_the_gpu_names_the_branch() -> None:
    found = remedies_for(flags("2.9.1+cu128", "12.8", "NVIDIA B200", "550.54.15"), "DriverTooOld")
    assert found["UpgradeDriver"]["minVersion"] == "570.26"


def test_a_variable_that_hides_gpus_is_named() -> None:
    facts = stopped(cu_init=100)
    facts = replace(facts, container=replace(facts.container, env={"CUDA_VISIBLE_DEVICES": "-1"}))
    assert remedies_for(facts, "NoDevice") == {"ChangePod": {"variable": "CUDA_VISIBLE_DEVICES"}}
    both = {"CUDA_VISIBLE_DEVICES": "-1", "NVIDIA_VISIBLE_DEVICES": "none"}
    facts = replace(facts, container=replace(facts.container, env=both))
    assert remedies_for(facts, "NoDevice") == {"ChangePod": {"variable": ",".join(both)}}, (
        "one alone does not help"
    )


def test_a_remedy_in_the_words_of_a_platform_keeps_its_action() -> None:
    facts = stopped(cu_init=802)
    for platform in (None, "gke", "eks"):
        on_platform = replace(facts, node=replace(facts.node, platform=platform))
        assert list(remedies_for(on_platform, "FabricNotReady")) == ["StartFabricManager"]


def test_a_check_without_a_cure_has_no_remedy() -> None:
    facts = flags("2.9.1+cu128", "12.8", "NVIDIA L4", "535.104.05")
    assert remedies_for(facts, "DriverOlderThanToolkit") == {}
    assert all(check.remedies == () for check in judge(HEALTHY).checks if check.status is Status.PASS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "ResetGpu"}, "action 'ResetGpu' is not an action"),
        ({"cure": ""}, "has an action, but no cure"),
        ({"reason": "ForwardCompatInUse"}, "has a cure, but no action"),
    ],
)
def test_a_rule_whose_remedy_makes_no_sense_is_refused(change: dict[str, str], words: str) -> None:
    rule: dict[str, Any] = {
        "name": "x",
        "layer": "cuda",
        "codes": [1],
        "reason": "GpuLost",
        "status": "Fail",
        "meaning": "m",
        "cure": "c",
        "source": "https://example.com",
    }
    errors = {"errors": [rule | ({"action": "ResetGPU"} if "cure" in change else {}) | change]}
    with pytest.raises(KnowledgeError, match=words):
        build({**packaged_tables(), "errors": errors})


def test_another_driver_than_expected_is_no_fault_of_the_image() -> None:
    found = judge(HEALTHY, Expectations(driver=">=600"))
    (check,) = [one for one in found.checks if one.reason == "ExpectationMismatch"]
    assert [one.action for one in check.remedies] == ["ChangeDriver"]
    assert ">=600" in check.remedies[0].message
    assert "image" not in check.remedies[0].message


# ---- remedies in statuses ----------------------------------------------------------------------------------


def test_remedies_that_are_written_and_read_back_are_equal() -> None:
    found = (remedy(Action.UPGRADE_DRIVER, "Upgrade.", minVersion="1.2", maxBranch=""), Remedy("New", "m"))
    assert remedies_data(found) == [
        {"action": "UpgradeDriver", "message": "Upgrade.", "parameters": {"minVersion": "1.2"}},
        {"action": "New", "message": "m"},
    ]
    assert read_remedies(remedies_data(found)) == found


@pytest.mark.parametrize("value", [None, "x", {"action": "A"}, [1, {}, {"action": 1}, {"message": "m"}]])
def test_a_value_that_is_no_list_of_remedies_counts_as_absent(value: object) -> None:
    assert read_remedies(value) == ()


def schema_of_remedies(kind: str, *path: str) -> dict[str, Any]:
    (crd,) = (document for document in manifests.crds() if document["spec"]["names"]["kind"] == kind)
    node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    for name in path:
        node = node["items"] if name == "[]" else node["properties"][name]
    return dict(node)


def test_remedies_have_one_schema_and_their_actions_fit_it() -> None:
    schema = schema_of_remedies(names.REPORT_KIND, "remedies")
    assert schema == schema_of_remedies(names.REPORT_KIND, "checks", "[]", "remedies")
    assert schema == schema_of_remedies(names.ENVIRONMENT_KIND, "problems", "[]", "remedies")
    item = schema["items"]["properties"]
    pattern, longest = item["action"]["pattern"], item["action"]["maxLength"]
    assert all(re.search(pattern, action) and len(action) <= longest for action in Action)


def test_report_and_environment_say_the_same_remedies() -> None:
    world = fleet(1)
    world.node("n00", driver="450.80.02")
    world.settle()
    facts = builders.facts_report(world.run_id(node="n00"))
    facts["driver"] |= {"version": "450.80.02", "cudaVersion": 11000}
    skipped = [{"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Skipped"}]
    run = world.run_id(node="n00")
    world.finish(node="n00", facts=facts, kernels=builders.kernels_report(run, steps=skipped, torch={}))
    world.settle()
    report = world.get("reports", names.report_name("pt", "n00"))["status"]
    first = report["remedies"][0]
    assert (first["action"], first["parameters"]) == (
        "UpgradeDriver",
        {"minVersion": "525.60.13", "branch": "580"},
    )
    assert report["checks"][0]["remedies"] == report["remedies"]
    (problem,) = world.status()["problems"]
    assert problem["remedies"] == report["remedies"]
    assert not any("remedies" in check for check in report["checks"] if check["status"] == "Pass")


def test_a_compatible_report_has_no_remedies() -> None:
    world = fleet(1)
    world.settle()
    world.finish_all()
    world.settle()
    assert "remedies" not in world.get("reports", names.report_name("pt", "n00"))["status"]
