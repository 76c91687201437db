"""Policies on the start of CUDA and NVML.

They find the reason for each error. Other facts can make the reason more precise.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.check_names import CheckName
from gpuenv.api.remedies import Action, Remedies, Remedy, remedy
from gpuenv.assess.case import Case, Device, check, passed
from gpuenv.assess.cures.drivers import stale_libcuda
from gpuenv.assess.facts import UVM, Failure
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform_cures import reason_remedies, rule_remedies
from gpuenv.assess.policies.architecture import is_between_known, lacks_code
from gpuenv.assess.policies.other_builds import sharpened
from gpuenv.assess.policies.read_only_root import prevented, rule_of
from gpuenv.assess.policies.sharper_errors import rule_needs_driver, sharper_rule
from gpuenv.assess.policies.virtual_gpus import meaning_on_vgpu
from gpuenv.assess.sources.rules.failure_rules import classify, classify_briefly
from gpuenv.assess.sources.rules.known_errors import STARTS
from gpuenv.assess.targets import ArchSource
from gpuenv.knowledge.model import ErrorRule
from gpuenv.knowledge.versions import show

MAX_WARNINGS: Final = 16
"""How many different warnings of PyTorch are judged. A real program prints a handful while CUDA starts."""
WARNING_CHARACTERS: Final = 300
"""How much of a warning is read. PyTorch's longest known beginning, before the words that matter, has 165 characters."""
_HIDING = frozenset({"", "-1", "all", "none", "void", "nodevfiles"})
_ELSEWHERE = frozenset({"container", "kubernetes"})
"""Layers whose failures keep a container from running any program.

If other facts say that CUDA started, they are about another container and do not contradict such a failure.
"""


def cuda_starts(case: Case) -> Iterator[Check]:
    """Check that CUDA starts: cuInit and torch.cuda.init() succeed, and find at least one GPU."""
    driver, torch = case.facts.driver, case.facts.torch
    if driver.cu_init is not None and driver.cu_init != 0:
        yield _from_failure(case, Failure("cuda", driver.cu_init), f"cuInit returned {driver.cu_init}")
    elif torch.init_error is not None and not case.cpu_build:
        yield _from_failure(case, torch.init_error, "torch.cuda.init() failed")
    elif driver.cuda is not None and not torch.available:
        yield _from_failure(case, driver.cuda, f"{driver.cuda.name or 'the driver API'} failed")
    elif driver.cu_init == 0 and driver.device_count == 0:
        yield _no_device(case, check_names.CUDA_INIT, "CUDA starts, but counts 0 devices")
    elif torch.available is False and not case.cpu_build and not torch.missing and not driver.absent:
        yield from _unavailable(case)
    elif case.cuda_works:
        yield passed(check_names.CUDA_INIT, "CUDA starts")


def _unavailable(case: Case) -> Iterator[Check]:
    """Yield the check that says why ``torch.cuda.is_available()`` is False.

    The reason of the check comes from a warning of PyTorch, or from an environment variable that hides the GPUs. If
    neither names a cause and no pasted error is a failure, the reason is CudaInitFailed.
    """
    for failure in _warnings(case):
        if classify_briefly(failure, case.knowledge, WARNING_CHARACTERS) is not None:
            yield _from_failure(case, failure, "CUDA is not available")
            return
    if hidden_by(case):
        yield _no_device(case, check_names.CUDA_INIT, "torch.cuda.is_available() is False")
    elif not any(rule_status(case, failure) is Status.FAIL for failure in case.facts.errors):
        known = case.knows_driver or case.facts.driver.nvml_cuda_version is not None
        message = "torch.cuda.is_available() is False" + (" although a driver is there" if known else "")
        yield check(case, check_names.CUDA_INIT, Status.FAIL, reasons.CudaInitFailed, message)


def rule_status(case: Case, failure: Failure) -> Status | None:
    """Return the status of the rule in errors.yaml that an error matches, or None if it matches no rule."""
    rule = classify(failure, case.knowledge)
    return Status(rule.status) if rule else None


def _from_failure(case: Case, failure: Failure, what: str) -> Check:
    words = failure.message or failure.name
    refused = prevented(case, check_names.CUDA_INIT, what, words)
    if refused is not None:
        return refused
    rule = rule_of(case, failure)
    if rule is None:
        message = f"{what}: {words}" if words else what
        return check(case, check_names.CUDA_INIT, Status.FAIL, reasons.CudaInitFailed, message)
    rule = sharper_rule(case, rule, at_start=True)
    return from_rule(case, rule, check_names.CUDA_INIT, f"{what}: {rule.meaning}")


