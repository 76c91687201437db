"""An assessment: checks, each with a status and a reason, and the verdict that follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """The answer for one environment on one node, spelt the same in status, labels and JSON."""

    COMPATIBLE = "Compatible"
    DEGRADED = "Degraded"
    INCOMPATIBLE = "Incompatible"
    UNKNOWN = "Unknown"

    @property
    def severity(self) -> int:
        """How bad the verdict is; a greater number is worse. Of several nodes, the worst verdict speaks for all."""
        return _VERDICT_SEVERITY[self]


_VERDICT_SEVERITY: Final = {
    Verdict.COMPATIBLE: 0, Verdict.DEGRADED: 1, Verdict.UNKNOWN: 2, Verdict.INCOMPATIBLE: 3,
}  # fmt: skip


class Status(StrEnum):
    """The outcome of one check.

    A kernel that did not run is never ``Pass``; one that could not run is never ``Fail``.
    """

    FAIL = "Fail"
    """The image does not work on the node as expected: the verdict is Incompatible."""
    UNKNOWN = "Unknown"
    """Something that matters is not known: the verdict is Unknown unless a check fails."""
    WARN = "Warn"
    """The image works, but worse than expected: the verdict is Degraded."""
    NOTE = "Note"
    """This is worth knowing; the verdict does not change."""
    SKIPPED = "Skipped"
    """This does not apply here, or nobody asked for it; the verdict does not change."""
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

    ``name`` is a constant of :mod:`gpuenv.api.check_names` (``driver-version``, ``kernel-matmul-fp32``), ``reason`` one
    of :mod:`gpuenv.api.reasons` (empty on Pass), ``message`` what was seen (with the figures),
    ``remediation`` what the reader can do, ``source`` where the rule comes from.
    """

    name: str
    status: Status
    reason: str = ""
    message: str = ""
    remediation: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A verdict, the reason and message of the worst check (both empty if Compatible), and all checks, the worst
    first.
    """

    verdict: Verdict
    reason: str
    message: str
    checks: tuple[Check, ...]


def decide(checks: Iterable[Check]) -> Assessment:
    """Return the assessment of these checks: they are ordered worst first, and the worst one decides the verdict.

    No check at all, or nothing but Skipped ones, is Unknown: what did not run is never a pass.
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
