"""``gpuenv explain -f``: what only a probe can judge is left out, and cures are in the words of where one is."""

import json
from pathlib import Path

import pytest
from tests.support.explain import as_json, explain

GOOD = ("--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "NVIDIA L4")
ENVIRONMENT = """
apiVersion: gpuenv.dev/v1alpha1
kind: GPUEnvironment
metadata: {name: pytorch-2-9}
spec:
  image: pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime
"""
CHECKS = """
  checks:
    imports: [vllm, flash_attn]
    commands: [{name: version, command: ["vllm", "--version"]}]
  benchmarks: {profile: Quick, floors: [{benchmark: MatMul, dtype: BF16, minTFLOPS: 100}]}
"""


def environment(directory: Path, *parts: str) -> tuple[str, str]:
    path = directory / "environment.yaml"
    path.write_text(ENVIRONMENT + "".join(parts), encoding="utf-8")
    return "-f", str(path)


def test_what_only_a_probe_can_judge_is_left_out_with_one_note(tmp_path: Path) -> None:
    expect = "  expect: {gpus: {minMemory: 20Gi}, nccl: '>=2.20'}\n"
    document = as_json(*GOOD, *environment(tmp_path, expect, CHECKS))
    assert document["verdict"] == "Compatible"
    notes = [one for one in document["reasons"] if one["code"] in ("ExpectationUnknown", "FloorNotMeasured")]
    (note,) = notes
    assert (note["check"], note["status"], note["remedies"]) == ("expect-probe", "Note", [])
    assert note["message"] == (
        "only a probe on the node can judge imports (vllm, flash_attn), commands (version), floors (MatMul), "
        "the version of NCCL, the memory of the GPUs: left out here"
    )


@pytest.mark.parametrize(
    ("expect", "option", "value"),
    [("python: ==3.12.*", "--python", "3.12"), ("cudnn: '>=9.0'", "--cudnn", "9.1")],
)
def test_what_can_be_given_is_asked_for(tmp_path: Path, expect: str, option: str, value: str) -> None:
    arguments = (*GOOD, *environment(tmp_path, f"  expect: {{{expect}}}\n"))
    document = as_json(*arguments)
    assert (document["verdict"], document["reasons"][0]["code"]) == ("Unknown", "ExpectationUnknown")
    assert document["reasons"][0]["remedies"] == [{"action": "ProvideFacts", "message": f"Give {option}."}]
    assert as_json(*arguments, option, value)["verdict"] == "Compatible"


def test_an_environment_without_such_expectations_gets_no_note(tmp_path: Path) -> None:
    assert "only a probe" not in explain(*GOOD, *environment(tmp_path)).stdout


def test_no_cure_outside_a_cluster_asks_the_operator(tmp_path: Path) -> None:
    facts = {
        "schema": 1,
        "stage": "facts",
        "run": "r",
        "complete": True,
        "torch": {"version": "2.9.1+cu128", "cuda": "12.8"},
    }
    expect = "  expect: {nccl: '>=2.20', driverRule: Toolkit}\n"
    arguments = ("--report", "-", *environment(tmp_path, expect, CHECKS))
    found = explain(*arguments, "-o", "json", text=json.dumps(facts)).stdout
    assert "run gpuenv check again on that machine" in found
    assert "gpuenv revalidate" not in found


@pytest.mark.parametrize(
    ("option", "value"), [("--python", "3.11.4"), ("--cudnn", "9.10.2"), ("--arch-list", "sm_80 sm_89 sm_90")]
)
def test_options_complete_the_image_of_the_file(tmp_path: Path, option: str, value: str) -> None:
    """They say more about the same image. Only --torch says that it is another one."""
    node = (*environment(tmp_path), "--gpu", "NVIDIA L4", "--driver", "580.65.06")
    found = as_json(*node, option, value)
    assert (found["verdict"], found["facts"]["pytorch"]) == ("Compatible", "2.9.1")
    assert found["facts"][option.strip("-").replace("arch-list", "archList")] is not None
    assert as_json(*node, "--torch", "2.8.0+cu126")["facts"]["pytorch"] == "2.8.0+cu126"


def test_an_expectation_that_the_image_misses_is_no_matter_of_driver_or_gpu(tmp_path: Path) -> None:
    wrong = environment(tmp_path, "  expect: {pytorch: ==2.8.*, python: ==3.12.*}\n")
    found = explain("--gpu", "NVIDIA L4", *wrong).stdout
    assert "expect-pytorch   ExpectationMismatch" in found
    assert "Compatible if the driver is 525.60.13 or newer" in found
    generations = as_json(*wrong)["answer"]["generations"]
    assert {one["name"] for one in generations if one["works"]} >= {"Ada Lovelace", "Hopper"}
    strict = environment(tmp_path, "  expect: {driverRule: Toolkit}\n")
    assert "Compatible if the driver is R570 or newer" in explain("--gpu", "NVIDIA L4", *strict).stdout