def from_rule(
    case: Case, rule: ErrorRule, name: CheckName, message: str, status: Status | None = None
) -> Check:
    """Return the check for an error that matched ``rule``. Other facts of the case can make its reason more precise.

    For example, CUDA error 999 has the reason UvmMissing if /dev/nvidia-uvm cannot be opened. The remedies fit the
    platform of the node. ``status`` replaces the status of the rule, unless it is None.
    """
    reason = rule.reason
    remedies: Remedies = ()
    virtual = meaning_on_vgpu(case, rule, message)
    if virtual is not None:
        reason, message, remedies = virtual
        return check(case, name, status or Status(rule.status), reason, message, remedies)
    sharper = sharpened(case, rule)
    if sharper is not None:
        reason, meaning, remedies = sharper
        message = message.replace(rule.meaning, meaning)
        return check(case, name, status or Status(rule.status), reason, message, remedies, rule.source)
    if reason == reasons.NoDevice and (hidden_by(case) or case.probed):
        return _no_device(case, name, message)
    uvm = _uvm_errno(case)
    if reason in (reasons.CudaInitUnknown, reasons.OsCallFailed, reasons.CudaInitFailed) and uvm:
        reason = reasons.UvmMissing
        message = f"{message}; {UVM} cannot be opened (errno {uvm})"
    if reason == reasons.DriverTooOld:
        message = _too_old(case, message)
    if reason == reasons.ArchNotInBuild and (device := _device_of_another_library(case)) is not None:
        message, remedies = _no_code_in_library(case, device)
    remedies = remedies or rule_needs_driver(case, rule)
    curable = not remedies
    remedies = remedies or rule_remedies(rule, reason, case)
    status = status or Status(rule.status)
    return check(case, name, status, reason, message, remedies, rule.source, curable=curable)


def _too_old(case: Case, message: str) -> str:
    """Return the message of a check that found the driver too old, with the versions of driver and CUDA if known."""
    if case.api_cuda is None:
        return message
    stale = stale_libcuda(case)
    if stale:
        return f"{message}: {stale}"
    name = case.driver_title
    return f"{message}: {name} has CUDA {case.api_text}"


def _device_of_another_library(case: Case) -> Device | None:
    """Return the GPU for which a library beside PyTorch has no code, or None if PyTorch itself may lack the code."""
    device = next((device for device in case.devices if device.compute_capability), None)
    known = bool(case.arch_flags) and case.arch_source != ArchSource.ASSUMED
    if not known or case.probed or lacks_code(case):
        return None
    unsure = (
        one.compute_capability and is_between_known(case, one.compute_capability) for one in case.devices
    )
    return None if any(unsure) else device


def _no_code_in_library(case: Case, device: Device) -> tuple[str, Remedies]:
    """Return the message and the remedies for the error that a library beside PyTorch has no code for a GPU."""
    target = show(device.compute_capability)
    message = (
        f"a library beside PyTorch has no code for {device.title}, or another PyTorch runs than the one given: "
        f"this one has {case.targets_text}"
    )
    rebuild = remedy(
        Action.REPAIR_IMAGE,
        "Rebuild or replace the library that the traceback names (such as flash-attn, xformers or vLLM): "
        f"it has to be built for compute capability {target} (TORCH_CUDA_ARCH_LIST={target}).",
        computeCapability=target,
    )
    return message, (rebuild,)


def _uvm_errno(case: Case) -> int:
    nodes = case.facts.driver.device_nodes or ()
    if case.facts.driver.cu_init == 0:
        return 0
    return next((node.errno for node in nodes if node.path == UVM), 0)


def _no_device(case: Case, name: CheckName, message: str) -> Check:
    hiding = list(_hiding(case))
    if hiding:
        names = [one.partition("=")[0] for one in hiding]
        words = f"Remove {' and '.join(names)} where it is set (image, pod, shell), or set it to GPU numbers or UUIDs."
        show_gpus = [remedy(Action.CHANGE_POD, words, variable=",".join(names))]
        message = f"{message}; {' and '.join(hiding)} hides every GPU"
        return check(case, name, Status.FAIL, reasons.NoDevice, message, show_gpus)
    # The container has a driver, but no GPU: what gives it the driver helps here too.
    exposed = reason_remedies(reasons.DriverNotVisible, case) if case.probed else None
    return check(case, name, Status.FAIL, reasons.NoDevice, message, exposed)


def hidden_by(case: Case) -> str:
    """Return the first environment variable that hides all GPUs, as ``NAME=value``, or "" if none does."""
    return next(_hiding(case), "")


def _hiding(case: Case) -> Iterator[str]:
    """Yield each environment variable that hides all GPUs: the others still hide them if only one is removed."""
    env = case.facts.container.env
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        value = env.get(name)
        if value is None:
            continue
        hides = value.strip().lower() in _HIDING
        if name.startswith("NVIDIA"):
            hides = value.strip().lower() in ("none", "void")
        if hides:
            yield f"{name}={value}"


