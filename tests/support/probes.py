"""Runs the probe as a pod does: the zip application with an interpreter, variables and a termination log."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.fake_cuda import build as fake_cuda
from tests.support.wait import PATIENCE

from gpuenv.controller.bundle import build_zipapp
from gpuenv_probe import codec

STUB_TORCH = Path(__file__).parents[1] / "stub_torch"
_PYENV = Path("~/.pyenv/versions").expanduser()
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Variables for small work: PyTorch's threads wait for each other in a loop, which costs six times the CPU on 2 cores."""
DEADLINES = (6, 18, 54, 162)
"""Deadlines of the probe, in seconds, that :func:`run_into_deadline` tries one after the other."""


@cache
def archive() -> Path:
    """Return the path of the zip application, as a file that every user may read."""
    directory = _directory("gpuenv-probe-")
    directory.chmod(0o755)
    path = directory / "gpuenv-probe.pyz"
    path.write_bytes(build_zipapp())
    path.chmod(0o644)
    return path


def changed_archive(directory: Path, module: str, old: str, new: str) -> Path:
    """Write a copy of the zip application in which ``module`` has ``new`` in place of ``old``; return its path.

    Tests use it to shorten time limits of the probe.
    """
    path = directory / "changed-probe.pyz"
    name = f"gpuenv_probe/{module}.py"
    with zipfile.ZipFile(archive()) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == name:
                assert data.count(old.encode()) == 1, f"{old!r} is not in {name} once"
                data = data.replace(old.encode(), new.encode())
            target.writestr(entry, data)
    return path


@cache
def fake_libraries() -> Path:
    """Build the fake driver libraries, and return their directory, for ``LD_LIBRARY_PATH``."""
    return fake_cuda.build(_directory("gpuenv-fake-cuda-"))


def _directory(prefix: str) -> Path:
    """Create a temporary directory, which is deleted when this process exits."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def interpreter(version: str) -> Path | None:
    """Return a Python interpreter of a minor version (``3.9``) on this machine, or None if there is none."""
    found = sorted(_PYENV.glob(f"{version}.*/bin/python"))
    if found:
        return found[-1]
    system = Path(f"/usr/bin/python{version}")
    return system if system.exists() else None


@dataclass
class Run:
    """Result of one run of the probe: exit code, output, termination message and probe reports by stage."""

    code: int
    output: str
    message: str
    reports: dict[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        """The probe report in the termination message, which is that of the last stage."""
        return codec.decode(self.message)

    def step(self, name: str, dtype: str | None = None) -> dict[str, Any]:
        """Return the only row of ``steps`` with that name, and that dtype unless it is None."""
        rows = [row for row in self.report["steps"] if row["name"] == name]
        rows = [row for row in rows if dtype is None or row.get("dtype") == dtype]
        assert len(rows) == 1, (name, dtype, self.report["steps"])
        return dict(rows[0])


def start(
    stage: str, directory: Path, *arguments: str, python: str | Path = sys.executable, **variables: str
) -> subprocess.Popen[str]:
    """Start the probe in the background. It writes termination log and reports into ``directory``."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env |= ONE_THREAD | {
        "GPUENV_RUN": "test-run",
        "GPUENV_TERMINATION_LOG": str(directory / "termination-log"),
        **variables,
    }
    command = [str(python), str(archive()), stage, "--out", str(directory / "reports.json"), *arguments]
    return subprocess.Popen(
        command, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], directory: Path, timeout: float = PATIENCE) -> Run:
    """Wait until the probe has ended, and return its result."""
    output, _ = process.communicate(timeout=timeout)
    reports = directory / "reports.json"
    return Run(
        code=process.returncode,
        output=output,
        message=message(directory),
        reports=json.loads(reports.read_text(encoding="utf-8")) if reports.exists() else {},
    )


def run(stage: str, directory: Path, *arguments: str, timeout: float = PATIENCE, **options: Any) -> Run:
    """Start the probe, wait until it has ended, and return its result."""
    return finish(start(stage, directory, *arguments, **options), directory, timeout)


def run_into_deadline(stage: str, directory: Path, activity: str, **options: Any) -> Run:
    """Run the probe with longer and longer deadlines until one passes during ``activity``. Return the last run.

    The probe hangs in ``activity``. How long it takes to get there depends on how busy the machine is.
    """
    for seconds in DEADLINES:
        done = run(stage, directory, **options, GPUENV_DEADLINE_SECONDS=str(seconds))
        if done.report.get("ended") == f"deadline during {activity}":
            break
    return done


def message(directory: Path) -> str:
    """Return the present termination message; "" if there is none yet."""
    try:
        return (directory / "termination-log").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def stub_torch(directory: Path, **settings: Any) -> dict[str, str]:
    """Return environment variables with which Python imports the stand-in torch of tests/stub_torch.

    ``settings`` describe the emulated machine; by default it has one small GPU.
    """
    path = directory / "emulated.json"
    gpu = {"name": "NVIDIA GeForce GTX 980", "capability": [5, 2], "memory_mib": 4096, "free_mib": 2048}
    path.write_text(json.dumps({"gpus": [gpu], **settings}), encoding="utf-8")
    return {"PYTHONPATH": str(STUB_TORCH), "STUB_TORCH": str(path)}


def fake_gpu(directory: Path, **settings: object) -> dict[str, str]:
    """Return environment variables with which the fake driver libraries are loaded; ``settings`` configure them."""
    path = fake_cuda.write_settings(directory / "fake-gpu.conf", **settings)
    return {"LD_LIBRARY_PATH": str(fake_libraries()), "FAKE_GPU": str(path)}


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and all its descendants, as the out-of-memory killer does to a container."""
    for child in children(pid):
        kill_tree(child)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def children(pid: int) -> list[int]:
    """Return the ids of the running child processes of ``pid``."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]
