"""``gpuenv check`` end to end: a real probe of a real interpreter, with stand-ins for torch and for the driver."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from tests.support import probes
from tests.support.wait import PATIENCE, wait_until

A100 = {"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 0], "memory_mib": 81920, "free_mib": 2048}
needs_compiler = pytest.mark.skipif(
    probes.fake_cuda.compiler() is None, reason="no C compiler here to make the fake driver libraries with"
)


def start(
    directory: Path, *arguments: str, stderr: int = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """Starts the command; the stand-in torch is on the probed interpreter's path only."""
    python = directory / "python"
    assignments = " ".join(f"{name}='{value}'" for name, value in variables.items())
    python.write_text(f'#!/bin/sh\n{assignments} exec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    if arguments[0] == "check" and "--python" not in arguments:
        arguments = (*arguments, "--python", str(python))
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "gpuenv", *arguments]
    return subprocess.Popen(
        command,
        env=env,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def gpuenv(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    with start(directory, *arguments, **variables) as process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            probes.kill_tree(process.pid)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def write_environment(directory: Path, command: list[str], spec: str = "") -> str:
    """A GPUEnvironment with one check of its own."""
    path = directory / "environment.yaml"
    path.write_text(
        f"""
kind: GPUEnvironment
apiVersion: gpuenv.dev/v1alpha1
metadata: {{name: here}}
spec:
  image: example.com/team/train:1
  benchmarks: {{profile: None}}
  checks: {{commands: [{{name: smoke, command: {json.dumps(command)}}}]}}
  {spec}
""",
        encoding="utf-8",
    )
    return str(path)


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
    assert "fabricmanager" in answer["reasons"][0]["remedies"][0]["message"].lower().replace(" ", "").replace(
        "-", ""
    )
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
  expect: {pytorch: "==2.8.*"}
  checks:
    imports: [json, no_such_module]
    commands: [{name: smoke, command: [sh, -c, "echo cheese is out; exit 3"]}]
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
    assert not done.stderr, "progress shows on a terminal only"


@pytest.mark.parametrize("version", ["2.7", "3.7"])
def test_a_python_that_is_too_old_is_unknown(tmp_path: Path, version: str) -> None:
    python = probes.interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
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


def test_floors_need_a_profile_that_measures(tmp_path: Path) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text(
        "{apiVersion: gpuenv.dev/v1alpha1, kind: GPUEnvironment, metadata: {name: here}, spec: {image: a/b:1, "
        "benchmarks: {floors: [{benchmark: MatMul, minTFLOPS: 180}]}}}",
        encoding="utf-8",
    )
    done = gpuenv(tmp_path, "check", "-f", path.name, "--profile", "None")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "environment.yaml has floors; give Quick or Standard" in done.stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/bin/false", "/bin/false is no Python interpreter (exit code 1)"),
        ("/bin/echo", "/bin/echo is no Python interpreter (it does not run Python code)"),
        ("/bin/sh", "/bin/sh is no Python interpreter (exit code 2"),
    ],
)
def test_what_is_no_interpreter_is_wrong_usage(tmp_path: Path, program: str, words: str) -> None:
    done = gpuenv(tmp_path, "check", "--python", program, "--save", "report.json")
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not (tmp_path / "report.json").exists()


def sitecustomize(directory: Path, text: str) -> dict[str, str]:
    """An image whose every Python process begins with ``text``, the stand-in torch beside it."""
    (directory / "sitecustomize.py").write_text(text, encoding="utf-8")
    variables = probes.stub_torch(directory, gpus=[])
    return variables | {"PYTHONPATH": f"{directory}:{variables['PYTHONPATH']}"}


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    variables = sitecustomize(
        tmp_path, "import os\nos.write(1, b'caf\\xe9\\n')\nos.write(2, b'caf\\xe9\\n')\n"
    )
    done = gpuenv(tmp_path, "check", "--device", "cpu", **variables)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "✓ kernel-matmul-fp32" in done.stdout


