"""Compiles the fake driver libraries: ``python -m tests.fake_cuda.build DIRECTORY``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent
LIBRARIES = {"libcuda.so.1": "cuda.c", "libnvidia-ml.so.1": "nvml.c"}


def compiler() -> str | None:
    """A C compiler, or None where there is none: then tests are skipped."""
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """Puts both libraries into ``directory`` and returns it; a directory for ``LD_LIBRARY_PATH``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, source in LIBRARIES.items():
        command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{name}"]
        subprocess.run([*command, "-o", directory / name, SOURCES / source, "-ldl"], check=True)
    return directory


def write_settings(path: Path, **values: object) -> Path:
    """Writes what the libraries read through ``FAKE_GPU``."""
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    return path


if __name__ == "__main__":
    build(Path(sys.argv[1]))
