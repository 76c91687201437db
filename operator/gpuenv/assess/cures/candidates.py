"""The candidates for a cure: builds, drivers and other parts, in the order in which they are tried.

The smallest change of the image comes first, then the newest build. Of drivers, the oldest that suffices comes first.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from gpuenv.api.reasons import Part
from gpuenv.assess.cures.builds import Build, builds_with_code, series_number
from gpuenv.assess.cures.changes import Change, DriverRole
from gpuenv.assess.cures.drivers import last_branch, steps_up
from gpuenv.assess.cures.setup import Setup
from gpuenv.knowledge.model import Architecture, Knowledge, Toolkit
from gpuenv.knowledge.versions import Version, at_least, parse_version

_NEAR = 1
"""How many releases further away a build may be, if it runs on an older driver."""
_RECENT: Final = 4
"""How many releases are recent: those of about a year."""


def architectures(setup: Setup, knowledge: Knowledge) -> list[Architecture]:
    """Return the rows of the GPUs' architectures that are in the tables."""
    rows = (knowledge.architectures.get(capability) for capability in setup.capabilities)
    return [row for row in rows if row is not None]


def other_builds(setup: Setup, knowledge: Knowledge) -> list[Build]:
    """Return the released builds with code for all GPUs, except the one in the image, the newest first.

    Return [] if the compute capability of a GPU is not known, or where none of these builds runs. If no GPU is known, any
    build may have code for it.
    """
    capabilities = frozenset(setup.capabilities)
    if any(capability is None for _, capability in setup.gpus) or not setup.takes_build:
        return []
    release = parse_version(setup.torch)
    own = None if setup.cpu_build else (release[:2] if release else None, setup.cuda)
    return [
        build
        for build in builds_with_code(knowledge, capabilities, setup.arm)
        if (build.release.torch, build.row.cuda) != own
    ]


def for_this_driver(setup: Setup, builds: Sequence[Build], knowledge: Knowledge) -> Iterator[Change]:
    """Yield the builds that the node's driver reaches, the nearest release first.

    Among the builds of a release, those for a CUDA that the driver brings itself come first, then those that exist for
    Windows too, then the newest CUDA.
    """
    # Many builds share a CUDA version, so that each version is looked up once.
    known = {cuda: knowledge.toolkit(cuda) for cuda in {build.row.cuda for build in builds}}
    reached = {cuda for cuda, toolkit in known.items() if _reaches(setup, cuda, toolkit)}
    lacking = {cuda for cuda, toolkit in known.items() if not _brings(setup, toolkit)}
    change = _changes_of_image(setup)

    def order(build: Build) -> tuple[object, ...]:
        return *change(build), build.row.cuda in lacking, not build.row.windows, -build.cuda_number

    for build in sorted((build for build in builds if build.row.cuda in reached), key=order):
        yield Change(build=build)


def for_an_unknown_driver(setup: Setup, builds: Iterable[Build], knowledge: Knowledge) -> Iterator[Change]:
    """Yield one or two builds together with the oldest driver for each, the oldest driver first.

    One is the build that changes the image least, or one of the newest release if that in the image is not known. The other
    is of a release beside it, and runs on an older driver. An older driver counts only if it is one for a CUDA version in
    use: nobody is sent to an old build for the sake of a driver that hardly any machine has.
    """
    change, in_use = _changes_of_image(setup), majors_in_use(knowledge)
    # Of builds for which the same driver suffices, that for the oldest CUDA misses the fewest features on old drivers.
    ordered = sorted(
        builds,
        key=lambda build: (
            *change(build),
            build.row.cuda[0] not in in_use,
            build.floor_version,
            build.cuda_number,
        ),
    )
    if not ordered or not setup.takes_driver:
        return  # the driver of a Jetson module comes with its JetPack
    nearest = ordered[0]
    known = parse_version(setup.torch) is not None
    _, steps, _ = change(nearest)
    near = [
        build
        for build in ordered
        if build is nearest
        or (
            build.row.cuda[0] in in_use
            and (change(build)[1] <= steps + _NEAR if known else nearest.series - build.series <= _NEAR)
        )
    ]
    # `min` keeps the first of equals, which is the smallest change.
    lowest = min(
        near,
        key=lambda build: (change(build)[0], build.floor_version, 0 if known else build.cuda_number),
    )
    for build in dict.fromkeys((lowest, nearest)):
        if build is lowest or build.floor_version != lowest.floor_version:
            yield Change(build=build, role=DriverRole.NEEDED, driver=build.floor)


