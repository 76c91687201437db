"""The released PyTorch builds that a GPU, a driver, or both can run."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpuenv.assess.binary_compatibility import Code, code_for
from gpuenv.assess.case import Case
from gpuenv.assess.cures.drivers import newest_branch
from gpuenv.assess.questions.what_if import (
    DriverRange,
    Judge,
    released_range,
    with_build,
    works,
)
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.model import TorchBuild
from gpuenv.knowledge.versions import Version


@dataclass(frozen=True, slots=True)
class WorkingBuild:
    """A released PyTorch build that works. ``drivers`` is None if the driver is given."""

    torch: Version
    cuda: Version
    index: str
    drivers: DriverRange | None


def working_builds(case: Case, judge: Judge) -> tuple[WorkingBuild, ...]:
    """Return all released builds that work on the GPUs and the driver of the case, the newest first.

    If the driver is not known, a build works if some driver in the tables runs it on these GPUs. If the GPU is not known,
    it works if the driver is new enough for it.
    """
    return tuple(_working(case, judge))


def _working(case: Case, judge: Judge) -> Iterator[WorkingBuild]:
    known = case.knows_driver
    best = newest_branch(case) or case.knowledge.branches[0].branch
    ranges: dict[tuple[Version, tuple[Code, ...]], DriverRange | None] = {}
    likely: dict[int, str] = {}  # builds for one major version of CUDA often need the same driver
    for release in sorted(case.knowledge.torch.values(), key=lambda release: release.torch, reverse=True):
        for build in sorted(release.builds, key=lambda build: build.cuda, reverse=True):
            if _lacks_code(case, build):
                continue
            facts = with_build(case.facts, release, build)
            if known:
                if works(judge(facts)):
                    yield WorkingBuild(release.torch, build.cuda, cuda_label(build.cuda), None)
                continue
            # The driver that a build needs follows from its toolkit and its kind of code, which many releases share.
            codes = (*_codes(case, build, build.archs), *_codes(case, build, build.aarch64))
            key = (build.cuda, codes)
            if key not in ranges:
                guess = likely.get(build.cuda[0], "")
                ranges[key] = released_range(facts, judge, case.knowledge, best, guess)
            if found := ranges[key]:
                likely[build.cuda[0]] = found.first
                yield WorkingBuild(release.torch, build.cuda, cuda_label(build.cuda), found)


def _lacks_code(case: Case, build: TorchBuild) -> bool:
    """Return whether a build has code for one of the GPUs in none of its wheels. This saves most assessments."""
    return Code.NONE in _codes(case, build, (*build.archs, *build.aarch64))


def _codes(case: Case, build: TorchBuild, targets: tuple[str, ...]) -> tuple[Code, ...]:
    """Return the best code for each GPU among the targets of a wheel of a build."""
    capabilities = [device.compute_capability for device in case.devices if device.compute_capability]
    return tuple(code_for(targets, capability, build.cuda, case.knowledge) for capability in capabilities)
