"""Policies on ``spec.expect``, which compare observed with expected values.

Only the release numbers of versions are compared: ``2.9.1+cu128`` counts as 2.9.1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, TypeVar

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy, remedy
from gpuenv.assess.case import Case, check, passed
from gpuenv.assess.facts import Step, StepStatus
from gpuenv.assess.model import Check, Status
from gpuenv.assess.observed_versions import observed_versions
from gpuenv.assess.policies.left_out import knows_memory
from gpuenv.assess.policies.read_only_root import prevented, rule_of
from gpuenv.assess.policies.start import from_rule
from gpuenv.knowledge.versions import parse_version, show

T = TypeVar("T")

_OTHER_DRIVER: Final = "Install a driver that satisfies {wanted} on the node, or correct expect.driver."

GIB = 2**30
MIB = 2**20
NOMINAL_GIB = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    11,
    12,
    16,
    20,
    24,
    32,
    40,
    48,
    64,
    72,
    80,
    94,
    96,
    128,
    141,
    144,
    180,
    192,
    256,
    288,
)
"""Nominal memory sizes of GPUs in GiB. A GPU reports a little less: an 80 GB H100 reports 79.65 GiB."""
SMALLEST_SHARE = 0.90
"""A GPU reports at least this share of its nominal memory: a T4 with ECC reports 14.75 of 16 GiB."""


_OPTIONS = {
    "pytorch": "--torch", "cuda": "--cuda", "cudnn": "--cudnn", "python": "--python", "driver": "--driver",
    "compute-capability": "--gpu, or --compute-capability", "gpu-product": "--gpu",
}  # fmt: skip
"""Maps an expectation to the options of ``gpuenv explain`` that give the observed value."""


def versions(case: Case) -> Iterator[Check]:
    """Check that PyTorch, CUDA, cuDNN, NCCL, Python and the driver have the versions that ``spec.expect`` asks for."""
    expect, observed = case.expect, observed_versions(case.facts)
    wanted_versions = {
        "pytorch": (expect.pytorch, observed.get("pytorch")),
        "cuda": (expect.cuda, show(case.runtime) if case.runtime else None),
        "cudnn": (expect.cudnn, observed.get("cudnn")),
        "nccl": (expect.nccl, observed.get("nccl")),
        "python": (expect.python, observed.get("python")),
        "driver": (expect.driver, case.driver_text or None),
    }
    for name, (wanted, seen) in wanted_versions.items():
        left_out = name == "nccl" and seen is None and not case.probed
        if wanted is not None and not left_out:
            yield _version(case, name, wanted, seen)


def _version(case: Case, name: str, wanted: str, seen: str | None) -> Check:
    title = check_names.EXPECT.of(name)
    release = parse_version(seen)
    if release is None:
        message = f"{name}: expected {wanted}, observed value not known"
        give = _give(case, name)
        return check(case, title, Status.UNKNOWN, reasons.ExpectationUnknown, message, give)
    if satisfies(wanted, show(release)):
        return passed(title, f"{name} {seen} satisfies {wanted}")
    message = f"{name}: expected {wanted}, observed {seen}"
    remedies = (
        [remedy(Action.CHANGE_DRIVER, _OTHER_DRIVER.format(wanted=wanted))] if name == "driver" else None
    )
    return check(case, title, Status.FAIL, reasons.ExpectationMismatch, message, remedies)


def _give(case: Case, name: str) -> list[Remedy] | None:
    """Return the remedy to give an expected value as an option, or None if a probe should have found it."""
    option = _OPTIONS.get(name)
    return None if case.probed or option is None else [Remedy(Action.PROVIDE_FACTS, f"Give {option}.")]


@lru_cache(maxsize=1024)
def satisfies(specifier: str, release: str) -> bool:
    """Return whether a release number satisfies a PEP 440 specifier. No release satisfies an invalid specifier."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415  takes 30 ms

    try:
        return SpecifierSet(specifier).contains(release, prereleases=True)
    except InvalidSpecifier:
        return False


def hardware(case: Case) -> Iterator[Check]:
    """Check that all GPUs have a compute capability, a product name and a memory size that ``spec.expect`` allows."""
    expect = case.expect
    low, high = expect.min_compute_capability, expect.max_compute_capability
    if low or high:
        wanted = f"{show(low) if low else 'any'} to {show(high) if high else 'any'}"

        def in_range(capability: tuple[int, int]) -> bool:
            return (low is None or capability >= low) and (high is None or capability <= high)

        capabilities = [device.compute_capability for device in case.devices]
        yield _each(case, "compute-capability", wanted, capabilities, in_range, show)
    if expect.products:
        products = [device.product for device in case.devices]

        def is_meant(product: str) -> bool:
            return any(matches(pattern, product) for pattern in expect.products)

        yield _each(case, "gpu-product", " or ".join(expect.products), products, is_meant, str)
    if expect.min_memory_bytes is not None:
        needed = expect.min_memory_bytes
        sizes = [gpu.memory_mib for gpu in case.facts.gpus]

        def is_enough(mib: int) -> bool:
            return nominal_bytes(mib) >= needed

        if case.probed or knows_memory(case):
            yield _each(case, "gpu-memory", f"{needed / GIB:g} GiB", sizes, is_enough, _memory)


