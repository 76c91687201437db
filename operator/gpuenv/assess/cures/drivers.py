"""The drivers that matter for a GPU or a toolkit: the oldest that knows it, and the newest branch that supports it."""

from collections.abc import Iterable
from functools import lru_cache

from gpuenv.assess.case import BRANCH_WIDTH, Case
from gpuenv.knowledge.model import ComputeCapability, Knowledge
from gpuenv.knowledge.versions import Version, api_number, at_least, parse_version, show


@lru_cache(maxsize=256)
def first_driver(knowledge: Knowledge, capability: ComputeCapability) -> str:
    """Return the oldest driver in the tables that supports a GPU, or "" if the tables do not say that.

    It is the driver of the first CUDA toolkit with that driver branch, such as 570.26 for Blackwell, else the number of
    the branch. If the branch is not known, it is the driver of the first toolkit that compiles for the GPU.
    """
    row = knowledge.architectures.get(capability)
    if row is None:
        return ""
    if row.first_driver is None:
        toolkit = knowledge.toolkits.get(row.first_cuda) if row.first_cuda else None
        return toolkit.toolkit_driver_text if toolkit else ""
    return first_of_branch(knowledge, row.first_driver)


def first_of_branch(knowledge: Knowledge, branch: int) -> str:
    """Return the oldest driver of a branch in the tables, such as 570.26 for R570, or the number of the branch."""
    toolkits = [
        toolkit
        for toolkit in knowledge.toolkits.values()
        if toolkit.toolkit_driver is not None and toolkit.toolkit_driver[0] == branch
    ]
    oldest = min(toolkits, key=lambda toolkit: toolkit.toolkit_driver or (), default=None)
    return oldest.toolkit_driver_text if oldest else str(branch)


def newest(drivers: Iterable[str]) -> str:
    """Return the newest of several driver versions. Empty texts do not count."""
    return max(drivers, key=lambda text: parse_version(text) or ())


def last_branch(knowledge: Knowledge, capabilities: Iterable[ComputeCapability]) -> int | None:
    """Return the last driver branch that supports all GPUs, such as 580 for a V100, or None if the newest does."""
    rows = (knowledge.architectures.get(capability) for capability in capabilities)
    dropped = [row.dropped_from_driver for row in rows if row is not None and row.dropped_from_driver]
    return knowledge.last_branch(min(dropped)) if dropped else None


def steps_up(
    knowledge: Knowledge, runtime: Version | None, capabilities: Iterable[ComputeCapability]
) -> list[str]:
    """Return the drivers from which something new works, the oldest first.

    These are the oldest driver for the CUDA version ``runtime``, the driver of its own toolkit, and the oldest driver
    for each GPU.
    """
    toolkit = knowledge.toolkit(runtime)
    found = [first_driver(knowledge, capability) for capability in capabilities]
    if toolkit is not None:
        found += [toolkit.first_release, toolkit.toolkit_driver_text]
    return sorted({text for text in found if text}, key=lambda text: parse_version(text) or ())


@lru_cache(maxsize=4096)
def known_step(knowledge: Knowledge, driver: Version) -> Version:
    """Return the newest driver in the tables that ``driver`` is at least as new as, which stands for all up to the next.

    All drivers that are newer than the tables have the same stand-in.
    """
    limit = knowledge.branches[0].branch + BRANCH_WIDTH
    if driver[0] > limit:
        return (limit + 1,)
    step = max((step for step in _steps(knowledge) if at_least(driver, step)), default=driver[:1])
    # A branch alone counts as any driver of it. A driver before the first that the tables know is the oldest one.
    return (*step, 0) if len(step) == 1 < len(driver) else step


@lru_cache(maxsize=8)
def _steps(knowledge: Knowledge) -> tuple[Version, ...]:
    found: set[Version] = {(row.branch,) for row in knowledge.branches}
    for toolkit in knowledge.toolkits.values():
        texts = (toolkit.first_release, toolkit.toolkit_driver_text, toolkit.min_driver_text)
        found |= {version for version in map(parse_version, texts) if version}
    for row in knowledge.architectures.values():
        found |= {(branch,) for branch in (row.first_driver, row.dropped_from_driver) if branch}
    return tuple(found)


def capabilities_of(case: Case) -> list[ComputeCapability]:
    """Return the compute capabilities of the GPUs of a case, as far as they are known."""
    return [device.compute_capability for device in case.devices if device.compute_capability]


def newest_branch(case: Case) -> int | None:
    """Return the last driver branch that supports every GPU of the case, such as 580 for a V100.

    Return None if NVIDIA has not dropped any of these GPUs: the newest branch still supports all of them.
    """
    return last_branch(case.knowledge, capabilities_of(case))


def stale_libcuda(case: Case) -> str:
    """Return a sentence saying that the loaded libcuda is older than the node's driver.

    Return "" if the libcuda is not older, or if one of the two versions is not known.
    """
    branch = case.knowledge.branch(case.driver)
    if not case.api_observed or case.api is None or branch is None or case.api >= api_number(branch.cuda):
        return ""
    return (
        f"a stale libcuda is loaded: it is of CUDA {show(case.api_cuda)}, driver {case.driver_text} brings one of CUDA "
        f"{show(branch.cuda)}"
    )
