"""What a probe pod's own read-only root file system prevents is Unknown, with the cure, and never Incompatible."""

from dataclasses import replace

import pytest
from tests.support import assessed
from tests.support.assessed import HEALTHY, failing, judge, told

from gpuenv.api import reasons
from gpuenv.api.spec.environment import Checks
from gpuenv.assess.facts import CommandResult, Facts, Failure, Step, StepStatus
from gpuenv.assess.model import Verdict

WORDS = "[Errno 30] Read-only file system: '/opt/app/cache'"
OS_ERROR = Failure("os", 30, "OSError", WORDS)
TRIED = Checks(imports=("flashinfer",), features=frozenset({"Compile"}))
COMPILED = Failure(
    "torch", name="InductorError", message=f"torch._inductor.exc.InductorError: OSError: {WORDS}"
)
DIED = Failure("os", 1, "exit code 1", "Traceback\nOSError: " + WORDS)


def root(facts: Facts, read_only: bool | None) -> Facts:
    return replace(facts, container=replace(facts.container, root_read_only=read_only))


def step(name: str, error: Failure, status: StepStatus = StepStatus.FAIL) -> Facts:
    return failing(Step(name, 0, status=status, error=error))


def command(tail: str, code: int = 1) -> Facts:
    return replace(HEALTHY, commands=(CommandResult("smoke", exit_code=code, tail=tail),))


CASES: dict[str, tuple[Facts, str, Verdict]] = {
    # facts, and the check that was Fail (and the verdict) while the cause was not known
    "torch": (assessed.torch(import_error=OS_ERROR, version=None), "torch", Verdict.INCOMPATIBLE),
    "init": (assessed.torch(init_error=OS_ERROR), "cuda-init", Verdict.INCOMPATIBLE),
    "kernel": (step("matmul", OS_ERROR), "kernel-matmul", Verdict.INCOMPATIBLE),
    "worker": (step("matmul", DIED, StepStatus.CRASHED), "kernel-matmul", Verdict.INCOMPATIBLE),
    "extra": (step("jit", OS_ERROR), "kernel-jit", Verdict.DEGRADED),
    "import": (step("import:flashinfer", OS_ERROR), "import-flashinfer", Verdict.INCOMPATIBLE),
    "compile": (step("compile", COMPILED), "compile", Verdict.INCOMPATIBLE),
    "command": (command("mkdir: cannot create directory '/data': Read-only file system"), "check-smoke", Verdict.INCOMPATIBLE),
    "C program": (command("open: Read-only file system"), "check-smoke", Verdict.INCOMPATIBLE),
}  # fmt: skip


def tried(facts: Facts) -> Checks:
    """Return what has to work of that which the facts have a step for."""
    names = {one.name for one in facts.steps}
    return Checks(
        imports=tuple(name for name in TRIED.imports if f"import:{name}" in names),
        features=TRIED.features if "compile" in names else frozenset(),
    )


@pytest.mark.parametrize("name", CASES)
def test_a_write_that_our_own_pod_refuses_is_unknown_with_its_cure(name: str) -> None:
    facts, check, _ = CASES[name]
    found = judge(root(facts, True), tried=tried(facts))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reasons.ReadOnlyFilesystem), told(found)
    shown = next(one for one in found.checks if one.reason == reasons.ReadOnlyFilesystem)
    assert shown.name == check
    assert "spec.probe.rootFilesystem: Writable" in shown.remedies[0].message
    assert "Read-only file system" in shown.message


@pytest.mark.parametrize("read_only", [False, None], ids=["writable", "an older probe"])
@pytest.mark.parametrize("name", CASES)
def test_with_a_writable_root_the_same_error_is_the_images_own(name: str, read_only: bool | None) -> None:
    facts, check, verdict = CASES[name]
    found = judge(root(facts, read_only), tried=tried(facts))
    assert found.verdict is verdict, told(found)
    assert next(one for one in found.checks if one.name == check).reason != reasons.ReadOnlyFilesystem


@pytest.mark.parametrize("words", ["Permission denied", "No space left on device", "exit code 30"])
def test_other_failures_stay_failures(words: str) -> None:
    facts = root(command(words), True)
    assert judge(facts).reason == reasons.CheckFailed
    crashed = root(step("matmul", Failure("os", 30, "exit code 30", ""), StepStatus.CRASHED), True)
    assert judge(crashed).reason == reasons.KernelFailed


def test_a_command_that_passes_may_complain() -> None:
    assert judge(root(command("warning: Read-only file system", code=0), True)).verdict is Verdict.COMPATIBLE


def test_another_failure_beside_it_still_counts() -> None:
    facts = root(replace(step("matmul", OS_ERROR), commands=(CommandResult("smoke", exit_code=1),)), True)
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.INCOMPATIBLE, reasons.CheckFailed)
