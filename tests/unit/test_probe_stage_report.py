"""The parent's own work: how pieces become a report, and how a report is kept."""

import os
from pathlib import Path
from typing import Any

import pytest

from gpuenv_probe import codec
from gpuenv_probe.processes import stage_report, wrong_results


def test_tables_grow_objects_merge_and_gpus_are_matched() -> None:
    report: dict[str, Any] = {"stage": "kernels"}
    stage_report.merge(
        report, {"torch": {"version": "2.9.1", "warnings": ["a"]}, "steps": [{"name": "alloc"}]}
    )
    stage_report.merge(
        report, {"torch": {"available": True, "warnings": ["a", "b"]}, "steps": [{"name": "matmul"}]}
    )
    stage_report.merge(report, {"gpus": [{"index": 1, "health": {"pcieGen": 1}}]})
    stage_report.merge(report, {"gpus": [{"index": 1, "health": {"busyPcieGen": 4}}, {"index": 0}]})
    assert report == {
        "stage": "kernels",
        "torch": {"version": "2.9.1", "available": True, "warnings": ["a", "b"]},
        "steps": [{"name": "alloc"}, {"name": "matmul"}],
        "gpus": [{"index": 1, "health": {"pcieGen": 1, "busyPcieGen": 4}}, {"index": 0}],
    }


def test_a_row_that_comes_again_takes_the_first_ones_place() -> None:
    report: dict[str, Any] = {}
    stage_report.merge(report, {"steps": [row("Unconfirmed"), {"name": "alloc", "gpu": 0, "status": "Pass"}]})
    stage_report.merge(report, {"steps": [row("Wrong")]})
    assert [step["status"] for step in report["steps"]] == ["Wrong", "Pass"]


def test_a_failure_is_never_half_of_one_and_half_of_another() -> None:
    report: dict[str, Any] = {"driver": {"nvml": {"layer": "signal", "code": 11, "name": "SIGSEGV"}}}
    stage_report.merge(report, {"driver": {"nvml": {"layer": "os", "name": "TimedOut"}}})
    assert report["driver"]["nvml"] == {"layer": "os", "name": "TimedOut"}


def test_overwriting_leaves_a_whole_report_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "termination-log"
    long = codec.encode({"stage": "facts", "run": "r", "torch": {"version": "2.9.1", "gitVersion": "f" * 40}})
    short = codec.encode({"stage": "kernels", "run": "r"})
    stage_report.overwrite(str(path), long)
    seen = []
    truncate = os.ftruncate

    def spy(descriptor: int, length: int) -> None:
        seen.append(codec.decode(path.read_text(encoding="ascii"))["stage"])
        truncate(descriptor, length)

    monkeypatch.setattr(os, "ftruncate", spy)
    stage_report.overwrite(str(path), short)
    assert seen == ["kernels"], "between writing and cutting, the new report can be read"
    assert path.read_text(encoding="ascii") == short


def test_a_place_that_cannot_be_written_to_is_told_and_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_report.overwrite(str(tmp_path / "absent" / "log"), "text")
    assert capsys.readouterr().err == (
        f"gpuenv-probe: cannot write {tmp_path}/absent/log: No such file or directory\n"
    )


def row(status: str, detail: str = "") -> dict[str, Any]:
    return {"name": "matmul", "gpu": 0, "dtype": "fp16", "status": status, "detail": detail}


@pytest.mark.parametrize(
    ("second", "status", "words"),
    [
        ([row("Wrong", "3 values")], "Wrong", "again in a fresh process"),
        ([row("Pass")], "Pass", "wrong once (3 values), right in a fresh process"),
        ([row("Crashed")], "Crashed", ""),
        ([row("TimedOut")], "TimedOut", ""),
        ([row("Skipped", "torch refuses fp8 here")], "Unconfirmed", "a fresh process did not come to it"),
        ([], "Unconfirmed", "3 values; seen once, and a fresh process did not come to it"),
    ],
)
def test_a_wrong_result_and_its_second_run(second: list[dict[str, Any]], status: str, words: str) -> None:
    found = wrong_results.confirmed(row("Wrong", "3 values"), second)
    assert found["status"] == status
    assert words in found["detail"]
