"""``gpuenv knowledge``: the tables and their sources."""

import json

import pytest
from click.testing import CliRunner

from gpuenv.cli import main


@pytest.mark.parametrize("arguments", [(), ("drivers",), ("torch", "-o", "json"), ("errors",)])
def test_the_tables_are_printed_with_their_sources(arguments: tuple[str, ...]) -> None:
    found = CliRunner().invoke(main, ["knowledge", *arguments])
    assert found.exit_code == 0
    assert "https://" in found.stdout
    if "json" in arguments:
        assert json.loads(found.stdout)["torch"]


def test_printing_tables_of_nowhere_is_refused() -> None:
    found = CliRunner().invoke(main, ["knowledge", "--knowledge", "/nowhere"])
    assert (found.exit_code, len(found.stderr.strip().splitlines())) == (2, 1)
