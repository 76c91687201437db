"""The outcome of a probe pod's run at one point in time: it is running, stuck, or has ended."""

from dataclasses import dataclass
from typing import Any

from gpuenv.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Running:
    """The run has not ended; it has to be looked at again at ``until``, in steady seconds.

    ``overdue``: a stage has exceeded its time limit, so the pod has to be deleted.
    """

    until: float
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """The pod was deleted, but has not ended long after its grace period."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has ended. ``reason`` and ``message`` say what went wrong with its pod; "" if nothing did.

    ``answered``: the run leads to a result about the image on this node; False: it leads to an attempt only.
    ``facts`` and ``kernels`` are the decoded probe reports, None if missing. ``runtime_error`` is the error message of
    the container runtime, which may name the cause, or "".
    """

    reason: str = ""
    message: str = ""
    answered: bool = True
    facts: dict[str, Any] | None = None
    kernels: dict[str, Any] | None = None
    runtime_error: str = ""


Outcome = Running | Stuck | Ended


def attempt(reason: Reason, message: str, runtime_error: str = "") -> Ended:
    """Return the outcome of a run that found out nothing about the image, for example because its pod was evicted."""
    return Ended(reason, message, answered=False, runtime_error=runtime_error)
