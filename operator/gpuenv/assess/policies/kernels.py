"""Policies on the steps of the kernels stage.

If kernels ran, their outcome decides the verdict, and the tables are only used to explain it. The check of a kernel
that did not run never passes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.check_names import CheckName
from gpuenv.api.remedies import Action, Remedy
from gpuenv.assess.case import BROKEN, EXTRAS, PASSED, SKIPPED, Case, check, passed
from gpuenv.assess.facts import Failure, Stage, Step, StepStatus
from gpuenv.assess.model import Check, Status
from gpuenv.assess.policies.read_only_root import prevented, rule_of
from gpuenv.assess.policies.start import from_rule
from gpuenv.assess.sources.probe.probe_document import STEPS_LEFT_OUT

LITTLE_FREE = 0.10
"""If less than this share of a GPU's memory is free, a failed allocation is blamed on other programs."""
_SIGKILL = 9
MAX_JUDGED: Final = 24
"""How many broken steps with different outcomes are judged. A real node has a handful of different errors."""
_Outcome = tuple[bool, StepStatus, Failure | None, str]
"""How a step broke: whether it is optional, its status, its error and its details."""


def steps(case: Case) -> Iterator[Check]:
    """Yield one check for all failed steps with the same cause, or a single passed check if no step failed.

    Imports and torch.compile have policies of their own.
    """
    alike = _alike(case.facts.steps)
    judged = dict(sorted(alike.items(), key=_importance)[:MAX_JUDGED])
    groups: dict[tuple[Status, str, str], list[Step]] = {}
    first: dict[tuple[Status, str, str], Check] = {}
    for outcome, members in alike.items():
        if outcome not in judged:
            continue
        for found, concerned in _judged(case, members):
            key = (found.status, found.reason, found.message)
            groups.setdefault(key, []).extend(concerned)
            first.setdefault(key, found)
    for key, members in groups.items():
        found = first[key]
        yield replace(found, message=f"{_names(members)}: {found.message}")
    yield from _not_judged(
        case, [step for key, found in alike.items() if key not in judged for step in found]
    )
    good = [step for step in case.kernels if step.status == PASSED]
    if good and not groups:
        gpus = len({step.gpu for step in good})
        yield passed(check_names.KERNELS, f"{_names(good)} on {gpus} GPU{'s' if gpus > 1 else ''}")


def _alike(steps: Iterable[Step]) -> dict[_Outcome, list[Step]]:
    """Return the broken steps that this policy judges, in groups of which one step stands for all."""
    alike: dict[_Outcome, list[Step]] = {}
    for step in steps:
        if step.status not in BROKEN or step.name == "compile" or step.name.startswith("import:"):
            continue
        key = (step.name in EXTRAS, step.status, step.error, step.detail)
        alike.setdefault(key, []).append(step)
    return alike


def _judged(case: Case, members: list[Step]) -> Iterator[tuple[Check, list[Step]]]:
    """Yield the checks of broken steps with the same outcome, each with its steps.

    There is one check, unless memory ran out: whether other programs are to blame differs between GPUs.
    """
    found = _judge(case, members[0])
    if found.reason not in (reasons.OutOfMemory, reasons.GpuBusy):
        yield found, members
        return
    of_gpus: dict[int | None, list[Step]] = {}
    for step in members:
        of_gpus.setdefault(step.gpu, []).append(step)
    for concerned in of_gpus.values():
        yield _judge(case, concerned[0]), concerned


def _importance(entry: tuple[_Outcome, list[Step]]) -> tuple[bool, bool]:
    """Return a key that sorts the steps first that every use of PyTorch needs, and among them those that failed."""
    (extra, status, *_), _ = entry
    return extra, status in (StepStatus.TIMED_OUT, StepStatus.UNCONFIRMED)


def _not_judged(case: Case, steps: Sequence[Step]) -> Iterator[Check]:
    """Yield a check that counts the broken steps beyond the limit, and the steps that the document has no room for.

    Nobody knows what broke them, so that the verdict cannot be better than Unknown; it is Degraded at worst if only
    optional steps are among them.
    """
    if steps:
        status = Status.WARN if all(step.name in EXTRAS for step in steps) else Status.UNKNOWN
        message = f"{len(steps)} more steps broke, each in another way, and are not judged: {_names(steps)}"
        yield check(case, check_names.KERNELS, status, reasons.KernelFailed, message)
    if STEPS_LEFT_OUT in case.facts.omitted:
        message = "the probe reported more steps than are read, so that it is not known whether all passed"
        yield check(case, check_names.KERNELS, Status.UNKNOWN, reasons.KernelsNotRun, message)


