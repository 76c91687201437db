"""Policies on the loaded kernel module: it is of libcuda's version, and of the flavour that the GPU needs.

NVIDIA's kernel modules come in two flavours, proprietary and open.
https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html
"""

from collections.abc import Iterator
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedies, Remedy
from gpuenv.assess.case import Case, Device, check, passed
from gpuenv.assess.facts import LibcudaOrigin
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform_cures import rule_remedies
from gpuenv.assess.policies.driver import node_devices

_GUIDE: Final = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html"
_FIRMWARE_GUIDE: Final = "https://download.nvidia.com/XFree86/Linux-x86_64/580.95.05/README/gsp.html"
_BLACKWELL_GUIDE: Final = (
    "https://developer.nvidia.com/blog/nvidia-transitions-fully-towards-open-source-gpu-kernel-modules/"
)
_LIBCUDA: Final = "libcuda.so."
_DIGITS: Final = 3
"""Number of digits of a driver's major version, which the number of libcuda's interface (1, or 1.1 under WSL) lacks."""
_TURING: Final = (7, 5)
"""First compute capability that the open modules support: their GPUs have a system processor (GSP)."""
_BLACKWELL: Final = (10, 0)
"""First compute capability that the open modules alone support."""
_HOPPER: Final = (9, 0)
_FIRMWARE: Final = Remedy(
    Action.CHANGE_DRIVER,
    "Remove NVreg_EnableGpuFirmware=0 from the options of the nvidia module (/etc/modprobe.d, the kernel's command line) and "
    "reboot, or install the proprietary variant of the driver.",
)


def of_one_version(case: Case) -> Iterator[Check]:
    """Check that the loaded kernel module and the libcuda in use are of the same version.

    They differ after an upgrade of the driver without a reboot, or if the image brings a libcuda of its own. A libcuda of
    cuda-compat may differ.
    """
    module, library = case.facts.driver.kernel_module, case.facts.driver.libcuda
    if module is None or module.version is None or library is None or library.path is None or case.cuda_works:
        return
    version = _version_of_file(library.path)
    if not version or library.origin is LibcudaOrigin.COMPAT or "/compat/" in library.path:
        return
    if version == module.version:
        yield passed(
            check_names.DRIVER_MODULE, f"kernel module and libcuda are of version {module.version}", _GUIDE
        )
        return
    message = f"the loaded kernel module is of version {module.version}, libcuda of {version}"
    remedies = _own_libcuda(case) if library.origin is LibcudaOrigin.OTHER else None
    yield check(case, check_names.DRIVER_MODULE, Status.FAIL, reasons.DriverMismatch, message, remedies)


def _version_of_file(path: str) -> str:
    """Return the version in the name of a libcuda, such as 580.95.05, or "" if its name has none (``libcuda.so.1``)."""
    _, found, version = path.rpartition(_LIBCUDA)
    parts = version.split(".")
    named = found and len(parts) > 1 and len(parts[0]) == _DIGITS and all(part.isdecimal() for part in parts)
    return version if named else ""


def _own_libcuda(case: Case) -> Remedies | None:
    """Return the remedy for a libcuda that does not come from the node, or None if the tables have no such error."""
    rule = case.knowledge.errors_by_name.get("driver-mismatch")
    return rule_remedies(rule, rule.reason, case) if rule else None


def of_right_flavour(case: Case) -> Iterator[Check]:
    """Check that the flavour of the loaded kernel module supports each GPU.

    The open modules do so from Turing on, and the proprietary ones before Blackwell.
    """
    module = case.facts.driver.kernel_module
    if module is None or module.is_open is None or case.cuda_works:
        return
    for device in case.devices or node_devices(case):
        name = _wrong_flavour(device, open_module=module.is_open)
        rule = case.knowledge.errors_by_name.get(name)
        if rule is not None and not device.proven:
            message = f"{device.title}: {rule.meaning}"
            remedies = rule_remedies(rule, rule.reason, case)
            source = _BLACKWELL_GUIDE if not module.is_open else _GUIDE
            yield check(case, check_names.DRIVER_MODULE, Status.FAIL, rule.reason, message, remedies, source)
            return
    if module.is_open and module.gpu_firmware == 0:
        message = "the open kernel module is loaded with EnableGpuFirmware=0, and drives no GPU without that firmware"
        yield check(
            case,
            check_names.DRIVER_MODULE,
            Status.FAIL,
            reasons.NoDevice,
            message,
            [_FIRMWARE],
            _FIRMWARE_GUIDE,
        )


def _wrong_flavour(device: Device, *, open_module: bool) -> str:
    """Return the name of the rule in errors.yaml about a module of the wrong flavour, or "" if it suits the GPU."""
    capability = device.compute_capability
    if capability is None:
        return ""
    if open_module:
        return "open-modules-unsupported" if capability < _TURING else ""
    grace = capability >= _HOPPER and device.model is not None and device.model.arm
    return "open-modules-needed" if capability >= _BLACKWELL or grace else ""
