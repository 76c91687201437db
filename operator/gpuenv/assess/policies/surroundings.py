"""Policies on the health of the GPUs and on the container around the program."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.assess.case import Case, check
from gpuenv.assess.facts import Failure, Gpu
from gpuenv.assess.model import Check, Status
from gpuenv.assess.policies.start import from_rule, hidden_by
from gpuenv.assess.sources.rules.failure_rules import classify_briefly
from gpuenv.knowledge.model import ErrorRule

MAX_ERRORS: Final = 16
"""How many different errors of NVML about single GPUs are judged. Usually, all lost GPUs have the same."""
_NO_RECOVERY, _RESET = 0, 1
_FABRIC_UNSUPPORTED, _FABRIC_DONE = 0, 3
_HW_SLOWDOWN = {0x8: "hardware slowdown", 0x40: "hardware thermal slowdown", 0x80: "power brake"}
_SW_THERMAL = 0x20
_DEFAULT_SHM_MIB = 64
_CHANGING = {
    "CUDA_LAUNCH_BLOCKING": "1",
    "CUDA_FORCE_PTX_JIT": "1",
    "CUDA_DISABLE_PTX_JIT": "1",
    "CUDA_CACHE_DISABLE": "1",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
}


def health(case: Case) -> Iterator[Check]:
    """Yield checks on NVML's readings of the health of each GPU (https://docs.nvidia.com/deploy/nvml-api/)."""
    rules = _rules_of_errors(case)
    for gpu in case.facts.gpus:
        yield from _unreachable(case, gpu, rules)
        yield from _memory(case, gpu)
        yield from _speed(case, gpu)
    yield from _persistence(case)


def _rules_of_errors(case: Case) -> dict[str, ErrorRule | None]:
    """Return the rules that NVML's errors about GPUs match, by error, for at most ``MAX_ERRORS`` different errors."""
    errors = dict.fromkeys(gpu.health.error for gpu in case.facts.gpus if gpu.health.error is not None)
    return {
        words: classify_briefly(Failure("nvml", message=words), case.knowledge)
        for words in islice(errors, MAX_ERRORS)
    }


def _unreachable(case: Case, gpu: Gpu, rules: Mapping[str, ErrorRule | None]) -> Iterator[Check]:
    """Yield a check if NVML counts the GPU but cannot open it, because it has fallen off the bus or needs a reset."""
    rule = rules.get(gpu.health.error) if gpu.health.error is not None else None
    if rule is not None:
        yield from_rule(case, rule, check_names.GPU_HEALTH, f"GPU {gpu.index}: {rule.meaning}")


def _memory(case: Case, gpu: Gpu) -> Iterator[Check]:
    """Yield checks on memory errors, a recovery action that NVML asks for, and an NVSwitch fabric that is not ready."""
    title, seen = f"GPU {gpu.index}", gpu.health
    if seen.recovery_action == _RESET:
        yield check(
            case,
            check_names.GPU_HEALTH,
            Status.FAIL,
            reasons.GpuResetRequired,
            f"{title}: NVML asks for a reset",
        )
    elif seen.recovery_action is not None and seen.recovery_action != _NO_RECOVERY:
        message = f"{title}: NVML names recovery action {seen.recovery_action}"
        yield check(case, check_names.GPU_HEALTH, Status.FAIL, reasons.GpuUnhealthy, message)
    if seen.remap_failed is True:
        yield check(
            case,
            check_names.GPU_HEALTH,
            Status.FAIL,
            reasons.GpuUnhealthy,
            f"{title}: a row remap has failed",
        )
    elif seen.remap_pending is True:
        message = f"{title}: a row remap is pending; a reset of the GPU does it"
        yield check(case, check_names.GPU_HEALTH, Status.WARN, reasons.GpuUnhealthy, message)
    if seen.ecc_uncorrected is not None and seen.ecc_uncorrected > 0:
        message = f"{title}: {seen.ecc_uncorrected} uncorrected memory errors since the driver was loaded"
        yield check(case, check_names.GPU_HEALTH, Status.WARN, reasons.GpuUnhealthy, message)
    state = seen.fabric_state
    if state is not None and state not in (_FABRIC_UNSUPPORTED, _FABRIC_DONE) and not case.proven:
        message = f"{title}: the NVSwitch fabric is in state {state}, not {_FABRIC_DONE} (completed)"
        yield check(case, check_names.GPU_FABRIC, Status.WARN, reasons.FabricNotReady, message)


