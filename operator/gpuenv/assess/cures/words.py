"""The remedies for changes: the action and parameters for programs, and the sentence in the words of the platform."""

from collections.abc import Sequence

from gpuenv.api.reasons import Part
from gpuenv.api.remedies import Action, Remedies, Remedy, remedy
from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.cures.builds import Build
from gpuenv.assess.cures.changes import Change, DriverRole
from gpuenv.assess.cures.driver_remedies import (
    REMOVE_COMPAT,
    REMOVE_STALE_LIBCUDA,
    upgrade_remedy,
    upgrade_words,
)
from gpuenv.assess.cures.drivers import last_branch
from gpuenv.assess.cures.setup import Setup
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import show


def remedy_for(
    change: Change, setup: Setup, lead: str, platforms: Sequence[str], knowledge: Knowledge
) -> Remedy:
    """Return the remedy to make a change, in the words of the first of the platforms that has some.

    ``lead`` is the beginning of the sentence that offers another build, with ``{build}`` for its name; "" stands for a
    short one.
    """
    if change.part is not None:
        return _of_part(change.part, setup, knowledge)
    if change.build is not None:
        return _of_build(change, change.build, setup, lead, platforms, knowledge)
    if change.role is DriverRole.OTHER_BRANCH:
        message = f"Install a driver of branch R{change.driver} on nodes with this GPU, and keep it there."
        return remedy(Action.CHANGE_DRIVER, message, branch=change.driver)
    return upgrade_remedy(knowledge, platforms, setup.capabilities, change.driver)


def _of_build(  # noqa: PLR0917  the parts of the sentence
    change: Change, build: Build, setup: Setup, lead: str, platforms: Sequence[str], knowledge: Knowledge
) -> Remedy:
    use = lead or "Use {build}"
    minimum, limit, branch = change.driver, "", ""
    if change.role is DriverRole.KEPT:
        message = f"{use}."
    elif change.role is DriverRole.NEEDED:
        message = f"{use}, driver {change.driver} or newer."
        limit = _limit(setup, knowledge)
    elif change.role is DriverRole.UPGRADED:
        message = f"Use {{build}}, and {upgrade_words(knowledge, platforms, setup.capabilities, change.driver)}: both are needed."
        limit = _limit(setup, knowledge)
    else:
        message = f"Use {{build}}, and install a driver of branch R{change.driver}: both are needed."
        minimum, branch = "", change.driver
    return remedy(
        Action.CHANGE_IMAGE,
        message.replace("{build}", str(build)),
        pytorch=build.torch,
        cuda=build.cuda,
        index=build.index,
        minVersion=minimum,
        maxBranch=limit,
        branch=branch,
    )


def _limit(setup: Setup, knowledge: Knowledge) -> str:
    limit = last_branch(knowledge, setup.capabilities)
    return str(limit) if limit else ""


def _of_part(part: Part, setup: Setup, knowledge: Knowledge) -> Remedy:
    if part is Part.LIBCUDA:
        return REMOVE_STALE_LIBCUDA
    if part is Part.COMPAT_LIBRARY:
        return REMOVE_COMPAT
    if part is Part.DRIVER_RULE:
        return remedy(Action.CHANGE_ENVIRONMENT, "Set expect.driverRule: MinorVersion.")
    toolkit = knowledge.toolkit(setup.cuda)
    package = f"cuda-compat-{show(toolkit.cuda if toolkit else setup.cuda).replace('.', '-')}"
    message = f"On this data-centre GPU, add the package {package} to the image."
    return remedy(Action.REPAIR_IMAGE, message, package=package)


def nothing_helps(setup: Setup, knowledge: Knowledge) -> Remedies:
    """Return the remedy if no build and no driver helps, although everything is known. Return () otherwise.

    Then the GPU is one that new drivers and builds no longer support, or expectations exclude everything that works.
    """
    rows = [knowledge.architectures.get(capability) for _, capability in setup.gpus if capability]
    known = setup.knows_driver and bool(rows) and len(rows) == len(setup.gpus)
    if not known or not any(row is not None and row.dropped_from_driver and not row.embedded for row in rows):
        return ()
    expected = setup.expect != Expectations()
    message = "No PyTorch build in the tables works with a driver that still supports this GPU" + (
        " as the environment expects: change the expectations, or use another GPU."
        if expected
        else ": use another GPU."
    )
    return (remedy(Action.REPLACE_GPU, message),)
