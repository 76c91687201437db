"""Running the probe as a pod would: the zip application, an interpreter, variables, a termination log."""

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
DEADLINES = (6, 18, 54, 162)
"""Seconds."""


@cache
def archive() -> Path:
    """The zip application in a file of its own, readable by every user."""
    directory = _directory("gpuenv-probe-")
    directory.chmod(0o755)
    path = directory / "gpuenv-probe.pyz"
    path.write_bytes(build_zipapp())
    path.chmod(0o644)
    return path


def changed_archive(directory: Path, module: str, old: str, new: str) -> Path:
    """The zip application with one text of one module replaced, as to make a limit shorter than a test may wait."""
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
    """A directory with the fake driver libraries, for ``LD_LIBRARY_PATH``."""
    return fake_cuda.build(_directory("gpuenv-fake-cuda-"))


def _directory(prefix: str) -> Path:
    """A temporary directory that goes with this process."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def interpreter(version: str) -> Path | None:
    """Some Python of that minor version (``3.9``) on this machine, or None."""
    found = sorted(_PYENV.glob(f"{version}.*/bin/python"))
    if found:
        return found[-1]
    system = Path(f"/usr/bin/python{version}")
    return system if system.exists() else None


@dataclass
class Run:
    """What one run of the probe left behind."""

    code: int
    output: str
    message: str
    reports: dict[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        """The report in the termination log: of the last stage."""
        return codec.decode(self.message)

    def step(self, name: str, dtype: str | None = None) -> dict[str, Any]:
        """The one row of ``steps`` with that name (and dtype)."""
        rows = [row for row in self.report["steps"] if row["name"] == name]
        rows = [row for row in rows if dtype is None or row.get("dtype") == dtype]
        assert len(rows) == 1, (name, dtype, self.report["steps"])
        return dict(rows[0])


def start(
    stage: str, directory: Path, *arguments: str, python: str | Path = sys.executable, **variables: str
) -> subprocess.Popen[str]:
    """Starts the probe; ``directory`` gets the termination log and the output file."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env |= {
        "GPUENV_RUN": "test-run",
        "GPUENV_TERMINATION_LOG": str(directory / "termination-log"),
        **variables,
    }
    command = [str(python), str(archive()), stage, "--out", str(directory / "reports.json"), *arguments]
    return subprocess.Popen(
        command, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], directory: Path, timeout: float = PATIENCE) -> Run:
    """Wait for the probe's end and collect its reports."""
    output, _ = process.communicate(timeout=timeout)
    reports = directory / "reports.json"
    return Run(
        code=process.returncode,
        output=output,
        message=message(directory),
        reports=json.loads(reports.read_text(encoding="utf-8")) if reports.exists() else {},
    )


def run(stage: str, directory: Path, *arguments: str, timeout: float = PATIENCE, **options: Any) -> Run:
    """Start the probe and wait for its end."""
    return finish(start(stage, directory, *arguments, **options), directory, timeout)


def run_into_deadline(stage: str, directory: Path, activity: str, **options: Any) -> Run:
    """Run the probe with ever longer deadlines until one of them falls into ``activity``; return the last run.

    An activity that hangs is reached sooner or later, depending on how busy the machine is.
    """
    for seconds in DEADLINES:
        done = run(stage, directory, **options, GPUENV_DEADLINE_SECONDS=str(seconds))
        if done.report.get("ended") == f"deadline during {activity}":
            break
    return done


def message(directory: Path) -> str:
    """The termination message as it is now; empty before there is one."""
    try:
        return (directory / "termination-log").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def stub_torch(directory: Path, **settings: Any) -> dict[str, str]:
    """Variables that put the stand-in torch into the image; a small GPU unless ``settings`` say otherwise."""
    path = directory / "emulated.json"
    gpu = {"name": "NVIDIA GeForce GTX 980", "capability": [5, 2], "memory_mib": 4096, "free_mib": 2048}
    path.write_text(json.dumps({"gpus": [gpu], **settings}), encoding="utf-8")
    return {"PYTHONPATH": str(STUB_TORCH), "STUB_TORCH": str(path)}


def fake_gpu(directory: Path, **settings: object) -> dict[str, str]:
    """Variables that put the fake driver libraries into the image."""
    path = fake_cuda.write_settings(directory / "fake-gpu.conf", **settings)
    return {"LD_LIBRARY_PATH": str(fake_libraries()), "FAKE_GPU": str(path)}


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all its descendants, as the out-of-memory killer does to a container."""
    for child in children(pid):
        kill_tree(child)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started and that still run."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]
