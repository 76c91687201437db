"""Computes what Flux, Helm and kpt think of objects, with kstatus, the Go library that they use."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.support import go_reader
from tests.support.wait import finished

SOURCES = [Path(__file__).parents[1] / "kstatus" / name for name in ("main.go", "go.mod", "go.sum")]


@dataclass(frozen=True)
class Result:
    """The result for one object. ``status`` is ``Current``, ``InProgress``, ``Failed`` or ``Terminating``."""

    status: str
    message: str


KStatus: TypeAlias = Callable[[Sequence[dict[str, Any]]], list[Result]]
"""A function that returns the results for objects, in the order of the objects."""


@pytest.fixture(scope="session")
def kstatus() -> KStatus:
    """A function that computes the results for objects. The first use on a machine builds the program for it."""
    program = go_reader.built({one.name: one.read_text(encoding="utf-8") for one in SOURCES}, "kstatus")

    def compute(objects: Sequence[dict[str, Any]]) -> list[Result]:
        done = finished([program], input=json.dumps(objects))
        assert done.returncode == 0, done.stderr
        return [Result(**one) for one in json.loads(done.stdout)]

    return compute
