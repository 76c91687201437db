"""The probe, its report's schema, the facts and the floors use the same words."""

import json
from pathlib import Path
from typing import Any, get_args

import gpuenv_probe
from gpuenv.api.spec.floor import DATA_TYPES, BenchmarkName, DataType
from gpuenv.assess.facts import NotMeasured, Stage, StepStatus
from gpuenv_probe import statuses
from gpuenv_probe.benchmarks import causes
from gpuenv_probe.benchmarks.steps import FIGURES


def report_fields() -> dict[str, Any]:
    text = Path(gpuenv_probe.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
    fields: dict[str, Any] = json.loads(text)["properties"]
    return fields


def test_statuses_and_stages_are_those_of_the_schema() -> None:
    fields = report_fields()
    status = fields["steps"]["items"]["properties"]["status"]
    assert set(status["enum"]) == set(statuses.ALL) == set(StepStatus)
    assert set(fields["stage"]["enum"]) == set(Stage)


def test_benchmarks_data_types_and_causes_are_those_of_the_schema() -> None:
    row = report_fields()["benchmarks"]["items"]["properties"]
    assert set(row["benchmark"]["enum"]) == set(get_args(BenchmarkName)) == {name for name, _, _ in FIGURES}
    assert set(row["dtype"]["enum"]) == set(get_args(DataType))
    assert set(row["notMeasured"]["enum"]) == set(causes.ALL) == set(NotMeasured)


def test_a_floor_may_name_each_data_type_that_is_measured_and_no_other() -> None:
    measured = {(name, dtype) for name, dtype, _ in FIGURES if dtype}
    assert measured == {(name, dtype) for name, dtypes in DATA_TYPES.items() for dtype in dtypes}
