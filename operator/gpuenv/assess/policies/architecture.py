"""Policies on the code that the image has for each GPU: PyTorch's native code or PTX, and cuDNN's kernels."""

from collections.abc import Iterator

from gpuenv.api import check_names, reasons
from gpuenv.assess.binary_compatibility import Code, code_for, parse_flag
from gpuenv.assess.case import PASSED, SKIPPED, Case, Device, check, passed
from gpuenv.assess.cures.drivers import capabilities_of
from gpuenv.assess.facts import Step
from gpuenv.assess.model import Check, Status
from gpuenv.assess.targets import ArchSource, is_arm, is_between, targets_of_every_build
from gpuenv.knowledge.model import ComputeCapability
from gpuenv.knowledge.versions import Version, api_number, show

HOPPER_GUIDE = "https://docs.nvidia.com/cuda/hopper-compatibility-guide/"


def code_for_gpu(case: Case) -> Iterator[Check]:
    """Check that the PyTorch build has code for each GPU, by NVIDIA's rules of binary compatibility."""
    if case.facts.torch.missing or case.cpu_build:
        return
    for device in case.devices:
        if device.compute_capability is not None and case.arch_flags:
            yield _judge(case, device, case.arch_flags)
        elif no_build_has_code(case, device):
            yield _without_code(case, device)
        elif device.proven:
            yield passed(check_names.ARCHITECTURE, f"kernels ran on {device.title}")


def _judge(case: Case, device: Device, flags: tuple[str, ...]) -> Check:
    assert device.compute_capability is not None
    code = code_for(flags, device.compute_capability, case.runtime, case.knowledge)
    listed = case.targets_text
    whence = " (assumed from the nearest release)" if case.arch_source == ArchSource.ASSUMED else ""
    if code is Code.NATIVE or device.proven:
        how = "has code" if code is Code.NATIVE else "lists no code, yet kernels ran,"
        return passed(
            check_names.ARCHITECTURE, f"the build {how} for {device.title}: {listed}{whence}", HOPPER_GUIDE
        )
    if code is Code.PTX and _libraries_support(case, device, flags):
        return _ptx(case, device, listed)
    if device.embedded and not _has_certain_targets(case):
        message = f"builds for {device.title} come from NVIDIA, and the targets of this one are not known"
        return check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.ArchUnknown, message)
    if case.arch_source == ArchSource.ASSUMED and not _has_certain_targets(case):
        message = (
            f"the nearest released build has no code that {device.title} can run ({listed}), but this is not that one: "
            "its own targets are not known"
        )
        return check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.ArchUnknown, message)
    if is_between_known(case, device.compute_capability):
        message = f"the build has {listed}; whether one of them suits {device.title} is not known"
        return check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.ArchUnknown, message)
    message = f"the build has no code that {device.title} can run: it has {listed}{whence}"
    row = device.architecture
    if (
        row is not None
        and row.last_cuda is not None
        and case.runtime is not None
        and case.runtime > row.last_cuda
    ):
        message += f"; no driver changes that: CUDA {show(case.runtime)} has no {row.name}"
    return check(
        case, check_names.ARCHITECTURE, Status.FAIL, reasons.ArchNotInBuild, message, source=HOPPER_GUIDE
    )


def is_between_known(case: Case, capability: ComputeCapability) -> bool:
    """Return whether a GPU is between the oldest and the newest target, and no other target is known."""
    ends = case.arch_flags if case.arch_source == ArchSource.ENDS else None
    return (
        ends is not None
        and code_for(ends, capability, case.runtime, case.knowledge) is Code.NONE
        and is_between(ends, capability)
    )


def no_build_has_code(case: Case, device: Device) -> bool:
    """Return whether the CUDA version of the image alone says that its build has no code for ``device``.

    That is so if no released build for this CUDA version has any, or its toolkit compiles none, and the build is one of the
    PyTorch project: its version names a CUDA wheel (``+cu128``), or no version of PyTorch is given at all. NVIDIA makes
    builds of its own for Jetson modules, so that for these the toolkit must be older than the GPU if no version is given.
    """
    architecture, runtime = device.architecture, case.runtime
    if case.probed or case.arch_flags or device.proven or architecture is None or runtime is None:
        return False
    too_old = architecture.first_cuda is not None and runtime < architecture.first_cuda
    unnamed = case.facts.torch.version is None and (too_old or not architecture.embedded)
    if not (case.build_name.is_cuda_wheel or unnamed):
        return False
    builds = targets_of_every_build(case.knowledge, runtime, is_arm(case.facts, case.knowledge))
    if not builds and too_old:
        builds = (_targets_of_toolkit(case, runtime),)
    return bool(builds) and all(
        code_for(targets, architecture.cc, runtime, case.knowledge) is Code.NONE for targets in builds
    )


def _targets_of_toolkit(case: Case, runtime: Version) -> tuple[str, ...]:
    """Return the targets for which a CUDA toolkit can compile native code, according to the tables."""
    return tuple(
        f"sm_{row.cc[0]}{row.cc[1]}"
        for row in case.knowledge.architectures.values()
        if row.first_cuda is not None and row.first_cuda <= runtime
    )


def _without_code(case: Case, device: Device) -> Check:
    """Return the Fail that no build for the image's CUDA has code for ``device``."""
    assert device.architecture is not None
    first = device.architecture.first_cuda
    came = f", which came with CUDA {show(first)}" if first and case.runtime and case.runtime < first else ""
    message = f"no build for CUDA {show(case.runtime)} has code that {device.title} can run{came}"
    return check(
        case,
        check_names.ARCHITECTURE,
        Status.FAIL,
        reasons.ArchNotInBuild,
        message,
        source=device.architecture.source,
    )


