"""Facts as they would be with another driver, another PyTorch build or another GPU, and whether an image then works."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from gpuenv.api import reasons
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, TorchFacts
from gpuenv.assess.model import Assessment, Status
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.model import Architecture, Knowledge, TorchBuild, TorchRelease
from gpuenv.knowledge.versions import parse_version, show

Judge = Callable[[Facts], Assessment]
"""The assessment of facts with the tables of the person who asks, without expectations that no driver or build changes."""

_DRIVER_RULES: Final = frozenset({"NVIDIA_REQUIRE_CUDA", "NVIDIA_DISABLE_REQUIRE"})
"""Variables of an image that say which drivers may run it."""


@dataclass(frozen=True, slots=True)
class DriverRange:
    """The drivers with which an image works.

    ``first`` is the oldest one: a version such as ``580.65.06``, or the number of a branch such as ``570``. ``last`` is the
    newest branch, or None if the newest branch in the tables works.
    """

    first: str
    last: int | None


def versions_alone(facts: Facts) -> Facts:
    """Return the facts without what another driver, build or GPU does not change, such as the health of a GPU."""
    driver = facts.driver
    env = {name: value for name, value in facts.container.env.items() if name in _DRIVER_RULES}
    return replace(
        facts,
        driver=DriverFacts(driver.version, driver.cuda_version, driver.nvml_cuda_version),
        gpus=tuple(
            Gpu(gpu.index, gpu.product, compute_capability=gpu.compute_capability) for gpu in facts.gpus
        ),
        container=ContainerFacts(python=facts.container.python, machine=facts.container.machine, env=env),
    )


def with_driver(facts: Facts, version: str) -> Facts:
    """Return the facts with another driver, of which only the version is known."""
    node = replace(facts.node, driver_version=None)
    return replace(facts, driver=DriverFacts(version=version), node=node)


def with_build(facts: Facts, release: TorchRelease, build: TorchBuild) -> Facts:
    """Return the facts with another PyTorch: a released build, of which only the table row is known."""
    torch = TorchFacts(
        version=f"{show(release.torch)}+{cuda_label(build.cuda)}",
        cuda=show(build.cuda),
        cudnn=cudnn_number(parse_version(build.cudnn)),
    )
    return replace(facts, torch=torch)


def with_generation(facts: Facts, architecture: Architecture, knowledge: Knowledge) -> Facts:
    """Return the facts with another GPU, of which only the generation is known.

    A generation that is sold only beside Arm CPUs gets the name of one of its models, because builds for Arm have other
    targets.
    """
    gpu = Gpu(product=_arm_model(architecture, knowledge), compute_capability=architecture.cc)
    node = replace(facts.node, product=None, compute_capability=None)
    return replace(facts, gpus=(gpu,), node=node)


@lru_cache(maxsize=256)
def _arm_model(architecture: Architecture, knowledge: Knowledge) -> str | None:
    models = [model for model in knowledge.models.values() if model.cc == architecture.cc]
    return models[0].name if models and all(model.arm for model in models) else None


def works(assessment: Assessment) -> bool:
    """Return whether nothing speaks against an image, apart from facts that are not given."""
    return all(
        found.status not in (Status.FAIL, Status.UNKNOWN)
        or (found.status is Status.UNKNOWN and found.reason == reasons.NotEnoughFacts)
        for found in assessment.checks
    )


@lru_cache(maxsize=8)
def drivers_to_try(knowledge: Knowledge) -> tuple[str, ...]:
    """Return drivers of all branches in the tables, the oldest first.

    They are the first driver of each CUDA major version, and for every other branch its number.
    """
    floors = {row.first_release for row in knowledge.toolkits.values()}
    named = {(parse_version(floor) or (0,))[0] for floor in floors}
    branches = {str(row.branch) for row in knowledge.branches if row.branch not in named}
    return tuple(sorted(floors | branches, key=lambda text: parse_version(text) or ()))


def released_range(
    facts: Facts, judge: Judge, knowledge: Knowledge, best: int, guess: str = ""
) -> DriverRange | None:
    """Return the same as :func:`driver_range` with few assessments, for a released build.

    ``best`` is the newest branch that supports the GPU. If the build does not work with it, it works with no driver. If it
    does, older drivers work down to a limit. Builds of vendors, which bring a cuda-compat for some branches, have no such
    limit. ``guess`` is the driver that is likely to be the limit, or "". If it is, two assessments find it.
    """
    tried = drivers_to_try(knowledge)
    numbers = [(parse_version(version) or (0,))[0] for version in tried]
    top = max((place for place, number in enumerate(numbers) if number <= best), default=0)
    if not works(judge(with_driver(facts, tried[top]))):
        return None
    low, high = 0, top
    likely = [tried.index(guess), tried.index(guess) - 1] if guess else []
    while low < high:
        place = likely.pop(0) if likely else (low + high) // 2
        if not low <= place < high:
            continue  # a guess that is known to be wrong
        if works(judge(with_driver(facts, tried[place]))):
            high = place
        else:
            low = place + 1
    newest = top == len(tried) - 1 or works(judge(with_driver(facts, tried[-1])))
    return DriverRange(tried[low], None if newest else numbers[top])


def driver_range(facts: Facts, judge: Judge, knowledge: Knowledge) -> DriverRange | None:
    """Return the drivers of the tables with which the image works, or None if it works with none of them.

    If there is a gap between two such drivers, the range ends before it.
    """
    tried = drivers_to_try(knowledge)
    good = [works(judge(with_driver(facts, version))) for version in tried]
    if not any(good):
        return None
    first = good.index(True)
    end = next((place for place in range(first, len(good)) if not good[place]), len(good))
    last = None if end == len(good) else (parse_version(tried[end - 1]) or (0,))[0]
    return DriverRange(tried[first], last)
