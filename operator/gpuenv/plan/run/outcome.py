"""What a probe pod amounts to at one moment."""

from dataclasses import dataclass
from typing import Any

from gpuenv.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Running:
    """Nothing to conclude before ``until`` (epoch seconds). ``overdue``: time to end it, so that it reports."""

    until: float
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """It was deleted long ago and does not go."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over. ``reason`` and ``message`` are what the pod itself told, empty when its reports say it all.

    ``answered``: the run said something about the image on this node (a result); otherwise it was a mere attempt.
    ``facts`` and ``kernels`` are the decoded reports, as far as there are any. ``runtime_error``: the container runtime's
    words, which may name the cause.
    """

    reason: str = ""
    message: str = ""
    answered: bool = True
    facts: dict[str, Any] | None = None
    kernels: dict[str, Any] | None = None
    runtime_error: str = ""


Outcome = Running | Stuck | Ended


def attempt(reason: Reason, message: str, runtime_error: str = "") -> Ended:
    """An end without any word about the image."""
    return Ended(reason, message, answered=False, runtime_error=runtime_error)


def printable(text: str, limit: int = 200) -> str:
    """The first ``limit`` printable characters of a text that nobody vouches for."""
    return "".join(char for char in text[: 20 * limit] if char.isprintable())[:limit]
