"""``gpuenv check`` end to end: a real probe of a real interpreter, with stand-ins for torch and for the driver."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import probes

A100 = {"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 0], "memory_mib": 81920, "free_mib": 2048}
needs_compiler = pytest.mark.skipif(
    probes.fake_cuda.compiler() is None, reason="no C compiler here to make the fake driver libraries with"
)


def gpuenv(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command; the stand-in torch is on the probed interpreter's path only."""
    python = directory / "python"
    assignments = " ".join(f"{name}='{value}'" for name, value in variables.items())
    python.write_text(f'#!/bin/sh\n{assignments} exec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    if arguments[0] == "check" and "--python" not in arguments:
        arguments = (*arguments, "--python", str(python))
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "gpuenv", *arguments]
    return subprocess.run(
        command, env=env, cwd=directory, capture_output=True, text=True, check=False, timeout=180
    )


def image(directory: Path, **driver: Any) -> dict[str, str]:
    """An image with the stand-in torch, on a machine whose driver is as ``driver`` says."""
    return probes.stub_torch(directory, gpus=[A100]) | probes.fake_gpu(directory, **driver)


@needs_compiler
def test_a_good_machine_is_compatible(tmp_path: Path) -> None:
    done = gpuenv(tmp_path, "check", "--save", "report.json", **image(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Compatible"
    assert "PyTorch 2.9.1+cu128 (CUDA 12.8), driver 570.172.08, NVIDIA A100-SXM4-80GB" in lines[1]
    assert any(line.startswith("✓ kernels") and "matmul fp32" in line for line in lines)
    elsewhere = gpuenv(tmp_path, "explain", "--report", "report.json", "-o", "json")
    assert elsewhere.returncode == 0, elsewhere.stdout + elsewhere.stderr
    assert json.loads(elsewhere.stdout)["verdict"] == "Compatible"


@needs_compiler
def test_a_fabric_that_is_not_ready_is_incompatible_and_says_what_helps(tmp_path: Path) -> None:
    broken = "Error 802: system not yet initialized"
    variables = image(tmp_path, cuInit=802) | probes.stub_torch(tmp_path, gpus=[A100], init_error=broken)
    done = gpuenv(tmp_path, "check", "-o", "json", **variables)
    assert done.returncode == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "Incompatible"
    assert answer["reasons"][0]["code"] == "FabricNotReady"
    assert "fabricmanager" in answer["reasons"][0]["remediation"].lower().replace(" ", "").replace("-", "")
    assert set(answer) == {"verdict", "reasons", "facts", "unknowns"}, "the shape of gpuenv explain's"


@needs_compiler
def test_expectations_imports_and_checks_of_an_environment_count(tmp_path: Path) -> None:
    environment = tmp_path / "environment.yaml"
    environment.write_text(
        """
kind: GPUEnvironment
apiVersion: gpuenv.dev/v1alpha1
metadata: {name: here}
spec:
  image: example.com/team/train:1
  expect: {pytorch: "==2.8.*", imports: [json, no_such_module]}
  checks: [{name: smoke, command: [sh, -c, "echo cheese is out; exit 3"]}]
""",
        encoding="utf-8",
    )
    done = gpuenv(tmp_path, "check", "-f", str(environment), "-o", "json", **image(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    codes = {row["code"]: row["message"] for row in json.loads(done.stdout)["reasons"]}
    assert "2.9.1" in codes["ExpectationMismatch"]
    assert "no_such_module" in codes["ImportFailed"]
    assert "cheese is out" in codes["CheckFailed"]


def test_the_cpu_gives_no_verdict_and_says_so_loudly(tmp_path: Path) -> None:
    done = gpuenv(tmp_path, "check", "--device", "cpu", **probes.stub_torch(tmp_path, gpus=[]))
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout.startswith("Unknown: KernelsNotRun")
    assert "✓ kernel-matmul-fp32" in done.stdout
    assert "NO verdict on any GPU" in done.stderr


def test_an_interpreter_without_torch_is_incompatible(tmp_path: Path) -> None:
    done = gpuenv(tmp_path, "check", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TorchMissing" in done.stdout


def test_a_python_that_is_too_old_is_unknown(tmp_path: Path) -> None:
    python = probes.interpreter("3.7") or probes.interpreter("3.6")
    if python is None:
        pytest.skip("no Python older than 3.8 on this machine")
    done = gpuenv(tmp_path, "check", "--python", str(python))
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout.startswith("Unknown: PythonTooOld")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--python", "/no/such/python"], "--python: /no/such/python does not exist"),
        (["--python", "/etc/passwd"], "--python: /etc/passwd is not executable"),
        (["--profile", "Thorough"], "'Thorough' is not one of"),
        (["-f", "absent.yaml"], "-f: absent.yaml: No such file"),
        (
            ["--save", "/no/such/directory/report"],
            "--save: /no/such/directory/report: No such file or directory",
        ),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = gpuenv(tmp_path, "check", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_what_is_no_interpreter_is_named(tmp_path: Path) -> None:
    done = gpuenv(tmp_path, "check", "--python", "/bin/false")
    assert done.returncode == 4
    assert "ProbeCrashed: /bin/false ended with code 1" in done.stdout
