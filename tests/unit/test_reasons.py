"""The table of reasons: one row for each, no column forgotten, and nothing that a user's own words can change."""

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gpuenv import manifests
from gpuenv.api import reasons
from gpuenv.api.reasons import PAGE, ROWS, Behaviour, NextRun, Start, Subject
from gpuenv.api.remedies import Remedy
from gpuenv.assess.model import Status, Verdict
from gpuenv.knowledge import KnowledgeError, load

ROOT = Path(__file__).parents[2]
CODE = [path for path in (ROOT / "operator").rglob("*.py") if "api/reasons" not in path.as_posix()]
K = load()


def named_in(path: Path) -> set[str]:
    """The reasons that a module names as ``reasons.X`` or imports by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "reasons"
        ):
            found.add(node.attr)
        if isinstance(node, ast.ImportFrom) and node.module == "gpuenv.api.reasons":
            found |= {alias.name for alias in node.names}
    return found & set(ROWS)


@pytest.mark.parametrize("code", ROWS)
def test_the_constant_of_a_reason_is_called_as_the_reason(code: str) -> None:
    assert getattr(reasons, code) == code


@pytest.mark.parametrize(("code", "row"), ROWS.items())
def test_a_row_says_what_why_what_helps_and_where_that_is_from(code: str, row: reasons.Row) -> None:
    assert all((row.meaning, row.cause, row.cure))
    assert row.source == reasons.OWN_RULE or row.source.startswith("https://")
    nothing_to_do = row.subject is Subject.ENVIRONMENT or row.cure.startswith("Nothing to do")
    assert row.action is not None or nothing_to_do
    assert not row.platform_cure or K.cure(row.platform_cure, ()), f"{code}: no such cure in platforms.yaml"


def test_a_row_without_a_column_is_an_error() -> None:
    behaviour: dict[str, Any] = {
        "depth": 1,
        "next_run": NextRun.INTERVAL,
        "warns": True,
        "start": Start.UNRELATED,
    }
    row: dict[str, Any] = {
        "behaviour": Behaviour(**behaviour),
        "meaning": "m",
        "cause": "c",
        "action": None,
        "cure": "c",
        "source": "s",
    }
    for column in behaviour:
        with pytest.raises(TypeError, match=column):
            Behaviour(**{key: value for key, value in behaviour.items() if key != column})
    for column in row:
        with pytest.raises(TypeError, match=column):
            reasons.finding("Forgotten", **{key: value for key, value in row.items() if key != column})
    with pytest.raises(ValueError, match="GpuLost has two rows"):
        reasons.finding("GpuLost", **row)
    assert "Forgotten" not in ROWS


def test_no_two_causes_are_equally_deep() -> None:
    depths = [row.behaviour.depth for row in ROWS.values() if row.behaviour.depth != reasons.LAST]
    assert len(depths) == len(set(depths))
    assert all(100 < depth < 700 for depth in depths)


def in_default_conditions() -> set[str]:
    """The reasons of the conditions that the API server gives to a new object."""
    schemas = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in manifests.crds()]
    statuses = [schema["properties"]["status"].get("default", {}) for schema in schemas]
    return {one["reason"] for status in statuses for one in status.get("conditions", [])}


def test_a_reason_belongs_to_a_condition_or_to_a_verdict() -> None:
    of_environments = {code for code, row in ROWS.items() if row.subject is Subject.ENVIRONMENT}
    named = {path: named_in(path) for path in CODE}
    writers = ("conditions.py", "node_report.py")
    in_conditions = set().union(*(found for path, found in named.items() if path.name in writers))
    assert in_conditions | in_default_conditions() == of_environments


def test_no_reason_is_left_over() -> None:
    named = set().union(*(named_in(path) for path in CODE)) | {rule.reason for rule in K.errors}
    assert set(ROWS) - named == in_default_conditions()


def test_a_reason_of_no_table_behaves_as_an_answer_that_warns() -> None:
    assert reasons.behaviour("WrittenByALaterVersion") == reasons.UNLISTED == reasons.behaviour("")
    assert reasons.UNLISTED.warns
    assert reasons.known("WrittenByALaterVersion") is None


def test_every_reason_has_its_section_on_the_page() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    anchors = {f"{PAGE}#{heading.lower()}" for heading in re.findall(r"^## (\w+)$", page, flags=re.MULTILINE)}
    assert {reasons.section(code) for code in ROWS} <= anchors


def test_words_of_somebodys_own_replace_those_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "reasons.yaml").write_text(
        "reasons:\n  GpuLost:\n    action: ReplaceGPU\n    cure: Ask the hardware team.\n", encoding="utf-8"
    )
    found = load(tmp_path)
    assert found.reasons["GpuLost"].remedies == (Remedy("ReplaceGPU", "Ask the hardware team."),)
    assert found.reasons["GpuLost"].cause == ROWS["GpuLost"].cause
    assert {code: text for code, text in found.reasons.items() if code != "GpuLost"} == {
        code: text for code, text in K.reasons.items() if code != "GpuLost"
    }


@pytest.mark.parametrize(
    "column", [*(field.name for field in fields(Behaviour)), "subject", "meaning", "platform_cure"]
)
def test_nobodys_table_changes_what_gpuenv_does(tmp_path: Path, column: str) -> None:
    (tmp_path / "reasons.yaml").write_text(f"reasons:\n  GpuLost:\n    {column}: 1\n", encoding="utf-8")
    with pytest.raises(KnowledgeError, match="GpuLost: only cause, action, cure, source can be replaced"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("reasons:\n  GpuLots:\n    cure: x\n", "'GpuLots' is not a reason"),
        ("reasons:\n  GpuLost:\n    cure: 1\n", "GpuLost: cause, action, cure, source must be texts"),
        ("reasons:\n  GpuLost:\n    action: ResetGpu\n", "GpuLost: action 'ResetGpu' is not an action"),
        ("reasons:\n  GpuLost: x\n", "GpuLost: only"),
        ("reasons: []\n", "needs a mapping named reasons"),
        ("[]\n", "needs a mapping named reasons"),
    ],
)
def test_words_that_make_no_sense_are_refused(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "reasons.yaml").write_text(table, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=words):
        load(tmp_path)


def test_verdicts_and_statuses_are_ordered_by_how_bad_they_are() -> None:
    def worst_first(kinds: type[Verdict] | type[Status]) -> list[str]:
        return [one.value for one in sorted(kinds, key=lambda one: -one.severity)]

    assert worst_first(Verdict) == ["Incompatible", "Unknown", "Degraded", "Compatible"]
    assert worst_first(Status) == ["Fail", "Unknown", "Warn", "Note", "Skipped", "Pass"]
