"""The core decides without I/O, clock or randomness; this looks where import contracts cannot, at calls and unlisted modules."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpuenv

PACKAGE = Path(gpuenv.__file__).parent
ROOT = Path(__file__).parents[2]
CORE = ("api", "assess", "plan")
HARMLESS = frozenset(
    {
        "collections", "dataclasses", "datetime", "decimal", "difflib", "enum", "errno", "fnmatch", "functools", "hashlib",
        "heapq", "itertools", "json", "math", "re", "signal", "statistics", "typing", "unicodedata", "zlib",
    }
)  # fmt: skip
"""Modules of the standard library that the core imports. ``datetime`` and ``signal`` are there for types and names."""
OTHERS = frozenset({"_typeshed", "orjson", "packaging"})
"""Modules of other distributions that the core imports: types, JSON, and the comparison of versions."""
OF_THE_PROBE = frozenset({"gpuenv_probe.codec", "gpuenv_probe.omissions"})
"""Modules of the probe that the core imports: the codec turns text into a report, and the omissions shorten it.

Other modules of the probe look at the machine.
"""
CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint", "globals", "vars"})
"""Built-in functions that read or write the outer world, or hide what they do from this test."""
CLOCKS = frozenset({"now", "today", "utcnow"})
"""Methods of ``datetime`` and ``date`` that read the clock; nothing in the core bears such a name."""
READERS = frozenset(
    {
        "gpuenv.files",
        "gpuenv.knowledge.compile",
        "gpuenv.knowledge.files",
        "gpuenv.knowledge.load",
        "gpuenv.manifests",
    }
)
"""Lower layers that read files, as a module and as the function of its package."""


def impurities(source: str) -> Iterator[str]:
    """Yield each line number and name by which a module would reach the outer world."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: import {item.name}" for item in node.names if _is_outer(item.name))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = (f"{module}.{item.name}" for item in node.names)
            if any(_is_outer(name) for name in names):
                yield f"{node.lineno}: from {module} import"
        elif isinstance(node, ast.Name) and node.id in CALLS:
            yield f"{node.lineno}: {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            yield f"{node.lineno}: .{node.attr}"


def _is_outer(module: str) -> bool:
    parts = module.split(".")
    if parts[0] == "gpuenv":
        return any(".".join(parts[:length]) in READERS for length in range(1, len(parts) + 1))
    if parts[0] == "gpuenv_probe":
        return ".".join(parts[:2]) not in OF_THE_PROBE
    return parts[0] not in HARMLESS | OTHERS


FILES = sorted(path for part in CORE for path in (PACKAGE / part).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_core_reaches_nothing_outside(path: Path) -> None:
    assert list(impurities(path.read_text(encoding="utf-8"))) == []


def test_every_package_and_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in contracts["contracts"] if one["type"] == "layers")
    listed = {name.strip() for layer in layers for name in layer.split("|")}
    present = {
        f"gpuenv.{path.stem}"
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
        and path.stem not in ("__init__", "__main__")
    }
    assert listed == present | set(contracts["root_packages"]) - {"gpuenv"}


def test_every_part_of_the_core_is_looked_at() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES} == set(CORE)
    assert len(FILES) > 60


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "import time as t",
        "from pathlib import Path",
        "from random import random",
        "import logging",
        "import importlib",
        "def f():\n    import socket",
        "open('x')",
        "read = open",
        "print('x')",
        "input()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime as d\nd.datetime.utcnow()",
        "from datetime import date\nclock = date.today",
        "from gpuenv.knowledge import load",
        "from gpuenv.knowledge.load import load",
        "import gpuenv.knowledge.load",
        "from gpuenv import manifests",
        "from gpuenv.manifests.permissions import rules",
        "import aiohttp",
        "from yaml import safe_load",
        "import gpuenv_sandbox.session",
        "from gpuenv_probe import cli",
        "from gpuenv_probe.facts.nvml import read",
        "eval('1')",
        "__import__('os')",
    ],
)
def test_each_way_outside_is_found(source: str) -> None:
    assert list(impurities(source)) != []


def test_what_the_core_needs_is_allowed() -> None:
    source = (
        "from datetime import UTC, datetime\nimport re, json\ndatetime.fromtimestamp(0, UTC)\nopened = 1\n"
    )
    assert list(impurities(source)) == []
