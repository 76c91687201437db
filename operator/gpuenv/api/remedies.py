"""Remedies: how to solve the problem that a check found, as one word for programs and one sentence for people.

To add an action, add a member to :class:`Action`; ``docs/reasons.md`` lists it after ``make docs``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from gpuenv.api.tolerant import mappings, text, texts

PARAMETERS: Final[dict[str, str]] = {
    "branch": "The driver branch to install, such as 580. Of an upgrade: the oldest one that suffices and is still in support.",
    "computeCapability": "The compute capability for which a library has to be built, such as 9.0.",
    "cuda": "The CUDA version of a PyTorch build that works, such as 12.8.",
    "index": "The package index of the PyTorch project that has this build, such as cu128.",
    "image": "An image with this build: another tag of the image that was given, which is known to exist.",
    "maxBranch": "The newest driver branch that still supports the GPU, such as 580.",
    "minVersion": "The lowest driver version that suffices, such as 525.60.13. A build has it if the node's driver may be older.",
    "package": "The package to add to the image, such as cuda-compat-12-8.",
    "pytorch": "The PyTorch release of a build that works, such as 2.9.",
    "remove": "The library to remove from the image or from its loader path: libcuda or cuda-compat.",
    "variable": "The environment variable to remove or to correct, such as CUDA_VISIBLE_DEVICES; several have commas between.",
}
"""Maps the name of every parameter of a remedy to its meaning. Names are documented API, like actions."""


class Action(StrEnum):
    """What a remedy does, for programs that react to it.

    Each action has a description of one sentence, and the names of the parameters that its remedies may have. The words
    are documented API: new ones may be added, and existing ones keep their meaning.
    """

    description: str
    parameters: tuple[str, ...]

    # The driver and the GPUs of the node.
    UPGRADE_DRIVER = (
        "UpgradeDriver",
        "Install a newer NVIDIA driver on the node.",
        "minVersion", "maxBranch", "branch",
    )  # fmt: skip
    CHANGE_DRIVER = (
        "ChangeDriver",
        "Install another NVIDIA driver on the node: an older branch that still supports the GPU, or the other variant "
        "of the kernel modules.",
        "branch",
    )
    RELOAD_DRIVER = "ReloadDriver", "Reload the driver, so that all of its parts are of one version."
    LOAD_KERNEL_MODULE = (
        "LoadKernelModule",
        "Load a kernel module of the driver that is missing on the node, such as nvidia_uvm.",
    )
    START_FABRIC_MANAGER = (
        "StartFabricManager",
        "Start the Fabric Manager of the driver's own version on the node.",
    )
    ENABLE_PERSISTENCE = "EnablePersistence", "Keep idle GPUs initialised (persistence mode)."
    RESET_GPU = "ResetGPU", "Drain the node and reset its GPU."
    REPLACE_GPU = "ReplaceGPU", "Replace the GPU, or use nodes with another one."
    RUN_DIAGNOSTICS = "RunDiagnostics", "Drain the node and test its GPU, for example with dcgmi diag."
    LICENSE_GPU = "LicenseGPU", "Give the virtual GPU its licence for NVIDIA vGPU software."
    FREE_GPU = "FreeGPU", "Free memory of the GPU, or use one with more memory."

    # The node around them.
    REBOOT_NODE = "RebootNode", "Drain the node and reboot it."
    INSPECT_NODE = (
        "InspectNode",
        "Look at the node: its kernel log, its services, its hardware. The cause is there, and not known exactly.",
    )
    INSTALL_GPU_SUPPORT = (
        "InstallGPUSupport",
        "Install on the node what gives GPUs to containers: container toolkit, RuntimeClass, device plug-in.",
    )
    END_MAINTENANCE = "EndMaintenance", "End what keeps the node out of use, such as a cordon."

    # The image and the programs in it.
    CHANGE_IMAGE = (
        "ChangeImage",
        "Use another image, with another build of PyTorch or for another platform.",
        "pytorch", "cuda", "index", "image", "minVersion", "maxBranch", "branch",
    )  # fmt: skip
    REPAIR_IMAGE = (
        "RepairImage",
        "Change packages, libraries or variables in the image, and build it again.",
        "package", "computeCapability", "remove",
    )  # fmt: skip
    CHANGE_PROGRAM = "ChangeProgram", "Change the program that runs in the image, or its settings."
    FIX_IMAGE_PULL = (
        "FixImagePull",
        "Make the image available to the node: its name, the pull secrets, the registry.",
    )

    # Pods, the environment and the cluster.
    EXPOSE_GPU = "ExposeGPU", "Give the container access to the GPU and to the driver."
    CHANGE_POD = (
        "ChangePod",
        "Change the pod: its variables, volumes, limits or security context.",
        "variable",
    )
    RECREATE_POD = "RecreatePod", "End the pod or the process, and start it again."
    CHANGE_ENVIRONMENT = "ChangeEnvironment", "Change the specification of the GPUEnvironment."
    ALLOW_PROBE = (
        "AllowProbe",
        "Change what keeps the cluster from accepting the probe pod: a policy, a quota, a webhook, a missing object.",
    )

    # Knowledge and time.
    WAIT = "Wait", "Do nothing: gpuenv tries again by itself."
    REVALIDATE = "Revalidate", "Request another run, for example with gpuenv revalidate."
    PROVIDE_FACTS = "ProvideFacts", "Give gpuenv the facts that it misses, or newer knowledge tables."
    INVESTIGATE = (
        "Investigate",
        "Read the message and the logs of the program: the cause is not known exactly.",
    )

    def __new__(cls, value: str, description: str, *parameters: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.parameters = parameters
        return member


@dataclass(frozen=True, slots=True, order=True)
class Remedy:
    """One way to solve the problem that a check found.

    ``action`` is the value of an :class:`Action`, or another word, which another version of gpuenv has stored.
    ``message`` tells people what to do, in one sentence or two. ``parameters`` tells programs the details that are
    certain, such as ``("minVersion", "525.60.13")``; they are sorted by name.
    """

    action: str
    message: str
    parameters: tuple[tuple[str, str], ...] = ()


Remedies = tuple[Remedy, ...]
"""The remedies of one problem. Any of them solves it; the best one comes first."""


def remedy(action: Action, message: str, **parameters: str) -> Remedy:
    """Return a remedy with these parameters. A parameter whose value is "" is left out."""
    known = sorted((name, value) for name, value in parameters.items() if value)
    return Remedy(action, message, tuple(known))


def remedies_data(remedies: Iterable[Remedy]) -> list[dict[str, Any]]:
    """Return remedies as JSON data, in the form of the custom resources."""
    return [
        {"action": str(one.action), "message": one.message}
        | ({"parameters": dict(one.parameters)} if one.parameters else {})
        for one in remedies
    ]


def read_remedies(value: object) -> Remedies:
    """Return the remedies that :func:`remedies_data` converted. An item without an action counts as absent."""
    return tuple(
        Remedy(
            text(item["action"]),
            text(item.get("message")),
            tuple(sorted(texts(item.get("parameters")).items())),
        )
        for item in mappings(value)
        if text(item.get("action"))
    )
