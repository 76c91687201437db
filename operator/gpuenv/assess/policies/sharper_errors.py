"""Errors that other facts explain better than their number or words do: each becomes another rule of errors.yaml."""

from typing import Final

from gpuenv.api import reasons
from gpuenv.api.remedies import Remedies
from gpuenv.assess.case import Case, Device
from gpuenv.assess.cures.driver_remedies import upgrade_driver
from gpuenv.knowledge.model import ErrorRule

_OUT_OF_MEMORY_AT_START: Final = "init-out-of-memory"
_UNSUPPORTED: Final = "not-supported-here"
_LARGE_PARAMETERS: Final = "large-kernel-parameters"
_LARGE_PARAMETERS_CUDA: Final = (12, 1)
"""First CUDA whose compiler allows kernels with more than 4,096 bytes of parameters."""
_LARGE_PARAMETERS_BRANCH: Final = 530
_LARGE_PARAMETERS_DRIVER: Final = "530.30.02"
"""First driver that starts such kernels.

https://developer.nvidia.com/blog/cuda-12-1-supports-large-kernel-parameters/
"""
_NOT_READY: Final = "gpu-not-ready"
_CONFIDENTIAL: Final = (9, 0)
"""First compute capability of GPUs with confidential computing: Hopper."""
_NVML_UNKNOWN: Final = "nvml-unknown"
_IN_CONTAINER: Final = "nvml-unknown-in-container"
_CONTAINERS: Final = frozenset({"docker", "kubernetes"})
"""Platforms on which programs run in containers."""
_WITHOUT_NVSWITCH: Final = ("PCIE", "NVL", "RTX")
"""Words in the names of products that no NVSwitch connects."""


def sharper_rule(case: Case, rule: ErrorRule, *, at_start: bool = False) -> ErrorRule:
    """Return the rule that says better what an error of ``rule`` means here, or ``rule`` itself.

    ``at_start`` says that the error came while CUDA started, before the program could load anything onto the GPU.
    """
    name = ""
    if at_start and rule.reason == reasons.OutOfMemory:
        name = _OUT_OF_MEMORY_AT_START
    elif rule.name == _UNSUPPORTED and _lacks_large_parameters(case):
        name = _LARGE_PARAMETERS
    elif rule.reason == reasons.FabricNotReady and case.devices and all(map(_without_fabric, case.devices)):
        name = _NOT_READY
    elif rule.name == _NVML_UNKNOWN and _told_from_container(case):
        name = _IN_CONTAINER
    return case.knowledge.errors_by_name.get(name, rule)


def rule_needs_driver(case: Case, rule: ErrorRule) -> Remedies:
    """Return the remedy of a rule that wants a certain driver, or () if it wants none."""
    if rule.name != _LARGE_PARAMETERS:
        return ()
    return (upgrade_driver(case, _LARGE_PARAMETERS_DRIVER),)


def _lacks_large_parameters(case: Case) -> bool:
    embedded = any(device.embedded for device in case.devices)
    branch = case.knowledge.branch(case.driver)
    return (
        branch is not None
        and branch.branch < _LARGE_PARAMETERS_BRANCH
        and case.runtime is not None
        and case.runtime >= _LARGE_PARAMETERS_CUDA
        and not embedded
    )


def _told_from_container(case: Case) -> bool:
    """Return whether a pasted text comes from a container, and nothing shows that CUDA works there.

    On a machine itself, NVML can fail alone. In a container, its unknown error means that the device files are out of reach.
    """
    if case.probed or case.cuda_works:
        return False
    return not _CONTAINERS.isdisjoint(case.platforms)


def _without_fabric(device: Device) -> bool:
    words = (device.product or "").upper().replace("-", " ").split()
    capability = device.compute_capability
    return (
        capability is not None
        and capability >= _CONFIDENTIAL
        and any(word in words for word in _WITHOUT_NVSWITCH)
    )
