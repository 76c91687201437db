"""Compile the fake driver libraries with ``python -m tests.fake_cuda.build DIRECTORY``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent
LIBRARIES = {"libcuda.so.1": "cuda.c", "libnvidia-ml.so.1": "nvml.c"}


def compiler() -> str | None:
    """Return the path of a C compiler, or None, in which case tests are skipped."""
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """Compile both libraries into ``directory`` and return it, for use in ``LD_LIBRARY_PATH``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, source in LIBRARIES.items():
        command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{name}"]
        subprocess.run([*command, "-o", directory / name, SOURCES / source, "-ldl"], check=True)
    return directory


def write_settings(path: Path, **values: object) -> Path:
    """Write a settings file, for use in the variable ``FAKE_GPU``, and return its path."""
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    return path


if __name__ == "__main__":
    build(Path(sys.argv[1]))
