"""From the termination message to the stored report: no message of an image is much work, or makes a large report."""

import itertools
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import hostile
from tests.support.hostile import WORST
from tests.support.judging import NODE, forget_texts, judged, size
from tests.support.world import KNOWLEDGE, World

from gpuenv.api.reasons import Part
from gpuenv.assess.cures import trial
from gpuenv.assess.cures.search import MAX_TRIALS
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Failure, Step, StepStatus
from gpuenv.assess.model import Assessment, Status, Verdict
from gpuenv.assess.policies import kernels as kernel_policies
from gpuenv.assess.sources.probe.probe_document import (
    MAX_BYTES,
    MAX_ROWS,
    STEPS_LEFT_OUT,
    join_reports,
)
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.assess.sources.rules import known_errors
from gpuenv.assess.sources.rules.known_errors import find_errors
from gpuenv.plan.actions import WriteReport
from gpuenv.plan.objects.node_report import MAX_CHECKS_BYTES
from gpuenv_probe import codec
from gpuenv_probe.omissions import OMISSIONS

STATUS_BYTES = 96 * 1024
"""The largest status of a node report: document and checks of 32 KiB each, and the texts around them."""


@pytest.mark.parametrize("name", WORST)
def test_the_document_fits_and_says_what_it_lacks(name: str) -> None:
    document, _ = judged(hostile.worst(name))
    assert size(document) <= MAX_BYTES
    omitted = document["facts"].get("omitted", [])
    order = [name for name, _ in OMISSIONS if name in omitted]
    assert [word for word in omitted if word in order] == order
    assert join_reports(*(codec.decode(text) for text in hostile.worst(name))) == document


@pytest.mark.parametrize("name", WORST)
def test_the_status_of_the_report_fits(name: str) -> None:
    world = World()
    world.environment()
    world.node()
    world.settle()
    run = world.run_id()
    world.finish(**dict(zip(("facts", "kernels"), hostile.worst(name, run), strict=True)))
    plans = world.settle()
    writes = [
        action
        for plan in plans
        for actions in plan.validations.values()
        for action in actions
        if isinstance(action, WriteReport)
    ]
    assert writes
    assert world.report() is not None
    for write in writes:
        assert size(write.status) <= STATUS_BYTES
        assert size(write.status.get("checks", [])) <= MAX_CHECKS_BYTES


def test_reports_of_sixteen_gpus_keep_everything_that_decides_the_verdict() -> None:
    document, found = judged(hostile.honest(16))
    assert found.verdict is Verdict.COMPATIBLE
    assert len(document["gpus"]) == 16
    assert all("health" in gpu for gpu in document["gpus"])
    assert len(document["benchmarks"]) == 160
    assert not {"steps that passed", "gpus.health", "benchmarks", "container"} & set(
        document["facts"].get("omitted", [])
    )
    eight, _ = judged(hostile.honest(8))
    assert "omitted" not in eight["facts"]


def test_a_report_with_more_steps_than_are_read_does_not_pass() -> None:
    facts = codec.decode(hostile.honest(1)[0])
    passes = [{"name": f"s{n}", "gpu": 0, "dtype": "fp32", "status": "Pass"} for n in range(MAX_ROWS + 1)]
    few = {"stage": "kernels", "complete": True, "steps": passes[:30]}
    assert assess(facts_from_document(join_reports(facts, few), NODE), None, (), KNOWLEDGE).verdict is (
        Verdict.COMPATIBLE
    )
    document = join_reports(facts, few | {"steps": passes})
    assert STEPS_LEFT_OUT in document["facts"]["omitted"]
    found = assess(facts_from_document(document, NODE), None, (), KNOWLEDGE)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "KernelsNotRun")


# ---- counts of work --------------------------------------------------------------------------------------


def count_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Callable[[], int]:
    """Count the calls of a function, and return a function that returns the count."""
    calls, original = itertools.count(), getattr(module, name)

    def counted(*args: Any) -> Any:
        next(calls)
        return original(*args)

    monkeypatch.setattr(module, name, counted)
    return lambda: next(calls)


def steps_of(statuses: dict[str, StepStatus]) -> tuple[Step, ...]:
    return tuple(
        Step(name, status=status, error=Failure("python", message=name)) for name, status in statuses.items()
    )


