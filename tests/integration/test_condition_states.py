"""The conditions of both kinds in every state, and what ``kubectl wait`` and kstatus make of them.

docs/conditions.md has a table for each kind, with a row for each state. The tests compare it row by row with objects
that the real operator brought into these states on a real API server.
"""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.support.cluster import Kubectl
from tests.support.condition_states import FRESH, REPORTS, STATES, Object, Reached, name_of, reach_all
from tests.support.kstatus import KStatus
from tests.support.operator_process import started

Row = dict[str, str]

PAGE = Path(__file__).parents[2] / "docs/conditions.md"
KSTATUS = "kstatus"
ABSENT = "-"
AT_ONCE = "--timeout=0s"
"""With this limit, ``kubectl wait`` looks once, and fails for every object whose condition is not True."""


def table(heading: str) -> dict[str, Row]:
    """Return the rows of the table below a heading of the page, each as a dict by column, by its first cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section[section.index("| state |") :].splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


ENVIRONMENTS, NODE_REPORTS = table("Environments"), table("Node reports")


def conditions_of(found: Object, columns: Row) -> Row:
    """Return the cells that the object's conditions fill, in the form of the page."""
    cells = dict.fromkeys((one for one in columns if one != KSTATUS), ABSENT)
    for one in found["status"]["conditions"]:
        cells[one["type"]] = f"{one['status']} {one['reason']}"
    return cells


def is_reached(state: str, found: Object) -> bool:
    """Return whether the operator has seen the environment as it is, and its conditions are those of the state."""
    if not is_current(found):
        return False
    row = ENVIRONMENTS[state]
    return row | conditions_of(found, row) == row


def is_current(found: Object) -> bool:
    """Return whether the status is about the present generation. A deletion begins a new one, which gets no status."""
    metadata = found["metadata"]
    return "deletionTimestamp" in metadata or found["status"]["observedGeneration"] == metadata["generation"]


@pytest.fixture(scope="module")
def reached() -> Iterator[Reached]:
    for plane in started():
        yield asyncio.run(reach_all(plane, is_reached))


def test_the_page_has_a_row_for_each_state() -> None:
    assert list(ENVIRONMENTS) == list(STATES)
    assert list(NODE_REPORTS) == list(REPORTS)


@pytest.mark.parametrize("state", STATES)
def test_an_environment(reached: Reached, kstatus: KStatus, state: str) -> None:
    found, expected = reached.environments[state], ENVIRONMENTS[state]
    (result,) = kstatus([found])
    assert conditions_of(found, expected) | {KSTATUS: result.status} == expected
    assert is_current(found) != (state == FRESH)


@pytest.mark.parametrize("state", REPORTS)
def test_a_node_report(reached: Reached, kstatus: KStatus, state: str) -> None:
    found, expected = reached.reports[state], NODE_REPORTS[state]
    (result,) = kstatus([found])
    assert conditions_of(found, expected) | {KSTATUS: result.status} == expected


@pytest.mark.parametrize("condition", [one for one in ENVIRONMENTS[FRESH] if one != KSTATUS])
def test_kubectl_waits_for_an_environment(reached: Reached, condition: str) -> None:
    """kubectl trusts no condition that was observed before the present generation, as that of a deleted object."""
    met = {
        name_of(state)
        for state, row in ENVIRONMENTS.items()
        if row[condition].startswith("True ") and row[KSTATUS] != "Terminating"
    }
    assert met_at_once(reached, "genv", condition, map(name_of, STATES)) == met


@pytest.mark.parametrize("condition", ["Validated", "Compatible"])
def test_kubectl_waits_for_a_node_report(reached: Reached, condition: str) -> None:
    by_name = {one["metadata"]["name"]: state for state, one in reached.reports.items()}
    met = {name for name, state in by_name.items() if NODE_REPORTS[state][condition].startswith("True ")}
    assert met_at_once(reached, "gnr", condition, by_name) == met


def met_at_once(reached: Reached, kind: str, condition: str, found: Iterable[str]) -> set[str]:
    """Return the names of those objects for which ``kubectl wait`` ends at once and well."""
    objects = [f"{kind}/{name}" for name in found]
    done = Kubectl(reached.plane).run("wait", f"--for=condition={condition}", AT_ONCE, *objects)
    met = {line.split()[0].partition("/")[2] for line in done.stdout.splitlines()}
    assert len(met) + done.stderr.count("condition not met for") == len(objects), done.stderr
    return met
