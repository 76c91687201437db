"""``gpuenv knowledge check`` says how tables differ from those of the package, and which answers this changes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.corpus.rows import CASES, read
from tests.support import builders

from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.cli import main
from gpuenv.knowledge.files import HERE


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with a copy of the package's table of builds."""
    shutil.copy(HERE / "torch.yaml", tmp_path)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["knowledge", "check", *arguments], prog_name="gpuenv")


def edited(directory: Path, edit: Any) -> None:
    """Change the table of builds in ``directory``."""
    path = directory / "torch.yaml"
    table = yaml.safe_load(path.read_text())
    edit({row["torch"]: row for row in table["releases"]})
    path.write_text(yaml.safe_dump(table))


def test_the_same_tables_change_nothing(own: Path) -> None:
    found = check("--knowledge", str(own))
    assert found.exit_code == 0, found.output
    assert found.output.startswith("the tables are those of gpuenv\n")
    assert "no answers change" in found.output


def test_a_higher_minimum_of_the_driver_alone_decides(tmp_path: Path) -> None:
    table = yaml.safe_load((HERE / "cuda.yaml").read_text())
    row = next(row for row in table["toolkits"] if row["cuda"] == "12.9")
    row["min_driver"] = "530"
    (tmp_path / "cuda.yaml").write_text(yaml.safe_dump(table))
    found = check("--knowledge", str(tmp_path), "-o", "json")
    assert found.exit_code == 1, found.output
    changed = json.loads(found.stdout)["changes"]
    assert {one["after"]["reason"] for one in changed} == {"DriverTooOld"}
    assert all("for CUDA 12.9" in one["case"] and "driver 525." in one["case"] for one in changed)
    assert any(one["case"].endswith("driver 525.60.13") for one in changed)


def test_a_build_without_volta_makes_volta_incompatible(own: Path) -> None:
    edited(own, lambda releases: releases["2.9"]["builds"][1]["archs"].remove("sm_70"))
    found = check("--knowledge", str(own), "-o", "json")
    assert found.exit_code == 1, found.output
    document = json.loads(found.stdout)
    assert document["tables"] == {
        "torch": {"new": [], "gone": [], "different": {"2.9 12.8 (PyPI)": ["targets"]}}
    }
    changed = {one["case"].split(", ")[1] for one in document["changes"]}
    assert changed == {"V100"}
    assert all(one["after"]["reason"] == "ArchNotInBuild" for one in document["changes"])
    words = check("--knowledge", str(own)).output
    assert "torch: 0 new, 0 gone, 1 different\n  ~ 2.9 12.8 (PyPI): targets\n" in words
    assert (
        "PyTorch 2.9 for CUDA 12.8, V100, driver 525.60.13: Compatible -> Incompatible: ArchNotInBuild"
        in words
    )


def test_a_removed_build_is_gone_and_its_answers_change(own: Path) -> None:
    edited(own, lambda releases: releases["2.13"]["builds"].pop(0))
    document = json.loads(check("--knowledge", str(own), "-o", "json").stdout)
    assert document["tables"]["torch"]["gone"] == ["2.13 12.6"]


def test_stored_node_reports_are_compared(own: Path, tmp_path: Path) -> None:
    document = join_reports(builders.facts_report("run1"), builders.kernels_report("run1"))
    report = builders.report("train", "gpu-1", **document)
    path = tmp_path / "reports.yaml"
    path.write_text(yaml.safe_dump({"kind": "List", "items": [report]}))
    found = json.loads(check("--knowledge", str(own), "--cases", str(path), "-o", "json").stdout)
    assert found["compared"]["storedCases"] == 1


def test_a_pasted_report_is_read_with_each_set_of_tables(tmp_path: Path) -> None:
    """A rule decides what its text means, so a table of errors without the rule gives another answer."""
    table = yaml.safe_load((HERE / "errors.yaml").read_text())
    own = tmp_path / "own"
    own.mkdir()
    table["errors"] = [row for row in table["errors"] if row["name"] != "gpu-off-the-bus"]
    (own / "errors.yaml").write_text(yaml.safe_dump(table))
    cases = tmp_path / "cases.yaml"
    lost = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."
    cases.write_text(yaml.safe_dump([{"source": "lost", "error": lost, "flags": {"gpu": ["NVIDIA L4"]}}]))
    document = json.loads(check("--knowledge", str(own), "--cases", str(cases), "-o", "json").stdout)
    changed = {one["case"]: one for one in document["changes"]}
    assert changed["lost"]["before"]["reason"] == "GpuLost"
    assert changed["lost"]["after"]["reason"] != "GpuLost"


def test_the_corpus_is_a_file_of_cases(own: Path) -> None:
    found = check("--knowledge", str(own), "--cases", str(CASES / "windows.yaml"), "-o", "json")
    assert json.loads(found.stdout)["compared"]["storedCases"] == len(read(CASES / "windows.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give their directory, --knowledge DIR"),
        (("--knowledge", "{own}", "--cases", "{own}/torch.yaml"), "has no GPUNodeReport"),
        (("--knowledge", "{own}", "--cases", "{own}/none.yaml"), "--cases"),
        (("--knowledge", "{own}", "--cases", "{own}/odd.yaml"), "case 1: colour: is no option"),
        (("--knowledge", "{own}", "--cases", "{own}/number.yaml"), "case 1: torch: write the value as text"),
    ],
)
def test_mistakes_are_one_line(own: Path, arguments: tuple[str, ...], message: str) -> None:
    (own / "odd.yaml").write_text("[{flags: {colour: red}}]")
    (own / "number.yaml").write_text("[{flags: {torch: 2.9}}]")
    found = check(*(one.replace("{own}", str(own)) for one in arguments))
    assert found.exit_code == 2
    assert message in found.output
    assert found.output.count("\n") == 1


def test_cases_go_with_check_only(own: Path) -> None:
    found = CliRunner().invoke(main, ["knowledge", "torch", "--cases", "x"], prog_name="gpuenv")
    assert found.exit_code == 2
    assert "goes with gpuenv knowledge check" in found.output