def _speed(case: Case, gpu: Gpu) -> Iterator[Check]:
    """Yield checks on what slows the GPU down: heat, power brake, a lowered power limit, a PCIe link with few lanes."""
    title, seen = f"GPU {gpu.index}", gpu.health
    known = [bits for bits in (seen.busy_throttle_reasons, seen.throttle_reasons) if bits is not None]
    slow = [text for bit, text in _HW_SLOWDOWN.items() if any(bits & bit for bits in known)]
    if slow:
        yield check(
            case, check_names.GPU_CLOCKS, Status.WARN, reasons.GpuSlowed, f"{title}: {', '.join(slow)}"
        )
    elif any(bits & _SW_THERMAL for bits in known):
        yield check(
            case,
            check_names.GPU_CLOCKS,
            Status.NOTE,
            reasons.GpuSlowed,
            f"{title}: the driver slows it down for heat",
        )
    limit, default = seen.power_limit_w, seen.power_default_w
    if limit is not None and default is not None and 0 < limit < 0.99 * default:
        message = f"{title}: power limit {limit:g} W, the default is {default:g} W"
        yield check(case, check_names.GPU_POWER, Status.NOTE, reasons.GpuSlowed, message)
    width, most = seen.pcie_width, seen.pcie_width_max
    if width is not None and most is not None and 0 < width < most:
        message = f"{title}: PCIe link of width {width}, {most} would be possible"
        yield check(case, check_names.GPU_LINK, Status.NOTE, reasons.GpuSlowed, message)


def _persistence(case: Case) -> Iterator[Check]:
    """Yield a Note that names the GPUs whose persistence mode is off. GPUs without this reading are left out."""
    off = [str(gpu.index) for gpu in case.facts.gpus if gpu.health.persistence is False]
    if off:
        message = f"persistence mode is off on GPU {', '.join(off)}"
        yield check(case, check_names.GPU_PERSISTENCE, Status.NOTE, reasons.PersistenceModeOff, message)


def container(case: Case) -> Iterator[Check]:
    """Yield a Note for each setting of the container that can harm programs.

    The settings are environment variables, little or no scratch space (/dev/shm, /tmp), and privileges.
    """
    facts = case.facts.container
    hiding = hidden_by(case)
    if hiding:
        yield check(
            case,
            check_names.ENVIRONMENT,
            Status.NOTE,
            reasons.EnvironmentVariable,
            f"{hiding} hides every GPU",
        )
    for name, value in _CHANGING.items():
        if facts.env.get(name) == value:
            yield check(
                case,
                check_names.ENVIRONMENT,
                Status.NOTE,
                reasons.EnvironmentVariable,
                f"{name}={value} is set",
            )
    # In a probe pod, the size of /dev/shm is set by the pod, so that it says nothing about pods of the user.
    in_probe_pod = case.probed and case.facts.node.name is not None
    if facts.shm_mib is not None and facts.shm_mib <= _DEFAULT_SHM_MIB and not in_probe_pod:
        message = (
            f"shared memory (/dev/shm) is {facts.shm_mib} MiB, too little for data loader workers and NCCL"
        )
        yield check(case, check_names.WORKSPACE, Status.NOTE, reasons.SmallWorkspace, message)
    if facts.writable is not None and "/tmp" not in facts.writable:  # noqa: S108  a name, no file is created
        yield check(
            case,
            check_names.WORKSPACE,
            Status.NOTE,
            reasons.SmallWorkspace,
            "torch.compile needs /tmp, which is not writable",
        )
    if facts.uid == 0:
        yield check(
            case, check_names.SECURITY, Status.NOTE, reasons.LooseSecurity, "the container runs as root"
        )
    for note in facts.notes:
        yield check(case, check_names.SECURITY, Status.NOTE, reasons.LooseSecurity, note)
