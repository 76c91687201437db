"""Cures in the words of the place where a command runs: there is nothing to revalidate outside a cluster."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.remedies import Action, Remedy
from gpuenv.assess.model import Assessment
from gpuenv.knowledge import Knowledge

CHECK: Final = "Look at the other checks first; then run gpuenv check again."
SAVED: Final = (
    "Look at the other checks first; then run gpuenv check again on that machine, and give its new report."
)
VERSIONS: Final = "Look at the other checks first; gpuenv check on the node tells more."


_ON_A_MACHINE: Final[Mapping[str, str]] = {
    reasons.TorchMissing: "Install PyTorch for this Python, or name the interpreter that has it with --python.",
}
"""Maps reasons whose cure is a field of an environment to the cure where no environment was given."""


def without_environment(assessment: Assessment) -> Assessment:
    """Return an assessment whose cures need no environment: those of a machine with options of the command."""
    checks = tuple(
        replace(check, remedies=(Remedy(check.remedies[0].action, _ON_A_MACHINE[check.reason]),))
        if check.reason in _ON_A_MACHINE and check.remedies
        else check
        for check in assessment.checks
    )
    return replace(assessment, checks=checks)


def with_images(assessment: Assessment, reference: str, knowledge: Knowledge) -> Assessment:
    """Return an assessment whose cures name another tag of the image ``reference``, where one is known to have the build."""

    if any(one.reason == reasons.ImageArchMismatch for one in assessment.checks):
        return assessment  # another tag of the image is for the same CPUs

    def named(one: Remedy) -> Remedy:
        told = dict(one.parameters)
        if "pytorch" not in told or "cuda" not in told:
            return one
        from gpuenv.assess.sources.images.named import released_image  # noqa: PLC0415 - only cures of images need it

        image = released_image(reference, told["pytorch"], told["cuda"], knowledge)
        return replace(one, parameters=tuple(sorted({**told, "image": image}.items()))) if image else one

    checks = tuple(
        replace(check, remedies=tuple(map(named, check.remedies))) if check.remedies else check
        for check in assessment.checks
    )
    return replace(assessment, checks=checks)


def in_place(assessment: Assessment, again: str) -> Assessment:
    """Return an assessment in which ``again`` says how to get a new result, instead of a request to the operator."""

    def said(remedy: Remedy) -> Remedy:
        return replace(remedy, message=again) if remedy.action == Action.REVALIDATE else remedy

    checks = tuple(
        replace(check, remedies=tuple(map(said, check.remedies)))
        if any(one.action == Action.REVALIDATE for one in check.remedies)
        else check
        for check in assessment.checks
    )
    return replace(assessment, checks=checks)
