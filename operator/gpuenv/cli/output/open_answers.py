"""Answers to open questions, as lines for people and as data for programs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from gpuenv.assess.questions.answer import OpenAnswer
from gpuenv.assess.questions.builds import WorkingBuild
from gpuenv.assess.questions.generations import JudgedGeneration
from gpuenv.assess.questions.what_if import DriverRange
from gpuenv.cli.output.install_lines import pip_line
from gpuenv.knowledge.model import Architecture, Knowledge
from gpuenv.knowledge.versions import Version, show

NEWEST: Final = 3
"""How many builds of the newest release get a line with a command."""


class Line(NamedTuple):
    """One line of an answer, and the command to copy that belongs to it, "" if there is none."""

    text: str
    command: str = ""


def lines(found: OpenAnswer, knowledge: Knowledge, torch: str | None) -> Iterator[Line]:
    """Yield the lines of an answer. ``torch`` is the version of PyTorch that the person named, or None."""
    for row in found.gpus:
        yield Line(_generation_line(row, knowledge))
    yield from map(Line, _about_drivers(found, torch))
    if not found.no_driver and not torch and (found.gpus or found.driver_cuda is not None):
        for build in found.builds[:NEWEST]:
            if build.torch == found.builds[0].torch:
                yield Line(f"newest: {_title(build)}", pip_line(show(build.torch), build.index))
        yield from map(Line, _builds(found, knowledge))
    yield from map(Line, _generations(found))


def _about_drivers(found: OpenAnswer, torch: str | None) -> Iterator[str]:
    if found.no_driver:
        yield _no_driver(found)
    elif found.drivers is not None:
        yield f"{'driver:' if found.generations else 'Compatible if the driver is'} {drivers(found.drivers)}"
    if found.driver_cuda is not None and not torch:
        least = "is newer than the tables; it has at least" if found.newer_than_tables else "has"
        yield f"the driver {least} CUDA {show(found.driver_cuda)}"


def drivers(found: DriverRange) -> str:
    """Return drivers in words, such as ``525.60.13 or newer, up to R580``."""
    first = found.first if "." in found.first else f"R{found.first}"
    return f"{first} or newer" + (f", up to R{found.last}" if found.last else "")


def _generation_line(row: Architecture, knowledge: Knowledge) -> str:
    parts = [f"{row.name}, compute capability {show(row.cc)}"]
    first = f"R{row.first_driver}" if row.first_driver else ""
    last = f"R{knowledge.last_branch(row.dropped_from_driver)}" if row.dropped_from_driver else ""
    if first or last:
        parts.append(f"drivers {_from_to(first, last)}")
    if row.first_cuda or row.last_cuda:
        ends = (show(cuda) if cuda else "" for cuda in (row.first_cuda, row.last_cuda))
        parts.append(f"CUDA {_from_to(*ends)}")
    return "; ".join([*parts, *([row.features] if row.features else [])])


def _from_to(first: str, last: str) -> str:
    return " ".join(([f"from {first}"] if first else []) + ([f"up to {last}"] if last else []))


def _no_driver(found: OpenAnswer) -> str:
    if found.without_code:
        words = f"no driver changes this: the build does not run on {_all_of(found.without_code)}"
    else:
        words = f"no driver changes this: none in the tables runs the build on {_all_of(found.gpus)} together"
    if found.nearest is None:
        return f"{words}, and no released build in the tables does"
    return f"{words}; {_title(found.nearest)} does"


def _all_of(rows: Iterable[Architecture]) -> str:
    return " and ".join(dict.fromkeys(row.name for row in rows))


def _title(build: WorkingBuild) -> str:
    needs = f" (driver {drivers(build.drivers)})" if build.drivers else ""
    return f"PyTorch {show(build.torch)} for CUDA {show(build.cuda)}{needs}"


def _builds(found: OpenAnswer, knowledge: Knowledge) -> Iterator[str]:
    """Yield the CUDA versions and releases of the builds that work, and those of which no build works."""
    if not found.builds:
        yield "no released build of PyTorch in the tables works here"
        return
    groups = list(_by_cuda(found.builds))
    yield "works: " + "; ".join(f"CUDA {show(cuda)} of {_span(versions)}" for cuda, versions in groups)
    all_cuda = {build.cuda for release in knowledge.torch.values() for build in release.builds}
    without = sorted(all_cuda - {build.cuda for build in found.builds}, reverse=True)
    newer = [show(torch) for torch in knowledge.torch if torch > found.builds[0].torch]
    parts = [f"builds for CUDA {', '.join(map(show, without))}"] if without else []
    parts += [f"PyTorch {' and '.join(newer)}"] if newer else []
    if parts:
        yield f"does not work: {'; '.join(parts)}"


def _by_cuda(builds: Iterable[WorkingBuild]) -> Iterator[tuple[Version, list[Version]]]:
    """Yield each CUDA version with the releases that have a working build for it, the newest CUDA first."""
    ordered = sorted(builds, key=lambda build: build.cuda, reverse=True)
    for cuda, group in groupby(ordered, key=lambda build: build.cuda):
        yield cuda, [build.torch for build in group]


def _span(versions: Sequence[Version]) -> str:
    oldest, newest = min(versions), max(versions)
    return show(oldest) if oldest == newest else f"{show(oldest)} to {show(newest)}"


def _generations(found: OpenAnswer) -> Iterator[str]:
    """Yield one line for all generations on which the image works, and one for each reason why it does not.

    Generations that need other drivers than most have a line with these drivers.
    """
    if not found.generations:
        return
    good = [one for one in found.generations if one.works]
    yield "GPUs: " + (_names(good) if good else "none in the tables")
    special: dict[DriverRange, list[JudgedGeneration]] = {}
    bad: dict[str, list[JudgedGeneration]] = {}
    for one in found.generations:
        if not one.works:
            bad.setdefault(one.reason, []).append(one)
        elif one.drivers and one.drivers != found.drivers:
            special.setdefault(one.drivers, []).append(one)
    for needed, rows in special.items():
        yield f"{_names(rows)}: driver {drivers(needed)}"
    for reason, rows in bad.items():
        yield f"not: {_names(rows)} ({reason})"


def _names(judged: Iterable[JudgedGeneration]) -> str:
    rows: dict[str, list[str]] = {}
    for one in judged:
        row = one.architecture
        rows.setdefault(row.name.removesuffix(f" {show(row.cc)}"), []).append(show(row.cc))
    return ", ".join(f"{name} {'/'.join(capabilities)}" for name, capabilities in rows.items())


def data(found: OpenAnswer, torch: str | None) -> dict[str, Any]:
    """Return an answer as JSON data. What the answer does not contain is left out."""
    builds = [found.nearest, *found.builds] if found.nearest else list(found.builds)
    parts = {
        "noDriverHelps": found.no_driver or None,
        "drivers": _range_data(found.drivers),
        "builds": [_build_data(build, torch) for build in dict.fromkeys(builds)],
        "generations": [_generation_data(one) for one in found.generations],
    }
    return {name: value for name, value in parts.items() if value}


def _range_data(found: DriverRange | None) -> dict[str, str]:
    if found is None:
        return {}
    return {"minVersion": found.first} | ({"maxBranch": str(found.last)} if found.last else {})


def _build_data(build: WorkingBuild, torch: str | None) -> dict[str, Any]:
    release = show(build.torch)
    return {
        "pytorch": release,
        "cuda": show(build.cuda),
        "index": build.index,
        "install": pip_line(release, build.index, torch),
        **({"drivers": _range_data(build.drivers)} if build.drivers else {}),
    }


def _generation_data(one: JudgedGeneration) -> dict[str, Any]:
    reason = {"reason": one.reason, "message": one.message} if not one.works else {}
    return {
        "name": one.architecture.name,
        "computeCapability": show(one.architecture.cc),
        "works": one.works,
        **reason,
        **({"drivers": _range_data(one.drivers)} if one.drivers else {}),
    }
