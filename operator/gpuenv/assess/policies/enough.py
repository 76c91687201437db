"""Policies on missing and contradictory facts.

Without a probe, no verdict is possible unless the PyTorch build, the driver and the GPU are known.
"""

from collections.abc import Iterator
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy
from gpuenv.assess.case import Case, check
from gpuenv.assess.cures.driver_remedies import REMOVE_STALE_LIBCUDA
from gpuenv.assess.cures.drivers import stale_libcuda
from gpuenv.assess.model import Check, Status
from gpuenv.assess.other_vendors import AMD, APPLE, INTEL, vendor_of
from gpuenv.assess.policies.architecture import no_build_has_code
from gpuenv.assess.policies.start import rule_status
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.knowledge.versions import parse_version, show

_DRIVER: Final = "the driver (--driver, or nvidia-smi)"
_OTHER_VENDOR: Final = {
    AMD: Remedy(
        Action.CHANGE_IMAGE,
        "No build for CUDA runs on a GPU of AMD: use PyTorch for ROCm (https://pytorch.org/get-started/locally/, Linux) and "
        "check that rocminfo lists the GPU, or use a machine with an NVIDIA GPU.",
    ),
    APPLE: Remedy(
        Action.CHANGE_PROGRAM,
        'No build for CUDA runs on macOS: use the device "mps" of PyTorch for macOS, or use a machine with an NVIDIA GPU.',
    ),
    INTEL: Remedy(
        Action.CHANGE_IMAGE,
        "No build for CUDA runs on a GPU of Intel: use PyTorch for XPU (https://pytorch.org/get-started/locally/), or use a "
        "machine with an NVIDIA GPU.",
    ),
}
_GIVE_CAPABILITY: Final = Remedy(
    Action.PROVIDE_FACTS, "Give --compute-capability (nvidia-smi --query-gpu=compute_cap --format=csv)."
)
_CHECK_CAPABILITY: Final = Remedy(
    Action.PROVIDE_FACTS,
    "Compare the compute capability with nvidia-smi --query-gpu=compute_cap --format=csv; if it is right, take a newer "
    "table with --knowledge.",
)
_NEWER_TABLE: Final = Remedy(Action.PROVIDE_FACTS, "Take a newer table with --knowledge.")
_GIVE_TARGETS: Final = Remedy(
    Action.PROVIDE_FACTS, "Give the output of torch.cuda.get_arch_list() with --arch-list."
)
_GIVE_BUILD: Final = Remedy(
    Action.PROVIDE_FACTS,
    "Give the PyTorch build (--torch 2.9.1+cu128), or the output of torch.cuda.get_arch_list() with --arch-list.",
)
_MOST_ERRORS: Final = 4
"""Number of pasted errors whose remedies are given beside what is missing."""


def known_enough(case: Case) -> Iterator[Check]:
    """Check that the PyTorch build, the driver and the GPU are known.

    The check is made only without a probe, because the verdict then follows from these three facts alone.
    """
    torch, driver = case.facts.torch, case.facts.driver
    if case.probed or case.cpu_build or torch.missing or driver.absent:
        return
    missing = []
    if not torch.version and case.runtime is None:
        missing.append("the PyTorch build (--torch 2.9.1+cu128)")
    elif case.runtime is None:
        missing.append("the CUDA version of the build (--cuda, or torch.version.cuda)")
    if not case.knows_driver and not case.cuda_works:
        missing.append(
            "whether CUDA starts (torch.cuda.is_available(); the driver of a Jetson comes with its JetPack)"
            if case.all_embedded
            else _DRIVER
        )
    if not case.devices:
        missing.append("the GPU (--gpu, or nvidia-smi -L)")
    if missing:
        # A person who pastes an error asks what it means. A known error answers that by itself, whatever else is missing.
        status = Status.NOTE if _explained(case) else Status.UNKNOWN
        message = f"not known: {'; '.join(missing)}"
        words = f"Give {', and '.join(missing)}."
        label = case.facts.node.missing_label
        if label and _DRIVER in missing:
            message = message.replace(_DRIVER, f"the driver (the node has no label {label})")
            words = f"{words} GPU Feature Discovery sets the label."
        give = Remedy(Action.PROVIDE_FACTS, words)
        remedies = [*_of_the_program(case), give]
        yield check(case, check_names.KNOWN, status, reasons.NotEnoughFacts, message, remedies)
    elif not case.knows_driver:
        message = "the driver's version is not known; CUDA starts, so that it is new enough"
        give = Remedy(
            Action.PROVIDE_FACTS, "Give the driver (--driver, or nvidia-smi) for advice on newer images."
        )
        yield check(case, check_names.KNOWN, Status.NOTE, reasons.NotEnoughFacts, message, [give])


def _of_the_program(case: Case) -> Iterator[Remedy]:
    """Yield what helps with the pasted errors that are no matter of driver and build: they were asked about, too."""
    for failure in case.facts.errors[:_MOST_ERRORS]:
        rule = classify(failure, case.knowledge)
        if rule is not None and rule.status == Status.NOTE:
            yield from rule.remedies


