"""Files as another project reads them: a small Go program around that project's own types."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.wait import finished

from gpuenv_sandbox.programs.cache import cache_root
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.programs.go_toolchain import find_go

BUILD_SECONDS = 900


def build(directory: Path, program: str, modules: Mapping[str, str], whose: str) -> Path:
    """Builds the program with these versions of Go modules; skips the test, with the reason, where it cannot.

    ``whose`` names the project in that reason.
    """
    try:
        go = find_go()
    except BinaryError as error:
        pytest.skip(str(error))
    if go is None:
        pytest.skip("no Go toolchain here; the sandbox gets one when it has to build from source")
    (directory / "main.go").write_text(program, encoding="utf-8")
    required = "".join(f"\t{module} {version}\n" for module, version in modules.items())
    (directory / "go.mod").write_text(
        f"module reader\n\ngo 1.24\n\nrequire (\n{required})\n", encoding="utf-8"
    )
    folders = {"GOPATH": "path", "GOMODCACHE": "mod", "GOCACHE": "build"}
    caches = {variable: str(cache_root() / "go" / folder) for variable, folder in folders.items()}
    done = finished(
        [go, "build", "-o", "reader", "."],
        cwd=directory,
        env=os.environ | {"GOFLAGS": "-mod=mod"} | caches,
        timeout=BUILD_SECONDS,
    )
    if done.returncode != 0:
        pytest.skip(f"{whose} types cannot be had: {done.stderr.strip().splitlines()[-1]}")
    return directory / "reader"
