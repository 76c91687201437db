"""The benches run: with a few nodes, they count what they are made to count. No time is looked at."""

import pytest
from tests.bench.harness.benches import measure
from tests.bench.harness.options import Options
from tests.bench.harness.rows import Row

from gpuenv_sandbox.programs import binaries, catalogue


@pytest.fixture(autouse=True)
def _programs() -> None:
    try:
        binaries.ensure([*catalogue.API_SERVER, *catalogue.CONTROLLERS], catalogue.COMPONENTS)
    except catalogue.BinaryError as error:
        pytest.skip(str(error))


def figures(bench: str, options: Options) -> dict[str, Row]:
    """Run a bench, and return its rows by their names."""
    return {row.bench: row for row in measure(bench, options)}


def test_writes_of_a_validation_are_counted_at_the_api_server() -> None:
    found = figures("validate", Options(nodes=30))
    for row in (
        "writes per validation, the first time",
        "writes per validation, another label",
        "writes per validation, the same label",
    ):
        assert not found[row].missed, found[row].line()
    # The bare client has made the same writes: it has found as many probe pods that succeeded.
    assert found["validate, first pod until last label"].ratio is not None


def test_a_settled_operator_only_watches() -> None:
    found = figures("settled", Options(nodes=30, environments=2, minutes=0.2))
    row = found["settled, requests but watches, Lease and sweep"]
    assert not row.missed, row.line()


def test_the_operator_starts_on_reports_that_were_written_into_etcd() -> None:
    found = figures("start", Options(nodes=30, environments=2))
    assert "60 reports" in found["start, until the first plan"].where
    assert found["start, until the first plan"].ratio is not None


def test_the_profile_finds_the_parts_of_the_operator() -> None:
    found = figures("profile", Options(nodes=30))
    for part in ("kopf", "plan", "write"):
        assert f"CPU per validation, sampled: {part}" in found