def test_a_daemon_that_an_image_starts_is_not_waited_for(tmp_path: Path) -> None:
    """It holds the pipe that the probe speaks through, and outlives the probe."""
    daemon = """
import os, subprocess
if not os.path.exists("daemon"):
    open("daemon", "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
"""
    done = gpuenv(tmp_path, "check", "--device", "cpu", **sitecustomize(tmp_path, daemon))
    os.kill(int((tmp_path / "daemon").read_text(encoding="ascii")), signal.SIGKILL)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "✓ kernel-matmul-fp32" in done.stdout


@needs_compiler
def test_a_probe_that_is_killed_leaves_its_report_and_the_signal(tmp_path: Path) -> None:
    environment = write_environment(tmp_path, ["sh", "-c", "kill -9 $PPID"])
    arguments = ("check", "-f", environment, "--save", "report.json", "-o", "json")
    done = gpuenv(tmp_path, *arguments, **image(tmp_path))
    assert done.returncode == 4, done.stdout + done.stderr
    first = json.loads(done.stdout)["reasons"][0]
    assert first["code"] == "ProbeCrashed"
    assert "signal 9 (SIGKILL) during check smoke" in first["message"]
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    passed = {row["name"] for row in saved["kernels"]["steps"] if row["status"] == "Pass"}
    assert {"alloc", "matmul", "train"} <= passed
    assert saved["facts"]["complete"]
    assert not saved["kernels"]["complete"]


@needs_compiler
@pytest.mark.parametrize("everybody", [True, False], ids=["as-a-terminal-does", "the-command-alone"])
def test_an_interrupted_run_saves_what_is_known(tmp_path: Path, everybody: bool) -> None:
    marker = tmp_path / "started"
    environment = write_environment(tmp_path, ["sh", "-c", f"touch {marker}; exec sleep 100"])
    arguments = ("check", "-f", environment, "--save", "report.json")
    with start(tmp_path, *arguments, **image(tmp_path)) as process:
        wait_until(marker.exists, "the check of the environment to begin")
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stdout + stderr
    assert stderr == "gpuenv check: interrupted; what was known by then is in report.json\n"
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert saved["kernels"]["ended"] == "sigint during check smoke"
    assert "matmul" in {row["name"] for row in saved["kernels"]["steps"]}


@needs_compiler
def test_the_time_that_an_environment_gives_is_kept(tmp_path: Path) -> None:
    for seconds in probes.DEADLINES:  # on a busy machine a short time ends before the check begins
        limit = f"probe: {{timeouts: {{runSeconds: {seconds}}}}}"
        environment = write_environment(tmp_path, ["sleep", "500"], limit)
        done = gpuenv(tmp_path, "check", "-f", environment, **image(tmp_path))
        assert done.returncode == 4, done.stdout + done.stderr
        if "(the probe says: deadline during check smoke)" in done.stdout:
            break
    else:
        raise AssertionError(done.stdout)


def test_progress_shows_on_a_terminal_while_it_runs(tmp_path: Path) -> None:
    columns = 40
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = probes.stub_torch(tmp_path, gpus=[])
    with start(tmp_path, "check", "--device", "cpu", stderr=theirs, **variables) as process:
        os.close(theirs)
        shown = read_terminal(terminal, until=" ...")
        assert process.poll() is None, "what begins shows before all is over"
        shown += read_terminal(terminal)
        table, _ = process.communicate(timeout=PATIENCE)
    os.close(terminal)
    assert process.returncode == 4, table
    *lines, warning = [part for part in shown.split("\r") if part.strip("\n")]
    assert {len(line) for line in lines} == {columns - 1}, "each covers the one before, and none wraps"
    wanted = [
        "import torch ...",
        "import torch on GPU 0 ...",
        "matmul fp32 on GPU 0 ...",
        "train fp32 on GPU 0 ...",
    ]
    assert [line.rstrip() for line in lines if line.rstrip() in wanted] == wanted
    assert not lines[-1].strip(), "nothing is left of it at the end"
    assert "NO verdict on any GPU" in warning
    assert " ..." not in table


def read_terminal(terminal: int, until: str | None = None) -> str:
    """What arrives at a terminal until ``until`` does, or until nobody writes to it any more (EIO)."""
    shown = ""
    while until is None or until not in shown:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return shown
        shown += data.decode("utf-8", "replace")
    return shown
