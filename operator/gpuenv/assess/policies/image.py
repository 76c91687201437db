"""Policies on the image alone: it has torch, torch was built with CUDA, and the build is a release."""

from collections.abc import Iterator
from dataclasses import replace

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy, remedy
from gpuenv.assess.case import Case, check, passed
from gpuenv.assess.facts import Source
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform_cures import rule_remedies
from gpuenv.assess.policies.read_only_root import prevented, rule_of
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.knowledge.model import TorchRelease
from gpuenv.knowledge.versions import Version, parse_version, show

TORCH_HISTORY = "https://pypi.org/project/torch/#history"


def torch_present(case: Case) -> Iterator[Check]:
    """Check that torch is installed and can be imported."""
    torch = case.facts.torch
    if torch.missing and not _is_told_broken(case):
        yield check(
            case, check_names.TORCH, Status.FAIL, reasons.TorchMissing, "this Python has no torch module"
        )
    elif torch.import_error is not None:
        rule = rule_of(case, replace(torch.import_error, details=(("module", "torch"),)))
        words = torch.import_error.message or torch.import_error.name
        refused = prevented(case, check_names.TORCH, "torch does not import", words)
        if refused is not None:
            yield refused
        elif rule is None:
            yield check(
                case, check_names.TORCH, Status.FAIL, reasons.TorchBroken, f"torch does not import: {words}"
            )
        else:
            yield check(
                case,
                check_names.TORCH,
                Status.FAIL,
                rule.reason,
                f"torch does not import: {words}",
                rule_remedies(rule, rule.reason, case),
                rule.source,
            )
    elif torch.version:
        yield passed(check_names.TORCH, f"PyTorch {torch.version}")


def _is_told_broken(case: Case) -> bool:
    """Return whether an error says that torch is there, and does not load. A dump then calls its version ``N/A``, too."""
    rules = (classify(failure, case.knowledge) for failure in case.facts.errors)
    return any(rule is not None and rule.reason == reasons.TorchBroken for rule in rules)


def cuda_build(case: Case) -> Iterator[Check]:
    """Check that PyTorch was built with CUDA."""
    if case.cpu_build:
        version = case.facts.torch.version or "this PyTorch"
        beside = "for GPUs of AMD; gpuenv judges those of NVIDIA" if case.build_name.is_rocm else ""
        yield check(
            case,
            check_names.CUDA_BUILD,
            Status.FAIL,
            reasons.TorchCpuBuild,
            f"{version} was built without CUDA" + (f", {beside}" if beside else ""),
        )
    elif case.runtime is not None:
        origin = " (PyPI's default build; not told)" if case.runtime_assumed else ""
        yield passed(check_names.CUDA_BUILD, f"built for CUDA {show(case.runtime)}{origin}")


def released_build(case: Case) -> Iterator[Check]:
    """Check that the tables have the build.

    A build that was seen on a machine exists: if the tables lack it, that is a Note. A version that a person typed may be
    mistyped, and then nothing is known of the build: the check is Unknown, unless its targets are given too.
    """
    if case.torch is None or case.cpu_build:
        return
    doubted = _is_typed(case) and not case.facts.torch.arch_flags and case.build_name.is_release
    status = Status.UNKNOWN if doubted else Status.NOTE
    newest = case.knowledge.newest_release()
    later = not newest.has(case.torch) if case.release is newest else case.release is None
    if later and case.torch > newest.last:
        message = (
            f"PyTorch {case.facts.torch.version} is newer than the tables, which end at {show(newest.last)}"
        )
        rule = "" if doubted else "; answered by rule"
        yield check(case, check_names.TORCH_RELEASE, status, reasons.TorchNotInTables, message + rule)
    elif case.release is None:
        if doubted:
            oldest = show(min(case.knowledge.torch))
            message = f"the tables have no PyTorch {show(case.torch[:2])}; they begin with {oldest}"
            yield check(case, check_names.TORCH_RELEASE, status, reasons.TorchNotInTables, message)
    elif doubted and not case.release.has(case.torch):
        yield _no_such_patch(case, case.release, case.torch)
    else:
        yield from _released_for_cuda(case, case.release, status)


def _no_such_patch(case: Case, release: TorchRelease, torch: Version) -> Check:
    names = [f"{show(release.torch)}.{patch}" for patch in release.patches]
    message = f"PyTorch {show(torch)} was not released; of {show(release.torch)}, there {_are(names)}"
    remedies = [remedy(Action.CHANGE_IMAGE, f"Use PyTorch {_either(names)}.")]
    return check(
        case,
        check_names.TORCH_RELEASE,
        Status.UNKNOWN,
        reasons.NoSuchBuild,
        message,
        remedies,
        TORCH_HISTORY,
    )


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _are(names: list[str]) -> str:
    return f"is only {names[0]}" if len(names) == 1 else f"are {', '.join(names[:-1])} and {names[-1]}"


def _released_for_cuda(case: Case, release: TorchRelease, status: Status) -> Iterator[Check]:
    named = not _is_typed(case) and case.build_name.cuda == case.runtime
    # A wheel whose version names its CUDA (2.9.0+cu129) was seen on a machine, so it exists even if the tables lack it.
    if case.runtime is None or case.build is not None or named or not case.build_name.is_release:
        return
    name = show(release.torch)
    *first, last = (show(build.cuda) for build in release.builds)
    builds = f"{', '.join(first)} and {last}" if first else last
    cuda = show(case.runtime)
    if release.all_builds:
        message = f"PyTorch {name} was not released for CUDA {cuda}; it was for {builds}"
    else:
        message = f"PyTorch {name} for CUDA {cuda} is not in the tables, which have its builds for {builds}"
    source = release.all_builds or release.source
    yield check(case, check_names.TORCH_RELEASE, status, reasons.NoSuchBuild, message, source=source)


def _is_typed(case: Case) -> bool:
    """Return whether a person typed the version of PyTorch, so that it may be mistyped."""
    return case.facts.source == Source.FLAGS or case.facts.torch.typed is True


def python_version(case: Case) -> Iterator[Check]:
    """Check that the PyTorch release has wheels for the image's Python version.

    A Python that was seen is only a Note, because Conda packages and builds from source support more versions. If a person
    typed both versions, they are those of a wheel that does not exist, and the check is Unknown.
    """
    python = parse_version(case.facts.container.python)
    if case.release is None or python is None or case.probed:
        return
    oldest, newest = case.release.python
    if case.release.suits(python):
        return
    exist = f"Python {show(oldest)} to {show(newest)}"
    message = f"PyTorch {show(case.release.torch)} has wheels for {exist}, not for {show(python[:2])}"
    wheel = _is_typed(case) and case.build_name.is_release and not case.facts.torch.arch_flags
    doubted = wheel and case.facts.container.python_typed is True
    yield check(
        case,
        check_names.PYTHON_VERSION,
        Status.UNKNOWN if doubted else Status.NOTE,
        reasons.NoSuchBuild,
        message,
        [_other_python(case, case.release, python)] if doubted else None,
        case.release.source,
    )


def _other_python(case: Case, release: TorchRelease, python: Version) -> Remedy:
    """Return the remedy to use a Python that has wheels, or a PyTorch that has wheels for this Python."""
    words = f"Use Python {show(release.python[0])} to {show(release.python[1])}"
    fitting = case.knowledge.releases_for(python)
    if fitting:
        words += (
            f", or PyTorch {show(fitting[0])} to {show(fitting[-1])}, which has wheels for {show(python[:2])}"
        )
    return remedy(Action.CHANGE_IMAGE, f"{words}.")
