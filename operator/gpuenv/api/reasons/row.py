"""The table of reasons: what its columns mean, and the two functions that add a row to it.

A reason is a plain string at run time, so that it goes into JSON, labels and Events as it is. mypy knows it as a type of
its own (:data:`Reason`), and refuses any other string where a reason is wanted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

Reason = NewType("Reason", str)

PAGE: Final = "docs/reasons.md"
"""The page with a section for every reason, from the root of the repository."""
OWN_RULE: Final = PAGE
"""Source of a reason that follows from a rule of gpuenv itself: no document of another project describes it."""
LAST: Final = 999
"""Depth of a reason that never explains another one."""


class NextRun(StrEnum):
    """When the probe runs again after a reason. The value completes the sentence "the probe runs again …"."""

    AT_ONCE = "as soon as a probe can start"
    CONFIRM = "once more at once, to confirm it"
    """A single run is not enough to say it. The verdict stays Unknown until a second run has found the same."""
    BACKOFF = "after a pause that doubles each time"
    """The run gave no answer, and the next one may well give one."""
    BLOCKED = "when the node can be probed again"
    """Nothing can run on the node at the moment. ``gpuenv wait`` does not wait for a run that was asked for there."""
    INTERVAL = "at the interval"
    """The same image on the same node gives the same answer until one of them changes."""
    ON_CHANGE = "after somebody changes the environment or its nodes"
    NONE = "-"
    """The reason says nothing about runs."""


class Start(StrEnum):
    """What a reason says about the start of CUDA. It matters where an error contradicts that CUDA was seen to start."""

    UNRELATED = "unrelated"
    """CUDA may have started or not."""
    PREVENTED = "prevented"
    """CUDA cannot start. Where it was seen to start, the error comes from another environment or library."""
    DOUBTFUL = "doubtful"
    """As PREVENTED, but programs also say it for other causes (a fork, the search of another library). Where CUDA was
    seen to start, such an error is no failure of the node."""
    GPU_GONE = "gpu-gone"
    """A GPU is out of reach. NVML says so, while CUDA starts on the other GPUs of the node."""


class Subject(StrEnum):
    """What a reason is about."""

    NODE = "node"
    """A check or a verdict: one image on one node."""
    ENVIRONMENT = "environment"
    """A condition in the status of an environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What gpuenv does because of a reason. No table of a user can change it.

    ``depth`` orders causes: of several checks with one status, the smallest depth leads the verdict, because it explains
    the others. No two reasons share a depth, except :data:`LAST`. The hundreds mean:

    - 1xx: hardware that is broken breaks everything above it;
    - 2xx: an image without CUDA, or for another processor, runs on no node;
    - 3xx: the way from the program to the driver;
    - 4xx: libraries and binaries that the build brings along;
    - 5xx: kernels, imports and checks that ran, and what was expected of them;
    - 6xx: what is not known, the most telling first.

    ``warns``: the Event about a verdict with this reason is a Warning. It is Normal where the reason passes by itself.
    """

    depth: int
    next_run: NextRun
    warns: bool
    start: Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Everything about one reason: what it means, why it occurs, what helps, where that is from, and what gpuenv does.

    ``platform_cure`` names the entry of ``cures`` in platforms.yaml with better words for a platform; "" if there is none.
    """

    subject: Subject
    behaviour: Behaviour
    meaning: str
    cause: str
    cure: str
    source: str
    platform_cure: str = ""


ROWS: Final[dict[str, Row]] = {}
"""The table: every reason with its row."""

UNLISTED: Final = Behaviour(depth=LAST, next_run=NextRun.NONE, warns=True, start=Start.UNRELATED)
"""Behaviour of a reason that is not in the table: an empty one, or one that another version of gpuenv has written."""


def behaviour(reason: str) -> Behaviour:
    """Return what gpuenv does because of ``reason``. Total: a reason from a stored report may be in no table."""
    row = ROWS.get(reason)
    return row.behaviour if row is not None else UNLISTED


def known(code: str) -> Reason | None:
    """Return ``code`` as a reason, or None if the table has no such reason."""
    return Reason(code) if code in ROWS else None


def section(reason: str) -> str:
    """Return where the page of reasons explains ``reason``: file and anchor, from the root of the repository."""
    return f"{PAGE}#{reason.lower()}"


def finding(
    code: str,
    *,
    behaviour: Behaviour,
    meaning: str,
    cause: str,
    cure: str,
    source: str,
    platform_cure: str = "",
) -> Reason:
    """Add a reason of checks and verdicts to the table."""
    row = Row(
        subject=Subject.NODE,
        behaviour=behaviour,
        meaning=meaning,
        cause=cause,
        cure=cure,
        source=source,
        platform_cure=platform_cure,
    )
    return _added(code, row)


def condition(
    code: str, *, next_run: NextRun, warns: bool, meaning: str, cause: str, cure: str, source: str
) -> Reason:
    """Add a reason of an environment's conditions to the table. Such a reason is no cause of anything on a node."""
    row = Row(
        subject=Subject.ENVIRONMENT,
        behaviour=Behaviour(depth=LAST, next_run=next_run, warns=warns, start=Start.UNRELATED),
        meaning=meaning,
        cause=cause,
        cure=cure,
        source=source,
    )
    return _added(code, row)


def _added(code: str, row: Row) -> Reason:
    if code in ROWS:
        raise ValueError(f"reason {code} has two rows")
    ROWS[code] = row
    return Reason(code)
