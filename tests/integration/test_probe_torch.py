"""The probe and the real PyTorch 2.9.1+cu128: its facts, its words for every driver error, its kernels on the CPU.

There is no GPU in these tests, and nothing here says anything about one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.support import probes
from tests.support.unique import unique
from tests.support.wait import PATIENCE, finished
from tests.torch_releases import cpu_figures, driver_errors, releases, tolerances

import gpuenv_probe
from gpuenv.assess.facts import Failure
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.knowledge import load

SCHEMA: dict[str, Any] = json.loads(
    Path(gpuenv_probe.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
)
KNOWLEDGE = load()
CODES = sorted({code for layer, code in KNOWLEDGE.errors_by_code if layer == "cuda"})
SPOKEN = {
    3: "CUDA driver initialization failed, you might not have a CUDA gpu.",
    35: "The NVIDIA driver on your system is too old (found version 12080).",
    100: "No CUDA GPUs are available",
    999: "CUDA unknown error - this may be due to an incorrectly set up environment",
}
"""Where torch has words of its own instead of the runtime's: c10/cuda/CUDAFunctions.cpp of 2.9.1."""


TORCH_ALONE = """
import torch
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 10))
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
for dtype in (torch.float32, torch.bfloat16):
    network = network.to(dtype)
    network(torch.randn(4, 3, 8, 8, dtype=dtype)).sum().backward()
    optimizer.step()
"""


