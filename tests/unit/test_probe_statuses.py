"""The probe, its report's schema and the facts know the same statuses of a step."""

import json
from pathlib import Path

import gpuenv_probe
from gpuenv.assess.facts import Stage, StepStatus
from gpuenv_probe import statuses


def test_statuses_and_stages_are_those_of_the_schema() -> None:
    text = Path(gpuenv_probe.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
    fields = json.loads(text)["properties"]
    status = fields["steps"]["items"]["properties"]["status"]
    assert set(status["enum"]) == set(statuses.ALL) == set(StepStatus)
    assert set(fields["stage"]["enum"]) == set(Stage)
