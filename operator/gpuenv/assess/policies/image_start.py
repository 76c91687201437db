"""Policies on whether a node starts an image that was read or named, and which libcuda its programs find.

A probe shows both by running, so that these policies are for other facts only.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy, remedy
from gpuenv.assess.case import Case, Device, check
from gpuenv.assess.facts import LibcudaOrigin
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform_cures import rule_remedies
from gpuenv.assess.vgpu import virtual_gpus
from gpuenv.knowledge.versions import Version, at_least, parse_version

if TYPE_CHECKING:
    from gpuenv.assess.image_requirements import Known

_ARM, _X86 = "linux/arm64", "linux/amd64"
_WINDOWS_CONTAINERS: Final = (
    "https://learn.microsoft.com/en-us/virtualization/windowscontainers/deploy-containers/gpu-acceleration"
)
_REMOVE_COMPAT: Final = remedy(
    Action.REPAIR_IMAGE,
    "Take cuda-compat (/usr/local/cuda/compat) out of LD_LIBRARY_PATH of the image, so that the driver's own libcuda is found.",
    remove="cuda-compat",
)
_DATA_CENTRE_BRANDS: Final = frozenset({"tesla", "nvidia"})
_CONSUMER_BRANDS: Final = frozenset({"geforce", "geforcertx", "titan", "titanrtx"})
"""Brands by the names of nvidia-container-cli, which has them from NVML. Those of other models vary too much to be assumed."""


def platform(case: Case) -> Iterator[Check]:
    """Check that the image exists for the CPU that the GPUs need: GH200, GB200, GB10 and Jetson have Arm CPUs."""
    found = case.facts.container.image_platforms
    if not found or case.probed:
        return
    exists = f"the image exists for {', '.join(found)} only"
    arm = [device for device in case.devices if _needs_arm(device)]
    if all(one.startswith("windows/") for one in found):
        message = f"{exists}; containers of Windows have no CUDA"
        give = [Remedy(Action.CHANGE_IMAGE, "Use an image for Linux.")]
        source = _WINDOWS_CONTAINERS
        yield check(
            case, check_names.PROBE_POD, Status.FAIL, reasons.ImageArchMismatch, message, give, source
        )
    elif _ARM not in found and (arm or (not case.devices and "jetson" in case.platforms)):
        title = arm[0].title if arm else "a Jetson"
        message = f"{exists}, and {title} comes with an Arm CPU (arm64)"
        yield check(case, check_names.PROBE_POD, Status.FAIL, reasons.ImageArchMismatch, message)
    elif _X86 not in found and not arm and case.devices:
        message = f"{exists}: the node needs such a CPU"
        yield check(case, check_names.PROBE_POD, Status.NOTE, reasons.ImageArchMismatch, message)


def _needs_arm(device: Device) -> bool:
    return device.embedded or (device.model is not None and device.model.arm)


def requirements(case: Case) -> Iterator[Check]:
    """Check that NVIDIA's container toolkit starts the image, by what the image requires (NVIDIA_REQUIRE_CUDA)."""
    required = case.facts.container.requirements
    if not required or case.probed or case.cuda_works or not case.knows_driver:
        return
    from gpuenv.assess.image_requirements import InvalidRequirementError, is_met  # noqa: PLC0415 - few images need it

    unknown = ""
    try:
        for device in case.devices or (None,):
            for one in required:
                met = is_met(one, _known(case, device))
                if met is False:
                    yield _refused(case, one)
                    return
                unknown = one if met is None else unknown
    except InvalidRequirementError as error:
        yield _refused(case, f"invalid expression: {error}")
        return
    if unknown and case.devices:
        message = (
            f"the image requires {_shown(unknown)} (NVIDIA_REQUIRE_CUDA); whether this driver and GPU meet that is not known, "
            "and NVIDIA's container toolkit does not start the image if not"
        )
        give = [
            Remedy(Action.PROVIDE_FACTS, "Give the whole version of the driver, or start the image once.")
        ]
        yield check(
            case, check_names.DRIVER_VERSION, Status.UNKNOWN, reasons.NotEnoughFacts, message, give, ""
        )


