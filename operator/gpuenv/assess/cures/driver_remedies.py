"""The remedies that are about the driver and its libcuda, in the words of the node's platform."""

from collections.abc import Sequence
from typing import Final

from gpuenv.api.remedies import Action, Remedy, remedy
from gpuenv.assess.case import Case
from gpuenv.assess.cures.drivers import capabilities_of, last_branch
from gpuenv.knowledge.model import Branch, ComputeCapability, Knowledge
from gpuenv.knowledge.versions import parse_version

_UPGRADE: Final = "upgrade the driver to {driver}"
"""Words for tables of a user that have no cure for a driver that is too old."""
_OTHER_DRIVERS: Final = frozenset({"jetson", "windows", "wsl", "colab", "kaggle", "gpu-cloud"})
"""Platforms whose drivers are no branches for data centres, or are chosen by somebody else."""
REMOVE_STALE_LIBCUDA: Final = remedy(
    Action.REPAIR_IMAGE,
    "Remove the stale libcuda from the image (ldconfig -p | grep libcuda, then cuda-compat or libnvidia-compute packages and old "
    "copies on LD_LIBRARY_PATH), so that the node's own is found; the driver itself is new enough or not by its own version.",
    remove="libcuda",
)
REMOVE_COMPAT: Final = remedy(
    Action.REPAIR_IMAGE,
    "Take cuda-compat (/usr/local/cuda/compat) off the loader path of the image, so that the driver's own is found: it suffices.",
    remove="cuda-compat",
)


def upgrade_driver(case: Case, driver: str = "") -> Remedy:
    """Return the remedy to install a driver that is at least as new as ``driver``, in the words of the node's platform.

    ``driver`` "" stands for any newer one.
    """
    return upgrade_remedy(case.knowledge, case.platforms, capabilities_of(case), driver)


def upgrade_remedy(
    knowledge: Knowledge, platforms: Sequence[str], capabilities: Sequence[ComputeCapability], driver: str
) -> Remedy:
    """Return the remedy to install a driver that is at least as new as ``driver`` for GPUs with these capabilities."""
    words = upgrade_words(knowledge, platforms, capabilities, driver)
    limit = last_branch(knowledge, capabilities)
    lasting = None if _OTHER_DRIVERS & set(platforms) else _branch_in_support(knowledge, driver, limit)
    support = f"; R{lasting.branch} is supported until {lasting.supported_until}" if lasting else ""
    return remedy(
        Action.UPGRADE_DRIVER,
        f"{words[:1].upper()}{words[1:]}{support}.",
        minVersion=driver,
        maxBranch=str(limit) if limit else "",
        branch=str(lasting.branch) if lasting else "",
    )


def _branch_in_support(knowledge: Knowledge, driver: str, limit: int | None) -> Branch | None:
    """Return the oldest branch in support that is new enough, if the branch of ``driver`` itself has ended.

    Return None if ``driver`` is not known, or if there is no such branch up to ``limit``.
    """
    minimum = parse_version(driver)
    own = knowledge.branch(minimum)
    if minimum is None or own is None or own.supported_until:
        return None
    lasting = [
        row
        for row in knowledge.branches
        if row.supported_until and row.branch >= minimum[0] and (limit is None or row.branch <= limit)
    ]
    return min(lasting, key=lambda row: row.branch, default=None)


def upgrade_words(
    knowledge: Knowledge, platforms: Sequence[str], capabilities: Sequence[ComputeCapability], driver: str
) -> str:
    """Return the words for an upgrade of the driver, such as ``upgrade the node driver to 570.26 or newer``.

    If newer branches do not support one of the GPUs, the last branch that does is named.
    """
    wanted = f"{driver} or newer" if driver else "a newer version"
    found = knowledge.cure("upgrade-driver", platforms)
    words = (found.cure if found else _UPGRADE).replace("{driver}", wanted)
    limit = last_branch(knowledge, capabilities)
    rows = [knowledge.architectures.get(capability) for capability in capabilities]
    old = sorted({row.name for row in rows if row is not None and row.dropped_from_driver})
    ceiling = (
        f", but not past R{limit}: newer branches no longer support {' and '.join(old)}" if limit else ""
    )
    return f"{words}{ceiling}"
