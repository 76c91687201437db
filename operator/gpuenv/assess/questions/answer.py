"""The answer to an open question: one about an image and a node of which one or two are not known."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gpuenv.assess.case import Case
from gpuenv.assess.cures.drivers import newest_branch
from gpuenv.assess.cures.setup import takes_build
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Status, Verdict
from gpuenv.assess.policies.driver import in_tables
from gpuenv.assess.questions.builds import WorkingBuild, working_builds
from gpuenv.assess.questions.generations import JudgedGeneration, judged_generations
from gpuenv.assess.questions.what_if import (
    DriverRange,
    Judge,
    driver_range,
    drivers_to_try,
    versions_alone,
    with_driver,
)
from gpuenv.knowledge.model import Architecture, Knowledge
from gpuenv.knowledge.versions import Version, parse_version


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """What the tables say about the facts that are missing.

    ``drivers`` are those with which the given image works: on the given GPU, or on some GPU. ``no_driver`` True means that
    it works with no driver, so that nobody should change the driver. ``builds`` are the released builds that work on the
    given GPU and driver, the newest first; if ``no_driver`` is True, they are those that work instead of the given one, and
    ``without_code`` the generations of the given GPUs on each of which the given build works with no driver.
    ``generations`` are the GPU generations on which the image works, or that the driver supports, and those on which it
    does not. ``gpus`` are the generations of the given GPUs, and ``last_branch`` is the newest driver branch that
    supports them all; None stands for the newest one.
    """

    drivers: DriverRange | None = None
    no_driver: bool = False
    builds: tuple[WorkingBuild, ...] = ()
    generations: tuple[JudgedGeneration, ...] = ()
    gpus: tuple[Architecture, ...] = ()
    without_code: tuple[Architecture, ...] = ()
    last_branch: int | None = None
    driver_cuda: Version | None = None
    """The newest CUDA version of the given driver, or None if the driver is not given."""
    newer_than_tables: bool = False
    """Whether the given driver is newer than the tables, so that its CUDA is at least ``driver_cuda``."""
    nearest: WorkingBuild | None = None
    """If ``no_driver`` is True, the build whose release is nearest to the given one, and the newest for this release."""


def open_answer(case: Case, judge: Judge) -> OpenAnswer | None:
    """Return the answer to the question that the facts of a case leave open, or None if there is none.

    ``judge`` assesses facts, of which it gets the versions alone. There is no answer if nothing is missing, if a failure was
    observed (then versions do not explain it), if a GPU is not in the tables or belongs to a Jetson module, or where no build of
    the PyTorch project for CUDA runs, such as on macOS.
    """
    no_torch = not case.facts.torch.version and case.runtime is None
    no_driver = not case.knows_driver
    no_gpu = not case.devices
    if not (no_torch or no_driver or no_gpu) or (no_torch and no_driver and no_gpu):
        return None
    impossible = any(found.status is Status.UNKNOWN for found in in_tables(case))
    if impossible or not takes_build(case) or case.observed or (not no_torch and case.runtime is None):
        return None
    rows = [device.architecture for device in case.devices]
    known = [row for row in rows if row is not None and not row.embedded]
    if len(known) < len(rows) or any(device.contradicts for device in case.devices):
        return None
    case = replace(case, facts=versions_alone(case.facts))
    about = OpenAnswer(
        gpus=tuple(dict.fromkeys(known)),
        last_branch=newest_branch(case),
        driver_cuda=None if no_driver else case.api_cuda,
        newer_than_tables=case.beyond_tables,
    )
    if no_torch:
        generations = judged_generations(case, judge) if no_gpu else ()
        return replace(about, builds=working_builds(case, judge), generations=generations)
    if no_gpu:
        judged = judged_generations(case, judge)
        return replace(about, generations=judged, drivers=_widest(judged) if no_driver else None)
    return _about_the_driver(case, judge, about)


def _about_the_driver(case: Case, judge: Judge, about: OpenAnswer) -> OpenAnswer | None:
    drivers = driver_range(case.facts, judge, case.knowledge)
    if drivers is not None:
        return replace(about, drivers=drivers)
    if not _fails_with_all(case.facts, judge, case.knowledge):
        return None  # no driver is certain to work, and none is certain to fail
    builds = working_builds(case, judge)
    bad = [
        row
        for gpu, device in zip(case.facts.gpus, case.devices, strict=False)
        if (row := device.architecture) is not None
        and _fails_with_all(replace(case.facts, gpus=(gpu,)), judge, case.knowledge)
    ]
    return replace(
        about,
        no_driver=True,
        builds=builds,
        nearest=_nearest(builds, case.torch),
        without_code=tuple(dict.fromkeys(bad)),
    )


def _fails_with_all(facts: Facts, judge: Judge, knowledge: Knowledge) -> bool:
    """Return whether the image fails for certain with every driver of the tables."""
    tried = (judge(with_driver(facts, version)) for version in drivers_to_try(knowledge))
    return all(one.verdict is Verdict.INCOMPATIBLE for one in tried)


def _widest(judged: Iterable[JudgedGeneration]) -> DriverRange | None:
    """Return the drivers with which an image works on some GPU: the range of the newest generation that needs the least."""
    ranges = [one.drivers for one in judged if one.drivers is not None]
    if not ranges:
        return None
    first = min((one.first for one in ranges), key=lambda text: parse_version(text) or ())
    last = None if any(one.last is None for one in ranges) else max(one.last or 0 for one in ranges)
    return DriverRange(first, last)


def _nearest(builds: tuple[WorkingBuild, ...], torch: Version | None) -> WorkingBuild | None:
    if torch is None or not builds:
        return builds[0] if builds else None

    def steps(build: WorkingBuild) -> int:
        return abs((build.torch[0] - torch[0]) * 100 + build.torch[1] - torch[1])

    return min(builds, key=steps)