def checks_of(steps: tuple[Step, ...]) -> Assessment:
    facts = facts_from_document(join_reports(*(codec.decode(text) for text in hostile.honest(1))), NODE)
    return assess(type(facts)(**{**_fields(facts), "steps": facts.steps + steps}), None, (), KNOWLEDGE)


def _fields(facts: Any) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in facts.__dataclass_fields__}


def test_of_broken_steps_with_many_outcomes_the_worst_are_judged_and_the_rest_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = count_calls(monkeypatch, kernel_policies, "rule_of")
    late = {f"t{n}": StepStatus.TIMED_OUT for n in range(300)}
    found = checks_of(steps_of(late | {f"f{n}": StepStatus.FAIL for n in range(20)}))
    assert called() <= kernel_policies.MAX_JUDGED
    failed = [
        check for check in found.checks if check.reason == "KernelFailed" and check.status is Status.FAIL
    ]
    assert len(failed) == 20, "steps that failed are judged before those that ran out of time"
    (rest,) = [check for check in found.checks if "are not judged" in check.message]
    assert rest.status is Status.UNKNOWN
    assert rest.message.startswith(f"{320 - kernel_policies.MAX_JUDGED} more steps broke")


def test_optional_steps_that_are_not_judged_degrade_the_verdict() -> None:
    steps = tuple(
        Step("stream", status=StepStatus.FAIL, error=Failure("python", message=f"{number}"))
        for number in range(kernel_policies.MAX_JUDGED + 1)
    )
    (rest,) = [check for check in checks_of(steps).checks if "are not judged" in check.message]
    assert rest.status is Status.WARN


def test_the_same_error_on_many_gpus_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called = count_calls(monkeypatch, kernel_policies, "rule_of")
    error = Failure("cuda", 209, "cudaErrorNoKernelImageForDevice", "no kernel image is available")
    found = checks_of(
        tuple(Step("matmul", gpu=gpu, status=StepStatus.FAIL, error=error) for gpu in range(64))
    )
    assert called() == 1
    assert found.reason == "ArchNotInBuild"


@pytest.mark.parametrize(
    "text",
    ["cudaerrornotsupported " * 400, "nvidia-container-cli " * 400, "error " * 1000, "cuda failure\n" * 500],
    ids=lambda text: text.split("\n")[0][:14].strip(),
)
def test_a_text_made_for_many_tries_has_few(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = count_calls(monkeypatch, known_errors, "_line_end")
    find_errors(text, KNOWLEDGE)
    places = known_errors.MIN_TRIES + known_errors.TRIES_PER_CHARACTER * len(text)
    assert tried() <= 5 * places, "each try looks for the end of at most a few lines"


def test_no_rule_is_tried_on_a_text_without_any_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = count_calls(monkeypatch, known_errors, "_find")
    assert find_errors("matmul gave 12.25 instead of 12.00 in 3 of 1024 numbers", KNOWLEDGE) == []
    assert tried() == 0


@pytest.mark.parametrize("name", WORST)
def test_the_search_for_cures_tries_few_setups(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_texts()
    tried = count_calls(monkeypatch, trial, "case_of")
    judged(hostile.worst(name))
    assert tried() <= MAX_TRIALS * len(Part)


# ---- time and memory, compared with an honest message ----------------------------------------------------


def seconds(texts: tuple[str, str]) -> float:
    forget_texts()
    start = time.thread_time()
    judged(texts)
    return time.thread_time() - start


def ratio(texts: tuple[str, str], usual: tuple[str, str], tries: int = 9) -> float:
    """Return how much longer ``texts`` take. Both are measured in turn, because the speed of a busy machine changes."""
    pairs = [(seconds(texts), seconds(usual)) for _ in range(tries)]
    return min(long for long, _ in pairs) / min(short for _, short in pairs)


def test_no_message_costs_much_more_than_an_honest_one_of_a_large_node() -> None:
    honest = hostile.honest(16)
    for name in WORST:
        assert ratio(hostile.worst(name), honest) < 2, name


def test_no_message_takes_more_than_five_megabytes() -> None:
    for name in WORST:
        texts = hostile.worst(name)
        judged(texts)
        tracemalloc.start()
        try:
            judged(texts)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5_000_000, name