def _each(  # noqa: PLR0917  three expectations differ in all of them
    case: Case,
    name: str,
    wanted: str,
    values: Sequence[T | None],
    good: Callable[[T], bool],
    text: Callable[[T], str],
) -> Check:
    """Return the check of one expectation on all GPUs.

    ``name`` is the name of the expectation, and ``wanted`` the expected value as text. ``values`` holds the observed
    value of each GPU, None if it is not known. ``good`` says whether a value meets the expectation, and ``text``
    converts a value for the message. The check passes only if all values are known and good.
    """
    title = check_names.EXPECT.of(name)
    known = [value for value in values if value is not None]
    bad = list(dict.fromkeys(text(value) for value in known if not good(value)))
    if bad:
        message = f"{name}: expected {wanted}, observed {', '.join(bad)}"
        return check(case, title, Status.FAIL, reasons.ExpectationMismatch, message)
    if not known or len(known) < len(values):
        message = f"{name}: expected {wanted}, observed value not known"
        give = _give(case, name)
        return check(case, title, Status.UNKNOWN, reasons.ExpectationUnknown, message, give)
    return passed(
        title, f"{name} {', '.join(dict.fromkeys(text(value) for value in known))} satisfies {wanted}"
    )


def _memory(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB (nominally {nominal_bytes(mib) / GIB:g})"


def nominal_bytes(mib: int) -> int:
    """Return the nominal memory size in bytes of a GPU that reports ``mib`` MiB.

    If no nominal size in :data:`NOMINAL_GIB` fits, return the reported size.
    """
    gib = mib / 1024
    for size in NOMINAL_GIB:
        if size * SMALLEST_SHARE <= gib <= size * 1.005:
            return size * GIB
    return mib * MIB


def matches(pattern: str, product: str) -> bool:
    """Return whether a shell-style pattern matches a product name.

    Upper and lower case, a leading ``NVIDIA``, and dashes or underscores instead of spaces make no difference.
    """
    return fnmatchcase(_plain(product), _plain(pattern)) or fnmatchcase(product, pattern)


def _plain(text: str) -> str:
    return text.replace("-", " ").replace("_", " ").lower().removeprefix("nvidia ").strip()


def imports(case: Case) -> Iterator[Check]:
    """Check that every Python module in ``spec.checks.imports`` can be imported."""
    tried = {
        step.name.removeprefix("import:"): step
        for step in case.facts.steps
        if step.name.startswith("import:")
    }
    for module in case.tried.imports:
        step = tried.get(module)
        if step is None and not case.probed:
            continue
        title = check_names.IMPORT.of(module)
        if step is None or step.status == StepStatus.SKIPPED:
            message = f"{module} has to import; that was not tried"
            yield check(case, title, Status.UNKNOWN, reasons.ExpectationUnknown, message)
        elif step.status == StepStatus.PASS:
            yield passed(title, f"{module} imports")
        else:
            what = f"{module} does not import"
            yield prevented(case, title, what, _words(step)) or _import_failed(case, step, module, what)


def _import_failed(case: Case, step: Step, module: str, what: str) -> Check:
    """Return the check for a module that does not import: with the sentences of the rule that its error matches, if any."""
    title = check_names.IMPORT.of(module)
    failed = step.error and replace(step.error, details=(("module", module.partition(".")[0]),))
    rule = rule_of(case, failed) if failed else None
    if rule is None or rule.status != Status.FAIL or _outcome(step) is not Status.FAIL:
        return check(case, title, _outcome(step), reasons.ImportFailed, f"{what}: {_words(step)}")
    return from_rule(case, rule, title, f"{what}: {rule.meaning}", _outcome(step))


def compiles(case: Case) -> Iterator[Check]:
    """Check that torch.compile works, if the environment asks for that. Otherwise, a failure is only a Note."""
    step = next((step for step in case.facts.steps if step.name == "compile"), None)
    failed = step is not None and step.status not in (StepStatus.PASS, StepStatus.SKIPPED)
    if not case.tried.compile:
        if step is not None and failed:
            message = f"torch.compile does not work: {_words(step)}"
            yield check(case, check_names.COMPILE, Status.NOTE, reasons.CompileUnavailable, message)
        return
    if step is None and not case.probed:
        return
    if step is None or step.status == StepStatus.SKIPPED:
        message = "torch.compile has to work; that was not tried"
        yield check(case, check_names.COMPILE, Status.UNKNOWN, reasons.ExpectationUnknown, message)
    elif failed:
        what = "torch.compile does not work"
        yield prevented(case, check_names.COMPILE, what, _words(step)) or check(
            case, check_names.COMPILE, _outcome(step), reasons.CompileUnavailable, f"{what}: {_words(step)}"
        )
    else:
        yield passed(check_names.COMPILE, "torch.compile works")


def _outcome(step: Step) -> Status:
    return Status.UNKNOWN if step.status in (StepStatus.TIMED_OUT, StepStatus.UNCONFIRMED) else Status.FAIL


def _words(step: Step) -> str:
    words = (step.error.message or step.error.name) if step.error else ""
    return words or step.detail or step.status


def commands(case: Case) -> Iterator[Check]:
    """Check that every command check of the environment ended with exit code 0, and in time."""
    for command in case.facts.commands:
        title = check_names.COMMAND.of(command.name)
        tail = f"; it said: {command.tail}" if command.tail else ""
        if command.timed_out is True:
            yield check(
                case,
                title,
                Status.FAIL,
                reasons.CheckTimedOut,
                f"{command.name} did not finish in time{tail}",
            )
        elif command.exit_code == 0:
            yield passed(title, f"{command.name} passed")
        elif command.exit_code is None and command.signal is None:
            yield check(
                case, title, Status.UNKNOWN, reasons.CheckFailed, f"{command.name} has no outcome{tail}"
            )
        else:
            how = f"signal {command.signal}" if command.signal else f"exit code {command.exit_code}"
            what = f"{command.name} ended with {how}"
            yield prevented(case, title, what, command.tail) or check(
                case, title, Status.FAIL, reasons.CheckFailed, f"{what}{tail}"
            )
