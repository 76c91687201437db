"""Absent is not zero, not False and not GPU 0: a value that nobody reported decides nothing."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.assessed import A100, HEALTHY, STEPS, judge, told

from gpuenv.assess.facts import NodeFacts, Step, StepStatus
from gpuenv.assess.gpu_health import Health
from gpuenv.assess.model import Verdict
from gpuenv.assess.sources.node_labels import node_facts
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document, read_health

H100 = Path(__file__).parents[1] / "fixtures" / "gpu"


@pytest.mark.parametrize(
    "health",
    [
        {"powerLimitW": True, "powerDefaultW": 400},
        {"pcieWidth": True, "pcieWidthMax": 16},
        {"recoveryAction": True},
        {"eccUncorrected": True},
        {"fabricState": True},
        {"remapFailed": 7},
        {"throttleReasons": "64"},
        {"powerDefaultW": 400},
        {"pcieWidthMax": 16},
    ],
    ids=str,
)
def test_a_reading_that_is_absent_or_of_another_kind_says_nothing(health: dict[str, Any]) -> None:
    found = judge(replace(HEALTHY, gpus=(replace(A100, health=read_health(health)),)))
    assert told(found) == told(judge(HEALTHY))


def test_what_nvml_does_not_offer_is_not_known() -> None:
    assert read_health({}) == read_health({"unavailable": {"3": ["persistence"]}}) == Health()
    assert set(dataclasses.asdict(Health()).values()) == {None}
    assert read_health({"persistence": False}).persistence is False


def test_every_reading_of_a_real_gpu_has_a_name_in_the_facts() -> None:
    """A reading that the probe sends and the facts forget would be found by no policy."""
    seen = 0
    for path in H100.glob("*.json"):
        for run in json.loads(path.read_text(encoding="utf-8"))["profiles"].values():
            for gpu in join_reports(run["reports"]["facts"], run["reports"]["kernels"])["gpus"]:
                known = dataclasses.asdict(read_health(gpu["health"]))
                sent = {name.lower() for name in gpu["health"]} - {"unavailable"}
                read = {name.replace("_", "") for name, value in known.items() if value is not None}
                assert read == sent
                seen += len(sent)
    assert seen > 20


def test_a_step_without_a_gpu_proves_nothing_about_the_first_one() -> None:
    """Kernels that ran somewhere are no kernels that ran on this GPU."""
    nowhere = replace(HEALTHY, steps=tuple(replace(step, gpu=None) for step in STEPS))
    assert (judge(nowhere).verdict, judge(nowhere).reason) == (Verdict.UNKNOWN, "KernelsNotRun")
    document = {"steps": [{"name": "matmul", "status": "Pass"}, {"name": "conv", "gpu": 0, "status": "Pass"}]}
    assert [step.gpu for step in facts_from_document(document, NodeFacts()).steps] == [None, 0]


def test_a_step_that_failed_on_an_unnamed_gpu_fails() -> None:
    broken = replace(HEALTHY, steps=(*STEPS, Step("conv", status=StepStatus.FAIL)))
    assert (judge(broken).verdict, judge(broken).reason) == (Verdict.INCOMPATIBLE, "KernelFailed")


@pytest.mark.parametrize("status", [None, "pass", "Passed", True, ["Pass"]])
def test_a_step_of_unknown_status_is_no_step(status: object) -> None:
    document = {"steps": [{"name": "matmul", "gpu": 0, "status": status}]}
    assert facts_from_document(document, NodeFacts()).steps == ()


def test_half_a_compute_capability_is_none() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.compute.major": "8"}
    assert node_facts("n", labels, {}).compute_capability is None
    labels["nvidia.com/gpu.compute.minor"] = "9"
    assert node_facts("n", labels, {}).compute_capability == (8, 9)