@pytest.fixture(scope="module")
def torch_python() -> Path:
    try:
        return releases.ensure(releases.release(releases.DEFAULT))
    except releases.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cpu_run(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> probes.Run:
    directory = tmp_path_factory.mktemp("cpu")
    run = probes.run(
        "all", directory, "--device", "cpu", python=torch_python, GPUENV_COMPILE="1", timeout=3 * PATIENCE
    )
    assert run.code == 0, run.output
    return run


def test_the_facts_of_the_wheel(cpu_run: probes.Run) -> None:
    facts = cpu_run.reports["facts"]
    jsonschema.validate(facts, SCHEMA)
    assert facts["complete"] is True
    torch = facts["torch"]
    assert torch["version"] == "2.9.1+cu128"
    assert torch["gitVersion"] == "5811a8d7da873dd699ff6687092c225caffcf1bb"
    assert (torch["cuda"], torch["cpuBuild"], torch["missing"]) == ("12.8", False, False)
    assert (torch["cudnn"], torch["cudnnEnabled"], torch["nccl"]) == (91002, True, "2.27.5")
    assert torch["archFlags"] == ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
    assert facts["container"]["triton"] == "3.5.1"
    assert facts["container"]["ptxas"].startswith("12.8.")


def test_every_kernel_is_right_on_the_cpu(cpu_run: probes.Run) -> None:
    kernels = cpu_run.reports["kernels"]
    jsonschema.validate(kernels, SCHEMA)
    assert kernels["ended"] == "ran on the CPU: this is no verdict on any GPU"
    assert kernels["complete"] is False
    rows = {(row["name"], row.get("dtype", "")): row for row in kernels["steps"]}
    skipped = {key for key, row in rows.items() if row["status"] == "Skipped"}
    assert skipped == {("matmul", "tf32"), ("matmul", "fp8"), ("conv", "tf32"), ("stream", "")}
    wrong = {key: row for key, row in rows.items() if key not in skipped and row["status"] != "Pass"}
    if (
        wrong.keys() == {("compile", "fp32")}
        and cpu_run.reports["facts"]["container"].get("compiler") is None
    ):
        pytest.skip("no C compiler here for torch.compile; everything else passed")
    assert not wrong
    assert ("compile", "fp32") in rows


def test_without_a_driver_torch_says_so_and_nothing_runs(torch_python: Path, tmp_path: Path) -> None:
    run = probes.run("all", tmp_path, python=torch_python)
    driver = run.reports["facts"]["driver"]
    if driver["libcuda"].get("path"):
        pytest.skip("this machine has a driver")
    assert "libcuda.so.1: cannot open shared object file" in driver["libcuda"]["error"]
    assert driver["nvml"]["code"] == 12
    torch = run.report["torch"]
    assert torch["available"] is False
    assert torch["initError"]["message"].startswith(
        "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
    )
    assert (torch["initError"]["layer"], torch["initError"]["code"]) == ("cudart", 35)
    assert "steps" not in run.report
    assert run.report["complete"] is True


@pytest.fixture(scope="module")
def error_rows(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    if probes.fake_cuda.compiler() is None:
        pytest.skip("no C compiler here to make the fake driver libraries with")
    settings = tmp_path_factory.mktemp("errors") / "fake-gpu.conf"
    command = [torch_python, driver_errors.__file__, probes.archive(), settings, *map(str, CODES)]
    done = subprocess.run(
        command,
        env={"LD_LIBRARY_PATH": str(probes.fake_libraries()), "PATH": "/usr/bin:/bin"} | probes.ONE_THREAD,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=3 * PATIENCE,
    )
    return {int(number): found for number, found in json.loads(done.stdout).items()}


@pytest.mark.parametrize("number", CODES)
def test_every_known_driver_error_arrives_with_torchs_own_words(
    error_rows: dict[int, dict[str, Any]], number: int
) -> None:
    found = error_rows[number]
    error = found["torch"]["initError"]
    assert SPOKEN.get(number, f"Error {number}: {found['words']}") in error["message"]
    assert (error["layer"], error["code"]) == ("cudart", number)
    assert found["torch"]["available"] is False
    assert found["control"]["gpuCount"] == 0
    rule = classify(
        Failure(error["layer"], error["code"], error.get("name", ""), error["message"]), KNOWLEDGE
    )
    assert rule is not None, error
    assert not rule.codes or number in rule.codes, (rule, error)  # a rule may go by torch's words alone


@pytest.mark.parametrize("number", [802, 999])
def test_a_driver_error_shows_in_both_stages(torch_python: Path, tmp_path: Path, number: int) -> None:
    if probes.fake_cuda.compiler() is None:
        pytest.skip("no C compiler here to make the fake driver libraries with")
    run = probes.run("all", tmp_path, python=torch_python, **probes.fake_gpu(tmp_path, cuInit=number))
    driver = run.reports["facts"]["driver"]
    assert driver["cuInit"] == number
    assert driver["cudaVersion"] == 12080
    assert driver["version"] == "570.172.08", "NVML works while CUDA does not"
    assert run.reports["facts"]["gpus"][0]["product"] == "NVIDIA A100-SXM4-80GB"
    assert run.report["torch"]["initError"]["code"] == number
    assert run.report["torch"]["warnings"], "is_available() warned, word for word"


def test_64_mib_over_torch_suffice(torch_python: Path, tmp_path: Path) -> None:
    """In a memory cgroup: what torch alone needs for one small training step, and 64 MiB for the probe."""
    group = Path("/sys/fs/cgroup/memory") / unique("gpuenv-test")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("-1", encoding="ascii")
    except OSError as error:
        pytest.skip(f"no memory cgroup (v1) to write to here: {error.strerror}")
    try:
        _in_group(group, [torch_python, "-c", TORCH_ALONE], tmp_path)
        needed = int((group / "memory.max_usage_in_bytes").read_text(encoding="ascii"))
        limit = needed + 64 * 1024**2
        (group / "memory.force_empty").write_text("0", encoding="ascii")
        (group / "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
        command = [
            torch_python,
            probes.archive(),
            "kernels",
            "--device",
            "cpu",
            "--out",
            tmp_path / "reports.json",
        ]
        _in_group(group, command, tmp_path)
        report = json.loads((tmp_path / "reports.json").read_text(encoding="utf-8"))["kernels"]
        assert {row["status"] for row in report["steps"]} == {"Pass", "Skipped"}
    finally:
        group.rmdir()


def _in_group(group: Path, command: list[Any], directory: Path) -> None:
    shell = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *map(str, command)]
    done = measured(shell, cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr


def measured(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that computes with the real torch to its end."""
    return finished(command, env=os.environ | probes.ONE_THREAD, timeout=3 * PATIENCE, **options)


def test_tolerances_let_rounding_through_and_no_mistake(torch_python: Path) -> None:
    done = measured([torch_python, tolerances.__file__, probes.archive()])
    assert done.returncode == 0, done.stderr
    played = json.loads(done.stdout)
    rows = played["products"]
    assert {row["form"] for row in rows} == {"fp32", "tf32", "fp16", "bf16", "fp8"}
    assert max(row["share"] for row in rows) < 0.9, "honest rounding stays inside"
    missed = [
        (row["form"], row["seed"], name) for row in rows for name, found in row["found"].items() if not found
    ]
    assert not missed
    training = played["training"]
    assert len(training) == 300
    assert max(row["share"] for row in training) < 0.5, (
        "forced TF32 is no mistake, whatever the numbers drawn"
    )
    assert all(row["found"] for row in training), "one image of 32 that was forgotten is one"


def test_the_benchmarks_calls_are_right_on_the_cpu(torch_python: Path, tmp_path: Path) -> None:
    """Every figure's code with a real torch, small, and with a clock in place of CUDA's events: no figures result."""
    done = measured([torch_python, cpu_figures.__file__, probes.archive()])
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert set(rows) == {"MatMul", "Conv", "Train", "DeviceMemory"}
    for row in rows.values():
        assert row["p20"] <= row["median"] <= row["p80"]
        assert row["samples"] >= 5