def _known(case: Case, device: Device | None) -> "Known":
    from gpuenv.assess.image_requirements import Known  # noqa: PLC0415 - few images need it

    brands = None
    if device is not None and device.model is not None and not virtual_gpus(case.facts):
        brands = {True: _DATA_CENTRE_BRANDS, False: _CONSUMER_BRANDS}.get(bool(device.model.datacenter))
        brands = None if device.model.datacenter is None else brands
    return Known(
        cuda=case.api_cuda,
        is_cuda_exact=case.api_observed or not case.newer_than_branches,
        driver=case.driver,
        arch=device.compute_capability if device is not None else None,
        brands=brands,
    )


def _refused(case: Case, requirement: str) -> Check:
    """Return the check for a requirement that is not met. It is that of the toolkit's own message."""
    from gpuenv.assess.sources.readers.containers.container_toolkit import read  # noqa: PLC0415 - few images are refused
    from gpuenv.assess.sources.rules.failure_rules import classify  # noqa: PLC0415 - few answers need it

    words = (
        requirement if requirement.startswith("invalid") else f"unsatisfied condition: {_shown(requirement)}"
    )
    said = f"nvidia-container-cli: requirement error: {words}"
    failure = next(iter(read(said, case.knowledge).errors), None)
    rule = classify(failure, case.knowledge) if failure is not None else None
    seen = case.driver_title
    if rule is None:
        return check(
            case,
            check_names.DRIVER_VERSION,
            Status.FAIL,
            reasons.SandboxFailed,
            f"{seen} does not do: {said}",
        )
    message = f"NVIDIA's container toolkit does not start the image with {seen}: {rule.meaning}"
    remedies = rule_remedies(rule, rule.reason, case)
    return check(
        case, check_names.DRIVER_VERSION, Status(rule.status), rule.reason, message, remedies, rule.source
    )


def _shown(requirement: str) -> str:
    """Return the first alternative of a requirement, which is what the toolkit names."""
    return requirement.split(" ", maxsplit=1)[0][:120]


def compat_library(case: Case) -> Iterator[Check]:
    """Check that a cuda-compat on the image's loader path suits driver and GPU.

    Programs then load its libcuda instead of the node's. It has to be at least as new as the driver, and needs a GPU for
    data centres. https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    path, compat = compat_of_image(case)
    if compat is None or case.driver is None or not case.devices:
        return
    version = path.rpartition(".so.")[2]
    message = (
        f"LD_LIBRARY_PATH of the image finds cuda-compat of driver {version} ({path}) before the libcuda of "
        f"driver {case.driver_text}"
    )
    if compat[0] < case.driver[0]:
        message = f"{message}, which is newer"
        yield check(
            case, check_names.FORWARD_COMPAT, Status.FAIL, reasons.DriverMismatch, message, [_REMOVE_COMPAT]
        )
        return
    if at_least(compat, case.driver) and at_least(case.driver, compat):
        return
    kinds = {device.model.datacenter if device.model else None for device in case.devices}
    if kinds == {True}:
        yield check(case, check_names.FORWARD_COMPAT, Status.NOTE, reasons.ForwardCompatInUse, message)
        return
    status = Status.FAIL if False in kinds else Status.UNKNOWN
    without = next(device for device in case.devices if not (device.model and device.model.datacenter))
    message = f"{message}; cuda-compat is for data-centre GPUs, not for {without.title}"
    yield check(
        case, check_names.FORWARD_COMPAT, status, reasons.ForwardCompatUnsupported, message, [_REMOVE_COMPAT]
    )


def compat_of_image(case: Case) -> tuple[str, Version | None]:
    """Return the path and the driver version of the cuda-compat that an image's loader path finds first, or "" and None."""
    library = case.facts.driver.libcuda
    if library is None or library.origin is not LibcudaOrigin.COMPAT or case.probed or case.cuda_works:
        return "", None
    path = library.path or ""
    return path, parse_version(path.rpartition(".so.")[2])
