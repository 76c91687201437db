"""Published cases get the verdict that was true for the people there, however they pasted what they had."""

from typing import Any

import pytest
from tests.unit.published_cases import STYLES, cases

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, Gpu
from gpuenv.assess.model import Assessment, Status, Verdict
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.knowledge import load

FEWEST = 60


def judge(case: dict[str, Any], style: str) -> Assessment:
    """The assessment of a case, pasted in ``style``."""
    given = case["given"]
    dump = {key: value for key, value in given.items() if key != "error"}
    sources = [read_collect_env(STYLES[style](dump))] if dump or style == "plain" else []
    if given.get("compute_capability"):
        major, minor = given["compute_capability"].split(".")
        sources.insert(0, Facts(source="flags", gpus=(Gpu(compute_capability=(int(major), int(minor))),)))
    if given.get("error"):
        sources.append(read_error_text(given["error"], load()))
    return assess(merge(sources or [read_collect_env("")]), None, (), load())


def test_there_are_many_cases_of_both_outcomes() -> None:
    verdicts = [case["verdict"] for case in cases()]
    assert len(cases()) >= FEWEST
    assert min(verdicts.count("Compatible"), verdicts.count("Incompatible")) >= 15
    assert len({case["source"] for case in cases()}) == len(cases()), "each case has a source of its own"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", cases(), ids=lambda case: case["source"].removeprefix("https://github.com/"))
def test_verdict_and_reason(case: dict[str, Any], style: str) -> None:
    found = judge(case, style)
    told = [
        (check.status, check.reason, check.message)
        for check in found.checks
        if check.status is not Status.PASS
    ]
    assert found.verdict == case["verdict"], told
    if case.get("reason"):
        assert found.reason == case["reason"], told


def test_every_failure_has_a_cure_and_a_source() -> None:
    for case in cases():
        found = judge(case, "plain")
        for check in found.checks:
            if check.status is Status.FAIL:
                assert check.remedies, check
                assert check.source.startswith("http"), check
        if found.verdict is Verdict.INCOMPATIBLE:
            assert found.message