def _explained(case: Case) -> bool:
    statuses = {rule_status(case, failure) for failure in case.facts.errors}
    return bool(statuses - {None, Status.NOTE})


def _did_you_mean(names: tuple[str, ...]) -> list[Remedy]:
    """Return the remedy to give one of the names, or that to give the compute capability if there are no names."""
    if not names:
        return [_GIVE_CAPABILITY]
    *first, last = names
    which = f"{', '.join(first)} or {last}" if first else last
    words = f"Did you mean {which}? Give the name as nvidia-smi -L prints it, or --compute-capability."
    return [Remedy(Action.PROVIDE_FACTS, words)]


def known_architecture(case: Case) -> Iterator[Check]:
    """Check that it is known which GPUs there are and for which targets PyTorch was built.

    Without this, nobody can say whether the build has code for the GPUs. Kernels that passed on a GPU show that it has
    code for this GPU, so that the check is not needed there.
    """
    if case.cpu_build or case.facts.torch.missing:
        return
    for device in case.devices:
        if device.contradicts:
            continue  # said by `contradictions`
        if device.compute_capability is None and not device.proven:
            name = device.product or f"GPU {device.index}"
            message = f"{name} is not in the tables, and its compute capability was not told"
            vendor, meant = vendor_of(device.product), _did_you_mean(device.similar)
            if vendor is not None:
                message = f"{name} is a GPU of {vendor}, and gpuenv judges those of NVIDIA"
                meant = [_OTHER_VENDOR[vendor]]
            yield check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.ArchUnknown, message, meant)
        elif device.compute_capability is not None and device.architecture is None:
            message = (
                f"compute capability {show(device.compute_capability)} is not in the tables; answered by rule"
            )
            # No rule says which drivers support such a GPU. Only the fact that CUDA started shows that this one does.
            sure = case.cuda_works or device.proven or case.probed
            status = Status.NOTE if sure else Status.UNKNOWN
            yield check(case, check_names.GPU, status, reasons.GpuNotInTables, message, [_CHECK_CAPABILITY])
        elif device.model is None and device.product and not case.probed:
            message = f"{device.product} is not in the tables; judged by its compute capability"
            yield check(case, check_names.GPU, Status.NOTE, reasons.GpuNotInTables, message, [_NEWER_TABLE])
    if (
        case.devices
        and not case.arch_flags
        and not case.proven
        and case.runtime is not None
        and not case.probed
        and not all(no_build_has_code(case, device) for device in case.devices)
    ):
        version = case.facts.torch.version or "this build"
        message = f"the targets of {version} are not in the tables"
        give = _GIVE_TARGETS if case.facts.torch.version else _GIVE_BUILD
        yield check(case, check_names.ARCHITECTURE, Status.UNKNOWN, reasons.ArchUnknown, message, [give])


def contradictions(case: Case) -> Iterator[Check]:
    """Yield a check for each pair of facts that contradict each other.

    The check is Unknown if the verdict depends on which of the two facts is true, else it is a Note.
    """
    for conflict in case.facts.conflicts:
        yield check(case, check_names.FACTS, Status.NOTE, reasons.ConflictingFacts, conflict)
    stale = stale_libcuda(case)
    if stale:
        remedies = [REMOVE_STALE_LIBCUDA]
        yield check(case, check_names.FACTS, Status.NOTE, reasons.ConflictingFacts, stale, remedies)
    if not case.probed:
        yield from _build_contradicts(case)
    for device in case.devices:
        if device.model and device.contradicts:
            given = show(device.contradicts)
            message = (
                f"{device.product} has compute capability {show(device.model.cc)}, but {given} was given"
            )
            yield check(case, check_names.FACTS, Status.UNKNOWN, reasons.ConflictingFacts, message)
    node, seen = case.facts.node.driver_version, case.facts.driver.version
    if node and seen and node != seen:
        message = f"the node's labels say driver {node}, the container sees {seen}"
        yield check(case, check_names.FACTS, Status.NOTE, reasons.ConflictingFacts, message)


def _build_contradicts(case: Case) -> Iterator[Check]:
    """Yield an Unknown check if PyTorch's version and ``torch.version.cuda`` name different CUDA versions.

    A build ``2.9.1+cu128`` for CUDA 12.6 cannot exist: one of the two values belongs to another installation.
    """
    named, told = case.build_name.cuda, parse_version(case.facts.torch.cuda)
    if named and told and len(told) > 1 and named != told[:2]:
        message = (
            f"PyTorch {case.facts.torch.version} is built for CUDA {show(named)}, but {show(told)} was given"
        )
        give = Remedy(
            Action.PROVIDE_FACTS,
            "Give what python -c 'import torch; print(torch.__version__, torch.version.cuda)' prints.",
        )
        yield check(case, check_names.FACTS, Status.UNKNOWN, reasons.ConflictingFacts, message, [give])
