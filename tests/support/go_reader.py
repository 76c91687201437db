"""Builds small Go programs that read our objects with the Go types of another project."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.unique import unique_directory

from gpuenv_sandbox.programs.cache import cache_root, exclusive, shared_while_used
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.programs.go_toolchain import Go, GoError, find_go, install_go
from gpuenv_sandbox.programs.source_builds import CACHES


def reader(program: str, modules: Mapping[str, str], project: str) -> Path:
    """Build a Go program with these versions of Go modules, or take it from the cache. Return its path.

    ``program`` is its source text. If it cannot be built, the test is skipped with a reason that names ``project``,
    whose types the program uses.
    """
    required = "".join(f"\t{module} {version}\n" for module, version in modules.items())
    go_mod = f"module reader\n\ngo 1.24\n\nrequire (\n{required})\n"
    return built({"main.go": program, "go.mod": go_mod}, project)


def built(files: Mapping[str, str], project: str) -> Path:
    """Build a Go program as :func:`build` does. If that fails, the test is skipped with a reason that names ``project``."""
    try:
        return build(files)
    except (BinaryError, GoError, OSError) as error:
        pytest.skip(f"no program that reads objects as {project} does: {error}")


def build(files: Mapping[str, str]) -> Path:
    """Build a Go program from these files, or take it from the cache. Return its path.

    The keys are the files' names, the values their texts. If there is a ``go.sum``, it must be complete; otherwise Go
    chooses the indirect dependencies itself. Raises BinaryError, GoError or OSError if the program cannot be built.
    """
    directory = cache_root() / "readers"
    digest = hashlib.sha256("".join(f"{name}\n{text}" for name, text in sorted(files.items())).encode())
    target = directory / digest.hexdigest()[:12]
    with exclusive("readers"):
        if not target.exists():
            directory.mkdir(exist_ok=True)
            with unique_directory("build", directory) as scratch, shared_while_used(CACHES) as caches:
                for name, text in files.items():
                    (scratch / name).write_text(text, encoding="utf-8")
                modules = "-mod=readonly" if "go.sum" in files else "-mod=mod"
                go = Go(find_go() or install_go(), scratch, caches)
                go.run("build", modules, "-trimpath", "-ldflags", "-s -w", "-o", "reader", ".")
                (scratch / "reader").rename(target)
    return target
