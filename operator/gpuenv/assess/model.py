"""The parts of an assessment: checks, each with a status and a reason, and the verdict that follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpuenv.api.remedies import Remedies


class Verdict(StrEnum):
    """Whether an image works on a node. Status fields, labels and JSON contain these values."""

    COMPATIBLE = "Compatible"
    DEGRADED = "Degraded"
    INCOMPATIBLE = "Incompatible"
    UNKNOWN = "Unknown"

    @property
    def severity(self) -> int:
        """How bad the verdict is; a greater number is worse. The verdict of several nodes together is the worst one."""
        return _VERDICT_SEVERITY[self]


_VERDICT_SEVERITY: Final = {
    Verdict.COMPATIBLE: 0, Verdict.DEGRADED: 1, Verdict.UNKNOWN: 2, Verdict.INCOMPATIBLE: 3,
}  # fmt: skip


class Status(StrEnum):
    """The outcome of one check.

    The check of a kernel that did not run is never ``Pass``. The check of a kernel that could not be tried is never
    ``Fail``.
    """

    FAIL = "Fail"
    """The image does not work on the node as expected: the verdict is Incompatible."""
    UNKNOWN = "Unknown"
    """A fact that the verdict depends on is not known: the verdict is Unknown, unless another check fails."""
    WARN = "Warn"
    """The image works, but worse than expected: the verdict is Degraded."""
    NOTE = "Note"
    """The message is worth knowing, but does not change the verdict."""
    SKIPPED = "Skipped"
    """The check does not apply, or was not asked for. It does not change the verdict."""
    PASS = "Pass"  # noqa: S105  an outcome, no password

    @property
    def severity(self) -> int:
        """How bad the outcome is; a greater number is worse. The worst check decides the verdict."""
        return _STATUS_SEVERITY[self]


_STATUS_SEVERITY: Final = {
    Status.PASS: 0, Status.SKIPPED: 1, Status.NOTE: 2, Status.WARN: 3, Status.UNKNOWN: 4, Status.FAIL: 5,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One line of an assessment.

    ``name`` is a name of :mod:`gpuenv.api.check_names` (``driver-version``, ``kernel-matmul-fp32``). ``reason`` is one
    of :mod:`gpuenv.api.reasons`, or "" if the check passed. ``message`` describes what was found, with its numbers.
    ``remedies`` say what solves the problem, the best one first. ``source`` is the URL of the document on which the check
    is based; "" means that there is none.
    """

    name: str
    status: Status
    reason: str = ""
    message: str = ""
    remedies: Remedies = ()
    source: str = ""
    curable: bool = False
    """Whether one of the parts that the row of the reason names may be replaced to solve the problem."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A verdict and the checks that it follows from, the worst check first.

    ``reason`` and ``message`` are those of the worst check. Both are empty if the verdict is Compatible, or if it is
    Unknown because no check was made.
    """

    verdict: Verdict
    reason: str
    message: str
    checks: tuple[Check, ...]


def decide(checks: Iterable[Check]) -> Assessment:
    """Return the assessment with these checks, ordered worst first. The worst check decides the verdict.

    If there is no check, or if all are Skipped, the verdict is Unknown: something that did not run does not pass.
    """
    ordered = tuple(sorted(checks, key=lambda check: -check.status.severity))
    if not ordered or all(check.status is Status.SKIPPED for check in ordered):
        return Assessment(Verdict.UNKNOWN, "", "", ordered)
    worst = ordered[0]
    verdict = {
        Status.FAIL: Verdict.INCOMPATIBLE,
        Status.UNKNOWN: Verdict.UNKNOWN,
        Status.WARN: Verdict.DEGRADED,
    }.get(worst.status, Verdict.COMPATIBLE)
    if verdict is Verdict.COMPATIBLE:
        return Assessment(verdict, "", "", ordered)
    return Assessment(verdict, worst.reason, worst.message, ordered)
