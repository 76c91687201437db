"""Real PyTorch releases from PyPI, each installed on first use in a virtual environment in the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import probes

from gpuenv_sandbox.programs.progress import Progress

DEFAULT: Final = "2.9.1"
_NEEDED_BYTES: Final = 15 * 10**9
"""Free disk that an installation needs, for the wheels and the unpacked files (6.8 GB for 2.9.1)."""
_INSTALL_SECONDS: Final = 1800


@dataclass(frozen=True)
class Release:
    """A PyTorch release on PyPI, the CUDA version it was built for, and the Python version to run it with."""

    torch: str
    python: str
    cuda: str


RELEASES: Final = (
    Release("1.13.1", "3.8", "11.7"),
    Release("2.1.2", "3.8", "12.1"),
    Release("2.5.1", "3.9", "12.4"),
    Release("2.7.1", "3.13", "12.6"),
    Release("2.9.1", "3.11", "12.8"),
    Release("2.11.0", "3.12", "13.0"),
    Release("2.15.0", "3.13", "13.2"),
)


class UnavailableError(RuntimeError):
    """The release cannot be installed on this machine. The message is one line that says why."""


def release(version: str) -> Release:
    """Return the release with that version number."""
    return next(entry for entry in RELEASES if entry.torch == version)


def ensure(entry: Release) -> Path:
    """Return the interpreter of a virtual environment with the release. Raises UnavailableError.

    ``GPUENV_TORCH_PYTHON`` names an interpreter to use for the default release instead.
    """
    given = os.environ.get("GPUENV_TORCH_PYTHON")
    if given and entry.torch == DEFAULT:
        return Path(given)
    directory = home(entry)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{directory}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs on one machine must not install at once
        if not (directory / ".complete").exists():
            with Progress(f"installing PyTorch {entry.torch}", "5 min"):
                _install(entry, directory)
    return directory / "bin" / "python"


def remove(entry: Release) -> None:
    """Delete the release's virtual environment."""
    shutil.rmtree(home(entry), ignore_errors=True)


def home(entry: Release) -> Path:
    """Return the directory of the release's virtual environment, which is in the cache, outside the checkout."""
    cache = Path(os.environ.get("GPUENV_CACHE") or "~/.cache/gpuenv").expanduser()
    return cache / f"torch-{entry.torch}"


def _install(entry: Release, directory: Path) -> None:
    python = probes.interpreter(entry.python)
    if python is None:
        raise UnavailableError(f"no Python {entry.python} on this machine to install torch {entry.torch} for")
    free = shutil.disk_usage(directory.parent).free
    if free < _NEEDED_BYTES:
        raise UnavailableError(
            f"torch {entry.torch} needs {_NEEDED_BYTES // 10**9} GB, {directory.parent} has {free // 10**9}"
        )
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([python, "-m", "venv", directory], check=True)
    command = [directory / "bin" / "pip", "install", "--quiet", "--no-cache-dir", f"torch=={entry.torch}"]
    if entry.python in ("3.12", "3.13"):
        command.append("setuptools")  # torch.compile of some releases imports it, and these Pythons lack it
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"installing torch {entry.torch} took more than {_INSTALL_SECONDS} s"
        ) from None
    if done.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UnavailableError(f"torch {entry.torch} cannot be installed: {last[:200]}")
    (directory / ".complete").touch()
