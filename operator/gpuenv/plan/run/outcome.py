"""What is known about the run of a probe pod at one moment: it runs, is stuck, or has ended."""

from dataclasses import dataclass
from typing import Any

from gpuenv.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Running:
    """The run is to be looked at again at ``until``. ``overdue``: its time is up, and its pod has to be ended."""

    until: float
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """The pod was deleted long ago and is still there."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over. ``reason`` and ``message`` say how the pod ended; they are empty when its reports are complete.

    ``answered``: the run leads to a result about the image on this node, and not to a mere attempt. ``facts`` and
    ``kernels`` are the decoded probe reports that there are. ``runtime_error`` is the message of the container runtime,
    which may name the cause.
    """

    reason: str = ""
    message: str = ""
    answered: bool = True
    facts: dict[str, Any] | None = None
    kernels: dict[str, Any] | None = None
    runtime_error: str = ""


Outcome = Running | Stuck | Ended


def attempt(reason: Reason, message: str, runtime_error: str = "") -> Ended:
    """Return an end that says nothing about the image."""
    return Ended(reason, message, answered=False, runtime_error=runtime_error)


def printable(text: str, limit: int = 200) -> str:
    """Return the first ``limit`` printable characters of an untrusted text."""
    return "".join(char for char in text[: 20 * limit] if char.isprintable())[:limit]
