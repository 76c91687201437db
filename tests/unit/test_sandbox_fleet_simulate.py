"""What simulated machines report, in the probe's own form, and the small model behind it."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from gpuenv.api import reasons
from gpuenv_probe import codec
from gpuenv_probe.benchmarks import causes
from gpuenv_probe.benchmarks.steps import FIGURES
from gpuenv_sandbox.fleet import benchmark_figures, physics, probe_reports
from gpuenv_sandbox.fleet.physics import BuildCode
from gpuenv_sandbox.fleet.probe_reports import Request
from gpuenv_sandbox.scenario.hardware import PRODUCTS
from gpuenv_sandbox.scenario.model import Fault, SimulatedImage, SimulatedNode

SCHEMA = json.loads(files("gpuenv_probe").joinpath("report.schema.json").read_text())
ALL_ASKED = Request("r1", devices=8, imports=("flash_attn", "vllm"), checks=("smoke",), compile=True)


def machine(product: str, driver: str = "570.124.06", **more: Any) -> SimulatedNode:
    return SimulatedNode(name="n", product=product, gpus=8, driver=driver, hardware=PRODUCTS[product], **more)


def reports(
    node: SimulatedNode, image: SimulatedImage | None = None, request: Request | None = None
) -> tuple[Any, Any]:
    image, request = image or SimulatedImage(), request or Request("r1")
    return probe_reports.facts(node, image, request), probe_reports.kernels(node, image, request)


@pytest.mark.parametrize("fault", [None, *Fault])
@pytest.mark.parametrize(
    "image",
    [
        SimulatedImage(),
        SimulatedImage(cuda=None, archs=(), cudnn=None),
        SimulatedImage(torch=None),
        SimulatedImage(archs=("compute_70",)),
    ],
    ids=["cuda", "cpu", "none", "ptx"],
)
def test_every_report_has_the_probes_form_and_fits(fault: Fault | None, image: SimulatedImage) -> None:
    node = machine("NVIDIA H100 80GB HBM3", fault=fault)
    for report in (
        *reports(node, image, ALL_ASKED),
        probe_reports.unfinished(reports(node, image, ALL_ASKED)[1]),
    ):
        jsonschema.validate(codec.normalise(report), SCHEMA)
        text = codec.encode(report)
        assert len(text) <= codec.LIMIT
        assert codec.decode(text)["run"] == "r1"


@pytest.mark.parametrize("fault", [None, *Fault])
def test_reports_hold_no_words_of_the_assessment(fault: Fault | None) -> None:
    text = json.dumps(reports(machine("NVIDIA A100-SXM4-80GB", fault=fault), request=ALL_ASKED))
    for word in (*reasons.ROWS, "Compatible", "Incompatible", "Degraded", "verdict"):
        assert f'"{word}"' not in text


@pytest.mark.parametrize(
    ("driver", "api"),
    [
        ("430.1", 10000),
        ("470.82.01", 11040),
        ("525.60.13", 12000),
        ("535.104.05", 12020),
        ("570.26", 12080),
        ("580.65.06", 13000),
        ("585.10", 13000),
    ],
)
def test_driver_api(driver: str, api: int) -> None:
    assert physics.driver_api(driver) == api


@pytest.mark.parametrize(
    ("archs", "capability", "code"),
    [
        (("sm_80",), (8, 0), BuildCode.NATIVE),
        (("sm_80",), (8, 9), BuildCode.NATIVE),
        (("sm_86",), (8, 0), BuildCode.NONE),
        (("sm_70",), (7, 5), BuildCode.NATIVE),
        (("sm_70", "sm_120"), (6, 1), BuildCode.NONE),
        (("sm_90a",), (9, 0), BuildCode.NATIVE),
        (("sm_100a",), (10, 3), BuildCode.NONE),
        (("sm_100f",), (10, 3), BuildCode.NATIVE),
        (("sm_100",), (12, 0), BuildCode.NONE),
        (("sm_50", "compute_70"), (12, 0), BuildCode.PTX),
        (("compute_90",), (8, 0), BuildCode.NONE),
        (("compute_80", "sm_90"), (9, 0), BuildCode.NATIVE),
    ],
)
def test_code_for(archs: tuple[str, ...], capability: tuple[int, int], code: BuildCode) -> None:
    assert physics.code_for(archs, capability) is code


def test_a_healthy_machine_computes() -> None:
    facts, kernels = reports(machine("NVIDIA L4"))
    assert facts["driver"]["cuInit"] == 0
    assert facts["gpus"][0]["computeCapability"] == "8.9"
    assert {step["status"] for step in kernels["steps"]} == {"Pass"}
    assert kernels["benchmarks"]


def test_driver_too_old_starts_the_driver_but_not_torch() -> None:
    facts, kernels = reports(machine("Tesla T4", "470.82.01"))
    assert (facts["driver"]["cuInit"], facts["driver"]["cudaVersion"]) == (0, 11040)
    assert "too old (found version 11040)" in kernels["torch"]["initError"]["message"]
    assert kernels["steps"] == []


def test_minor_version_compatibility_carries_an_older_driver_of_the_same_major() -> None:
    assert {step["status"] for step in reports(machine("NVIDIA L4", "535.104.05"))[1]["steps"]} == {"Pass"}


def test_ptx_newer_than_the_driver_is_error_222() -> None:
    image = SimulatedImage(archs=("sm_70", "compute_80"))
    assert physics.launch(machine("NVIDIA L4", "550.54.15"), image)["code"] == 222  # type: ignore[index]  # there is one
    assert physics.launch(machine("NVIDIA L4", "570.124.06"), image) is None


def test_a_gpu_the_build_has_no_code_for_is_error_209() -> None:
    facts, kernels = reports(machine("NVIDIA GeForce GTX 1080 Ti"))
    assert facts["driver"]["cuInit"] == 0
    matmul = next(step for step in kernels["steps"] if step["name"] == "matmul")
    assert (matmul["status"], matmul["error"]["code"]) == ("Fail", 209)
    assert next(step for step in kernels["steps"] if step["name"] == "alloc")["status"] == "Pass"


@pytest.mark.parametrize(
    ("product", "driver"), [("Tesla V100-SXM2-16GB", "590.44.01"), ("NVIDIA B200", "550.54.15")]
)
def test_a_driver_that_does_not_know_the_gpu_shows_none(product: str, driver: str) -> None:
    facts, kernels = reports(machine(product, driver))
    assert (facts["driver"]["cuInit"], facts["gpus"]) == (100, [])
    assert kernels["torch"]["initError"]["message"] == "No CUDA GPUs are available"


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        (Fault.UVM_MISSING, 999),
        (Fault.FORWARD_COMPAT, 804),
        (Fault.DRIVER_MISMATCH, 803),
        (Fault.FABRIC_NOT_READY, 802),
        (Fault.NO_GPU_IN_CONTAINER, None),
    ],
)
def test_faults_of_the_driver_are_numbers_of_cu_init(fault: Fault, number: int | None) -> None:
    facts, kernels = reports(machine("NVIDIA H100 80GB HBM3", fault=fault))
    assert facts["driver"]["cuInit"] == number
    assert kernels["torch"]["initError"]["message"]


def test_evidence_beside_the_numbers() -> None:
    opened = {
        row["path"]: row["errno"]
        for row in reports(machine("NVIDIA A10", fault=Fault.UVM_MISSING))[0]["driver"]["deviceNodes"]
    }
    assert opened["/dev/nvidia-uvm"] == 2
    assert opened["/dev/nvidia0"] == 0
    assert (
        reports(machine("NVIDIA A10", fault=Fault.FORWARD_COMPAT))[0]["driver"]["libcuda"]["origin"]
        == "compat"
    )
    assert reports(machine("NVIDIA A10", fault=Fault.DRIVER_MISMATCH))[0]["driver"]["nvml"]["code"] == 18


def test_slow_machines_show_it_in_figures_and_in_nvml() -> None:
    node = machine("NVIDIA A10")
    well, slow = (reports(each) for each in (node, replace(node, fault=Fault.SLOW)))
    assert slow[1]["benchmarks"][0]["median"] < 0.5 * well[1]["benchmarks"][0]["median"]
    assert slow[0]["gpus"][0]["health"]["throttleReasons"] & 0x40


def test_what_the_pod_asks_for() -> None:
    environment = {
        "GPUENV_RUN": "abc",
        "GPUENV_PROFILE": "None",
        "GPUENV_IMPORTS": '["vllm"]',
        "GPUENV_CHECKS": '[{"name": "smoke", "command": ["x"]}]',
        "GPUENV_COMPILE": "1",
    }
    request = Request.from_environment(environment, 2)
    assert request == Request("abc", 2, "None", "", ("vllm",), ("smoke",), True)
    kernels = probe_reports.kernels(machine("NVIDIA L4"), SimulatedImage(modules=("vllm",)), request)
    status = {step["name"]: step["status"] for step in kernels["steps"]}
    assert (status["import:vllm"], status["compile"]) == ("Pass", "Fail")
    assert kernels["commands"] == [{"name": "smoke", "exitCode": 0, "timedOut": False, "tail": ""}]
    assert "benchmarks" not in kernels
    assert Request.from_environment({"GPUENV_IMPORTS": "{"}, 1).imports == ()


def test_figures_are_the_probes_rows() -> None:
    def rows(node: SimulatedNode, sharing: str = "") -> dict[tuple[str, str], Any]:
        return {
            (row["benchmark"], row.get("dtype", "")): row
            for row in benchmark_figures.measure(node, 1, sharing)
        }

    well = rows(machine("Tesla T4"))
    assert well["MatMul", "FP32"]["median"] == pytest.approx(5.5, rel=0.03)
    assert well["MatMul", "BF16"]["notMeasured"] == causes.UNSUPPORTED
    assert well["MatMul", "BF16"]["detail"] == "compute capability 7.5 has no bf16 in hardware"
    assert set(well) == {(benchmark, dtype) for benchmark, dtype, _ in FIGURES}
    shared = rows(machine("Tesla T4"), "mps")
    assert {(row["notMeasured"], row["detail"]) for row in shared.values()} == {
        (causes.SHARED, "the GPU is shared (mps)")
    }
