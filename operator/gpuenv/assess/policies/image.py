"""Policies on the image alone: it has torch, torch was built with CUDA, and the build is a release."""

from collections.abc import Iterator
from dataclasses import replace

from gpuenv.api import check_names, reasons
from gpuenv.assess.case import Case, check, passed
from gpuenv.assess.facts import Source
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform_cures import rule_remedies
from gpuenv.assess.policies.read_only_root import prevented, rule_of
from gpuenv.assess.sources.failure_rules import classify
from gpuenv.knowledge.versions import parse_version, show


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
        yield check(
            case,
            check_names.CUDA_BUILD,
            Status.FAIL,
            reasons.TorchCpuBuild,
            f"{version} was built without CUDA",
        )
    elif case.runtime is not None:
        origin = " (PyPI's default build; not told)" if case.runtime_assumed else ""
        yield passed(check_names.CUDA_BUILD, f"built for CUDA {show(case.runtime)}{origin}")


def released_build(case: Case) -> Iterator[Check]:
    """Check that the tables have the build, unless its release is newer than they are.

    A build that was seen on a machine exists: if the tables lack it, that is a Note. A version that a person typed may be
    mistyped, and then nothing is known of the build: the check is Unknown, unless its targets are given too.
    """
    version, torch = case.facts.torch.version, case.torch
    if torch is None or case.cpu_build:
        return
    typed = _is_typed(case) and not case.facts.torch.arch_flags
    status = Status.UNKNOWN if typed else Status.NOTE
    if case.release is None:
        if torch > case.knowledge.newest_release().torch:
            newest = show(case.knowledge.newest_release().torch)
            message = f"PyTorch {version} is newer than the tables, which end at {newest}; answered by rule"
            yield check(case, check_names.TORCH_RELEASE, Status.NOTE, reasons.TorchNotInTables, message)
        elif typed and case.build_name.is_release:
            oldest = show(min(case.knowledge.torch))
            message = f"the tables have no PyTorch {show(torch[:2])}; they begin with {oldest}"
            yield check(case, check_names.TORCH_RELEASE, status, reasons.TorchNotInTables, message)
        return
    named = not _is_typed(case) and case.build_name.cuda == case.runtime
    # A wheel whose version names its CUDA (2.9.0+cu129) was seen on a machine, so it exists even if the tables lack it.
    if case.runtime and case.build is None and not named and case.build_name.is_release:
        name = show(case.release.torch)
        *first, last = (show(build.cuda) for build in case.release.builds)
        builds = f"{', '.join(first)} and {last}" if first else last
        cuda = show(case.runtime)
        if case.release.all_builds:
            message = f"PyTorch {name} was not released for CUDA {cuda}; it was for {builds}"
        else:
            message = (
                f"PyTorch {name} for CUDA {cuda} is not in the tables, which have its builds for {builds}"
            )
        yield check(
            case,
            check_names.TORCH_RELEASE,
            status,
            reasons.NoSuchBuild,
            message,
            source=case.release.all_builds or case.release.source,
        )


def _is_typed(case: Case) -> bool:
    """Return whether a person typed the version of PyTorch, so that it may be mistyped."""
    return case.facts.source == Source.FLAGS or case.facts.torch.typed is True


def python_version(case: Case) -> Iterator[Check]:
    """Yield a Note if the PyTorch release has no wheels for the image's Python version.

    This is no failure, because Conda packages and builds from source support more versions.
    """
    python = parse_version(case.facts.container.python)
    if case.release is None or python is None or case.probed:
        return
    oldest, newest = case.release.python
    if not oldest <= python[:2] <= newest:
        message = (
            f"PyTorch {show(case.release.torch)} has wheels for Python {show(oldest)} to {show(newest)}, "
            f"not for {show(python[:2])}"
        )
        yield check(
            case,
            check_names.PYTHON_VERSION,
            Status.NOTE,
            reasons.NoSuchBuild,
            message,
            source=case.release.source,
        )
