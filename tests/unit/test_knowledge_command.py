"""``gpuenv knowledge``: the tables and their sources."""

import json

import pytest
from click.testing import CliRunner

from gpuenv.api.reasons import ROWS
from gpuenv.api.remedies import Action
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


def test_every_action_is_listed_with_the_reasons_and_errors_that_use_it() -> None:
    found = CliRunner().invoke(main, ["knowledge", "remedies", "-o", "json"])
    rows = {row.pop("action"): row for row in json.loads(found.stdout)["remedies"]}
    assert set(rows) == set(Action)
    for action in Action:
        assert rows[action]["meaning"] == action.description
        assert rows[action]["parameters"] == list(action.parameters)
    for action, row in rows.items():
        assert set(row["reasons"]) >= {code for code, reason in ROWS.items() if reason.action == action}
    assert "DriverTooOld" in rows["ChangeImage"]["reasons"], "a cure that is sought on the facts"
    assert "open-modules-needed" in rows["ChangeDriver"]["errors"]
    table = CliRunner().invoke(main, ["knowledge", "remedies"]).stdout
    assert "minVersion, maxBranch" in table