def nvml(case: Case) -> Iterator[Check]:
    """Check that NVML works. If only NVML fails, the verdict is Degraded at worst, because CUDA works without it."""
    failure = case.facts.driver.nvml
    if failure is None:
        return
    rule = classify(failure, case.knowledge)
    words = failure.message or failure.name or f"error {failure.code}"
    if rule is None:
        yield check(case, check_names.NVML, Status.NOTE, reasons.NvmlUnavailable, f"NVML: {words}")
    elif case.cuda_works and Status(rule.status) is not Status.NOTE and not _is_gpu_gone(rule.reason):
        yield check(
            case,
            check_names.NVML,
            Status.WARN,
            reasons.NvmlUnavailable,
            f"CUDA starts, NVML does not: {words}",
        )
    else:
        yield from_rule(case, rule, check_names.NVML, f"NVML: {rule.meaning}")


def _is_gpu_gone(reason: str) -> bool:
    return reasons.behaviour(reason).start is reasons.Start.GPU_GONE


def warnings(case: Case) -> Iterator[Check]:
    """Yield a check for each warning of PyTorch that matches a rule.

    Warnings do not count if kernels passed on every GPU, because the kernels then decide the verdict. If CUDA is not
    available, :func:`cuda_starts` uses the warnings instead.
    """
    if case.proven or case.facts.torch.available is False:
        return
    seen: set[str] = set()
    for failure in _warnings(case):
        rule = classify_briefly(failure, case.knowledge, WARNING_CHARACTERS)
        # Another policy judges architectures. PyTorch also warns about GB10 and Orin, on which it works.
        if rule is None or rule.reason in seen or rule.reason == reasons.ArchNotInBuild:
            continue
        seen.add(rule.reason)
        yield from_rule(case, rule, check_names.TORCH_WARNING, f"PyTorch warns: {rule.meaning}")


def _warnings(case: Case) -> Iterator[Failure]:
    """Yield the different warnings of PyTorch, at most ``MAX_WARNINGS``."""
    for warning in islice(dict.fromkeys(case.facts.torch.warnings), MAX_WARNINGS):
        yield Failure("torch", message=warning)


def reported_errors(case: Case) -> Iterator[Check]:
    """Yield one check for each reason that pasted errors have.

    If several errors have the same reason, only the check with the worst status is kept. If CUDA started although an
    error says that it cannot, a Note about the contradiction follows.
    """
    worst: dict[str, Check] = {}
    for failure in case.facts.errors:
        found = _reported(case, failure)
        known = worst.get(found.reason)
        if known is None or found.status.severity > known.status.severity:
            worst[found.reason] = found
    yield from worst.values()
    doubted = [found for found in worst.values() if case.cuda_works and _prevents_start(found.reason)]
    if doubted:
        message = f"CUDA was seen to start here, yet an error says: {doubted[0].message}"
        yield check(case, check_names.FACTS, Status.NOTE, reasons.ConflictingFacts, message)


def _prevents_start(reason: str) -> bool:
    """Return whether CUDA certainly or probably cannot start if ``reason`` applies."""
    return reasons.behaviour(reason).start in (reasons.Start.PREVENTED, reasons.Start.DOUBTFUL)


def _reported(case: Case, failure: Failure) -> Check:
    rule = classify(failure, case.knowledge)
    if rule is None and failure.layer == "xid":
        return check(case, check_names.ERROR, Status.UNKNOWN, reasons.GpuUnhealthy, failure.message)
    if rule is None:
        return check(case, check_names.ERROR, Status.FAIL, reasons.CudaInitFailed, failure.message)
    at_start = failure.message.startswith(STARTS)
    rule = sharper_rule(case, rule, at_start=at_start)
    status = Status(rule.status)
    if status is Status.WARN and at_start:
        status = (
            Status.FAIL
        )  # the rule's status is for a working CUDA, but this error kept CUDA from starting
    if (
        status is Status.FAIL
        and case.cuda_works
        and reasons.behaviour(rule.reason).start is reasons.Start.DOUBTFUL
        and rule.layer not in _ELSEWHERE
    ):
        status = Status.UNKNOWN
    if status is Status.WARN and rule.reason == reasons.KernelFault:
        status = Status.UNKNOWN  # the program ended, and one fault does not show whose it was
    message = (
        f"{rule.meaning}: {failure.message}" if rule.fallback or failure.layer == "xid" else rule.meaning
    )
    return from_rule(case, rule, check_names.ERROR, message, status)


def unrecognised(case: Case) -> Iterator[Check]:
    """Yield an Unknown check for the first pasted error that matches no rule in errors.yaml.

    Something fails for the user, so the verdict cannot be Compatible, even if all versions fit.
    """
    for words in case.facts.unrecognised[:1]:
        message = f"an error was given that the tables do not know: {words}"
        give = Remedy(
            Action.PROVIDE_FACTS,
            "Give the whole traceback or log (--error), with the lines before it; gpuenv check runs small kernels in the image "
            "and tells whether image and node are to blame.",
        )
        yield check(case, check_names.ERROR, Status.UNKNOWN, reasons.NotEnoughFacts, message, [give])
