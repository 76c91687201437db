"""Builds small Go programs that read our files with the Go types of another project."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.unique import unique_directory
from tests.support.wait import finished

from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.programs.go_toolchain import find_go

BUILD_SECONDS = 900


def reader(program: str, modules: Mapping[str, str], whose: str) -> Path:
    """Build a Go program with these versions of Go modules, or take it from the cache. Return its path.

    ``program`` is its source text. If it cannot be built, the test is skipped with a reason that names the project
    ``whose``.
    """
    required = "".join(f"\t{module} {version}\n" for module, version in modules.items())
    module = f"module reader\n\ngo 1.24\n\nrequire (\n{required})\n"
    directory = cache_root() / "readers"
    target = directory / hashlib.sha256(f"{module}{program}".encode()).hexdigest()[:12]
    with exclusive("readers"):
        if not target.exists():
            directory.mkdir(exist_ok=True)
            with unique_directory("build", directory) as scratch:
                (scratch / "main.go").write_text(program, encoding="utf-8")
                (scratch / "go.mod").write_text(module, encoding="utf-8")
                _build(scratch, whose)
                (scratch / "reader").rename(target)
    return target


def _build(directory: Path, whose: str) -> None:
    try:
        go = find_go()
    except BinaryError as error:
        pytest.skip(str(error))
    if go is None:
        pytest.skip("no Go toolchain here; the sandbox gets one when it has to build from source")
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
