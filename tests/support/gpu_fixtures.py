"""Assesses the probe reports of real GPUs that ``tests/bench/gpu_session.py`` has recorded."""

import json
from pathlib import Path
from typing import Any

import jsonschema

import gpuenv_probe
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.knowledge import load
from gpuenv_probe import codec

DIRECTORY = Path(__file__).parents[1] / "fixtures" / "gpu"
ABOUT = {"date", "gpu", "gpuCount", "driver", "torch", "cuda", "profiles"}


def assess_fixture(path: Path) -> dict[str, Assessment]:
    """Return the assessment of a recorded file for each profile.

    Raises AssertionError if a probe report violates the schema or is too long for a termination message.
    """
    fixture = json.loads(path.read_text(encoding="utf-8"))
    assert set(fixture) == ABOUT
    return {profile: _assess(run["reports"]) for profile, run in fixture["profiles"].items()}


def _assess(reports: dict[str, Any]) -> Assessment:
    schema = Path(gpuenv_probe.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
    for stage in ("facts", "kernels"):
        jsonschema.validate(reports[stage], json.loads(schema))
        assert len(codec.encode(reports[stage])) <= codec.LIMIT
    facts = facts_from_document(join_reports(reports["facts"], reports["kernels"]), NodeFacts())
    return assess(facts, None, (), load())