def _has_certain_targets(case: Case) -> bool:
    """Return whether the targets of the build are certain.

    They are certain if the build itself reported them, or if its version names a CUDA wheel of the PyTorch project
    (``+cu128``).
    """
    return case.arch_source == ArchSource.OBSERVED or case.build_name.is_cuda_wheel


def lacks_code(case: Case) -> bool:
    """Return whether the image's PyTorch build has no code for one of the GPUs of the case.

    A newer driver alone does not help then. Return False if the targets of the build are not known.
    """
    if not case.arch_flags:
        return False
    return any(
        code_for(case.arch_flags, capability, case.runtime, case.knowledge) is Code.NONE
        and not is_between_known(case, capability)
        for capability in capabilities_of(case)
    )


def _libraries_support(case: Case, device: Device, flags: tuple[str, ...]) -> bool:
    """Return whether the build's cuBLAS and cuDNN support the GPU.

    They do if the build's toolkit supports the GPU. If that is not known, they do if one of ``flags``, the targets of
    the build, has at least the GPU's major version. PTX in the build contains only PyTorch's own kernels.
    """
    assert device.compute_capability is not None
    if (
        case.runtime is not None
        and device.architecture is not None
        and device.architecture.first_cuda is not None
    ):
        return case.runtime >= device.architecture.first_cuda
    newest = max((flag[1] for flag in map(parse_flag, flags) if flag is not None), default=(0, 0))
    return newest[0] >= device.compute_capability[0]


def _ptx(case: Case, device: Device, listed: str) -> Check:
    if case.api is None or case.runtime is None:
        message = f"the build has only PTX for {device.title} ({listed}), and the driver is not known"
        return check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.PtxJitOnly, message)
    if case.api < api_number(case.runtime):
        message = (
            f"the build has only PTX of CUDA {show(case.runtime)} for {device.title}, "
            f"and the driver (CUDA {show(case.api_cuda)}) compiles no newer PTX than its own"
        )
        return check(case, check_names.ARCHITECTURE, Status.FAIL, reasons.PtxNewerThanDriver, message)
    message = f"the build has only PTX for {device.title}: {listed}"
    return check(case, check_names.ARCHITECTURE, Status.NOTE, reasons.PtxJitOnly, message)


def cudnn_supports_gpu(case: Case) -> Iterator[Check]:
    """Check that cuDNN has kernels for each GPU.

    cuDNN 9.11 and later versions have none for GPUs older than Turing, even if torch itself has code for such a GPU.
    """
    version = cudnn_version(case.facts.torch.cudnn)
    if version is None:
        return
    for device in case.devices:
        architecture = device.architecture
        if (
            architecture is None
            or architecture.dropped_from_cudnn is None
            or version < architecture.dropped_from_cudnn
        ):
            continue
        ran = conv_ran(case.facts.steps, device.index)
        if ran is True:
            continue
        dropped = show(architecture.dropped_from_cudnn)
        message = (
            f"cuDNN {show(version)} has no kernels for {device.title}; {dropped} was the first without them"
        )
        yield check(
            case,
            check_names.CUDNN_GPU,
            Status.FAIL,
            reasons.CudnnDroppedGpu,
            message,
            source=architecture.source,
        )


def conv_ran(steps: tuple[Step, ...], index: int) -> bool | None:
    """Return whether every convolution that was tried on the GPU ``index`` passed, or None if none was tried."""
    tried = [
        step.status for step in steps if step.name == "conv" and step.gpu == index and step.status != SKIPPED
    ]
    return all(status == PASSED for status in tried) if tried else None


def cudnn_version(number: int | None) -> Version | None:
    """Return the version that cuDNN's integer stands for: 8700 is 8.7.0, 91002 is 9.10.2.

    The encoding is that of CUDNN_VERSION in cudnn_version.h. Return None if there is no number.
    """
    if not number or number < 0:
        return None
    if number >= 90000:
        return number // 10000, number // 100 % 100, number % 100
    return number // 1000, number // 100 % 10, number % 100


def cudnn_number(version: Version | None) -> int | None:
    """Return the integer that stands for a version of cuDNN: 91002 for 9.10.2, but 8902 for 8.9.2.

    This is the inverse of :func:`cudnn_version`. Return None if the version is not known.
    """
    if version is None:
        return None
    major, minor, patch = (*version, 0, 0)[:3]
    return major * 10000 + minor * 100 + patch if major >= 9 else major * 1000 + minor * 100 + patch


def features(case: Case) -> Iterator[Check]:
    """Yield a Note for each GPU with features that the image's CUDA toolkit cannot use.

    For example, CUDA toolkits before 12 cannot use FP8 on Hopper.
    """
    if case.runtime is None:
        return
    for device in case.devices:
        architecture = device.architecture
        if architecture is None or architecture.first_cuda is None:
            continue
        if device.compute_capability == (9, 0) and case.runtime < (12, 0):
            message = (
                f"CUDA {show(case.runtime)} does not reach FP8 and wgmma of {device.title}: they want CUDA 12"
            )
        elif case.runtime < architecture.first_cuda:
            message = (
                f"CUDA {show(case.runtime)} does not know {device.title}, which came with {show(architecture.first_cuda)}: "
                "its own features and code compiled at run time are out of reach"
            )
        else:
            continue
        reason, source = reasons.FeatureOutOfReach, architecture.source
        yield check(case, check_names.FEATURES, Status.NOTE, reason, message, source=source)