@lru_cache(maxsize=8)
def majors_in_use(knowledge: Knowledge) -> frozenset[int]:
    """Return the CUDA major versions for which the PyTorch project has released builds lately."""
    newest = sorted(knowledge.torch.values(), key=lambda release: release.torch)[-_RECENT:]
    return frozenset(build.cuda[0] for release in newest for build in release.builds)


def with_another_driver(setup: Setup, builds: Iterable[Build], knowledge: Knowledge) -> Iterator[Change]:
    """Yield the builds together with the driver that has to replace that of the node, the smallest change first."""
    if not setup.takes_driver:
        return
    rows = architectures(setup, knowledge)
    limit = last_branch(knowledge, [row.cc for row in rows])
    dropped = is_dropped(setup, knowledge)
    change = _changes_of_image(setup)
    for build in sorted(builds, key=lambda build: (*change(build), build.floor_version, -build.cuda_number)):
        if limit is not None and build.floor_version[:1] > (limit,):
            continue
        if dropped:
            yield Change(build=build, role=DriverRole.OTHER_BRANCH, driver=str(limit))
        elif setup.driver is None or build.floor_version > setup.driver:
            yield Change(build=build, role=DriverRole.UPGRADED, driver=build.floor)


def other_drivers(setup: Setup, knowledge: Knowledge) -> Iterator[Change]:
    """Yield the drivers that may replace that of the node: newer ones, or the last branch that supports the GPUs.

    If the image's CUDA is not known, no version can be named; a newer driver helps if there is one for the GPUs.
    """
    if not setup.takes_driver:
        return  # the driver of a Jetson module comes with its JetPack
    rows = architectures(setup, knowledge)
    capabilities = [row.cc for row in rows]
    limit = last_branch(knowledge, capabilities)
    if is_dropped(setup, knowledge):
        yield Change(role=DriverRole.OTHER_BRANCH, driver=str(limit))
        return
    for text in steps_up(knowledge, setup.cuda, capabilities):
        if setup.driver is None or (parse_version(text) or ()) > setup.driver:
            yield Change(role=DriverRole.UPGRADED, driver=text)
    newer_exists = limit is None or setup.driver is None or setup.driver[0] < limit
    if setup.cuda is None and not setup.cpu_build and setup.knows_driver and newer_exists:
        yield Change(role=DriverRole.UPGRADED)


def other_parts(setup: Setup, part: Part, knowledge: Knowledge) -> Iterator[Change]:
    """Yield the change of a part that is neither a build nor a driver, if the setup has such a part."""
    models = [knowledge.model(name) for name, _ in setup.gpus]
    datacenter = bool(models) and all(model is not None and model.datacenter for model in models)
    fits = {
        Part.LIBCUDA: setup.stale,
        Part.COMPAT_LIBRARY: setup.driver is not None,
        Part.FORWARD_COMPAT: datacenter
        and setup.takes_compat
        and setup.knows_driver
        and setup.cuda is not None,
        Part.DRIVER_RULE: setup.expect.driver_rule != "MinorVersion",
    }
    if fits[part]:
        yield Change(part=part)


def is_dropped(setup: Setup, knowledge: Knowledge) -> bool:
    """Return whether the driver's branch no longer supports one of the GPUs."""
    branch = setup.driver[0] if setup.driver else 0
    return any(
        row.dropped_from_driver is not None and branch >= row.dropped_from_driver
        for row in architectures(setup, knowledge)
    )


def _reaches(setup: Setup, cuda: Version, toolkit: Toolkit | None) -> bool:
    """Return whether builds for a CUDA version run on the node's driver. ``toolkit`` is the row of this version."""
    if setup.loaded is not None and setup.loaded // 1000 >= cuda[0]:
        return True
    return toolkit is not None and setup.driver is not None and at_least(setup.driver, toolkit.min_driver)


def _brings(setup: Setup, toolkit: Toolkit | None) -> bool:
    """Return whether the driver brings this CUDA itself, as far as is known."""
    own = toolkit.toolkit_driver if toolkit else None
    return own is None or setup.driver is None or at_least(setup.driver, own)


def _changes_of_image(setup: Setup) -> Callable[[Build], tuple[bool, int, int]]:
    """Return a function that says how much an image changes by a build: another Python, then releases away.

    Of releases that are equally far away, the newer comes first. If the release in the image is not known, the newest
    one does.
    """
    release, python = parse_version(setup.torch), setup.python
    own = series_number(release) if release is not None and len(release) > 1 else None

    def change(build: Build) -> tuple[bool, int, int]:
        other_python = python is not None and not build.release.suits(python)
        return other_python, 0 if own is None else abs(build.series - own), -build.series

    return change
