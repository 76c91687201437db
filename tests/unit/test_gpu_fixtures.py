"""Every report of a real GPU that was kept is assessed: a machine whose kernels ran is never Unknown."""

import json
from pathlib import Path

import pytest
from tests.support.gpu_fixtures import DIRECTORY, assess_fixture

from gpuenv.assess.model import Verdict

FIXTURES = sorted(DIRECTORY.glob("*.json"))


@pytest.mark.skipif(
    not FIXTURES, reason="no report of a real GPU is kept yet: tests/bench/gpu_session.py makes one"
)
@pytest.mark.parametrize("path", FIXTURES or [Path("none")], ids=lambda path: path.stem)
def test_a_real_gpu_is_judged(path: Path) -> None:
    for profile, found in assess_fixture(path).items():
        assert found.verdict in (Verdict.COMPATIBLE, Verdict.DEGRADED), (profile, found.message)


@pytest.mark.skipif(not FIXTURES, reason="no report of a real GPU is kept yet")
@pytest.mark.parametrize("path", FIXTURES or [Path("none")], ids=lambda path: path.stem)
def test_the_figures_of_a_real_gpu_are_there(path: Path) -> None:
    """Standard measures more than None, and what it did not measure says why."""
    profiles = json.loads(path.read_text(encoding="utf-8"))["profiles"]
    assert not profiles["None"]["reports"]["kernels"].get("benchmarks")
    rows = profiles["Standard"]["reports"]["kernels"]["benchmarks"]
    assert rows
    assert all(row.get("median") is not None or row.get("detail") for row in rows)