def _names(members: Sequence[Step]) -> str:
    names = list(dict.fromkeys(f"{step.name} {step.dtype}".strip() for step in members))
    gpus = sorted({step.gpu for step in members if step.gpu is not None})
    where = f" (GPU {', '.join(map(str, gpus))})" if gpus not in ([], [0]) else ""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") + where


def _judge(case: Case, step: Step) -> Check:
    name = check_names.KERNEL.of(step.name, step.dtype)
    words = step.error.message or step.error.name if step.error else ""
    if step.status == StepStatus.WRONG:
        return check(
            case, name, Status.FAIL, reasons.WrongResult, step.detail or words or "a wrong result, twice"
        )
    if step.status == StepStatus.UNCONFIRMED:
        return check(case, name, Status.UNKNOWN, reasons.WrongResult, step.detail or "a wrong result, once")
    if step.status == StepStatus.TIMED_OUT:
        message = f"did not finish in time{': ' + words if words else ''}"
        return check(case, name, Status.UNKNOWN, reasons.ProbeTimeout, message)
    refused = prevented(case, name, "it could not write", words)
    if refused is not None:
        return refused
    rule = rule_of(case, step.error) if step.error else None
    if rule is None:
        return _unknown_error(case, step, name, words)
    if rule.reason == reasons.OutOfMemory:
        return _out_of_memory(case, step, name)
    status = Status(rule.status)
    if status in (Status.WARN, Status.NOTE) and step.name not in EXTRAS:
        status = Status.FAIL
    elif status is Status.FAIL and step.name in EXTRAS:
        status = Status.WARN
    return from_rule(case, rule, name, rule.meaning, status)


def _unknown_error(case: Case, step: Step, name: CheckName, words: str) -> Check:
    killed = step.error is not None and step.error.layer == "signal" and step.error.code == _SIGKILL
    if killed:
        message = "the worker was killed (SIGKILL), as when host memory runs out"
        return check(case, name, Status.UNKNOWN, reasons.OomKilled, message)
    status = Status.WARN if step.name in EXTRAS else Status.FAIL
    how = "the worker died" if step.status == StepStatus.CRASHED else "an error was raised"
    return check(case, name, status, reasons.KernelFailed, f"{how}: {words or step.detail or 'no message'}")


def _out_of_memory(case: Case, step: Step, name: CheckName) -> Check:
    gpu = next((gpu for gpu in case.facts.gpus if gpu.index == step.gpu), None)
    free = gpu.memory_free_mib if gpu else None
    total = gpu.memory_mib if gpu else None
    others = free is not None and total is not None and free < LITTLE_FREE * total
    if others or case.facts.node.sharing:
        seen = (
            f"{free} of {total} MiB were free" if others else f"the GPU is shared ({case.facts.node.sharing})"
        )
        return check(case, name, Status.UNKNOWN, reasons.GpuBusy, f"no GPU memory to be had: {seen}")
    return check(case, name, Status.UNKNOWN, reasons.OutOfMemory, "no GPU memory to be had")


def all_ran(case: Case) -> Iterator[Check]:
    """Check that both stages of the probe are complete and that kernels ran on every GPU.

    Without that, the verdict cannot be Compatible.
    """
    if not case.probed:
        return
    ended = f" (the probe says: {case.facts.ended})" if case.facts.ended else ""
    if Stage.KERNELS not in case.facts.stages:
        message = f"no complete kernels stage was read{ended}"
        yield check(case, check_names.KERNELS_STAGE, Status.UNKNOWN, reasons.KernelsNotRun, message)
        return
    if Stage.FACTS not in case.facts.stages:
        message = f"no complete facts stage was read{ended}"
        yield check(
            case,
            check_names.FACTS_STAGE,
            Status.UNKNOWN,
            reasons.NotEnoughFacts,
            message,
            [Remedy(Action.INVESTIGATE, "Look at the pod's facts container.")],
        )
    ran = {step.gpu for step in case.kernels if step.status != SKIPPED} - {None}
    missing = [device.index for device in case.devices if device.index not in ran]
    if not ran or missing:
        which = f"GPU {', '.join(map(str, missing))}" if ran else "any GPU"
        skipped = next(
            (step.detail for step in case.facts.steps if step.status == SKIPPED and step.detail),
            "",
        )
        why = f": {skipped}" if skipped else ended
        yield check(
            case, check_names.KERNELS, Status.UNKNOWN, reasons.KernelsNotRun, f"no kernel ran on {which}{why}"
        )
