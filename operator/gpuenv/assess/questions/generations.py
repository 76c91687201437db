"""The GPU generations on which a PyTorch build works, or that a driver supports."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpuenv.assess.case import Case
from gpuenv.assess.model import Status
from gpuenv.assess.questions.what_if import (
    DriverRange,
    Judge,
    driver_range,
    with_driver,
    with_generation,
    works,
)
from gpuenv.knowledge.model import Architecture


@dataclass(frozen=True, slots=True)
class JudgedGeneration:
    """One GPU generation, and whether the image works there.

    ``reason`` and ``message`` say why not. ``drivers`` is None if the image does not work, or if the driver is given.
    """

    architecture: Architecture
    works: bool
    reason: str = ""
    message: str = ""
    drivers: DriverRange | None = None


def judged_generations(case: Case, judge: Judge) -> tuple[JudgedGeneration, ...]:
    """Return all GPU generations in the tables, the oldest first, each judged for the image and the driver of the case.

    GPUs of Jetson modules are left out: their drivers and builds have numbers and sources of their own. A generation of
    which it is not known whether the image works is left out too.
    """
    rows = sorted(case.knowledge.architectures.values(), key=lambda row: row.cc)
    return tuple(found for row in rows if not row.embedded for found in _judged(case, judge, row))


def _judged(case: Case, judge: Judge, row: Architecture) -> Iterator[JudgedGeneration]:
    facts = with_generation(case.facts, row, case.knowledge)
    if case.knows_driver:
        found = judge(facts)
        if works(found):
            yield JudgedGeneration(row, True)
            return
    else:
        dropped = row.dropped_from_driver
        best = case.knowledge.last_branch(dropped) if dropped else case.knowledge.branches[0].branch
        found = judge(with_driver(facts, str(best)))
        if works(found):
            yield JudgedGeneration(row, True, drivers=driver_range(facts, judge, case.knowledge))
            return
    worst = next((check for check in found.checks if check.status is Status.FAIL), None)
    if worst is not None:
        yield JudgedGeneration(row, False, worst.reason, worst.message)
