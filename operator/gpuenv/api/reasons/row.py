"""The row of a reason, its fields, and the two functions that define a reason.

At run time, a reason is a plain string, so that it can be written into JSON, labels and Events without conversion. For
mypy it is the type :data:`Reason`, so that another string is an error where a reason is expected.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from gpuenv.api.remedies import Action

Reason = NewType("Reason", str)

PAGE: Final = "docs/reasons.md"
"""Path of the page that has a section for every reason, relative to the root of the repository."""
OWN_RULE: Final = PAGE
"""The ``source`` of a reason that follows from gpuenv's own rules and is described in no external document."""
LAST: Final = 999
"""The ``depth`` of a reason that never explains another reason."""


class NextRun(StrEnum):
    """The time at which the probe runs again after a run that ended with a reason.

    The value completes the sentence "the probe runs again …".
    """

    AT_ONCE = "as soon as a probe can start"
    CONFIRM = "once more at once, to confirm it"
    """One run is not enough evidence. The verdict stays Unknown until a second run has found the same reason."""
    BACKOFF = "after a pause that doubles each time"
    """The run led to no verdict, but the next run probably will."""
    BLOCKED = "when the node can be probed again"
    """No probe can run on the node for now. ``gpuenv wait`` does not wait for requested runs on such a node."""
    INTERVAL = "at the interval"
    """At the revalidation interval, or when the image or the node changes: until then a run would lead to the same verdict."""
    ON_CHANGE = "after somebody changes the environment or its nodes"
    NONE = "-"
    """The reason does not decide when the next run starts."""


class Start(StrEnum):
    """The effect of a reason on the start of CUDA: it prevents the start, may prevent it, or has no effect.

    gpuenv uses the effect when an error says that CUDA cannot start, but other facts say that it did start.
    """

    UNRELATED = "unrelated"
    """The reason does not depend on whether CUDA started."""
    PREVENTED = "prevented"
    """CUDA cannot start. If other facts say that it did, the error is about another environment or library."""
    DOUBTFUL = "doubtful"
    """CUDA may be unable to start: programs also print the error for other causes, such as a fork.

    If other facts say that CUDA started, such an error does not count as a failure of the node.
    """
    GPU_GONE = "gpu-gone"
    """One GPU cannot be reached. NVML reports this GPU, while CUDA starts on the other GPUs of the node."""


class Subject(StrEnum):
    """The kind of object in whose status a reason appears."""

    NODE = "node"
    """The reason of a check or a verdict, which is about one image on one node."""
    ENVIRONMENT = "environment"
    """The reason of a condition in the status of an environment."""


class Part(StrEnum):
    """A part of an image or a node whose replacement can solve a problem.

    The engine tries replacements out on the facts before it names one (:mod:`gpuenv.assess.cures`).
    """

    LIBCUDA = "libcuda"
    """A libcuda in the image that is older than the driver. It is removed, so that programs find the driver's own."""
    COMPAT_LIBRARY = "compat-library"
    """The libcuda of a cuda-compat package in the image. It is removed, so that programs find the driver's own."""
    DRIVER = "driver"
    """The driver of the node."""
    TOOLKIT_DRIVER = "toolkit-driver"
    """The driver of the node, by one that is at least as new as that of the image's CUDA toolkit."""
    BUILD = "build"
    """The PyTorch build."""
    BUILD_FOR_GPU = "build-for-gpu"
    """The PyTorch build, by one with native code for the GPUs. None can be named if no GPU is known."""
    FORWARD_COMPAT = "forward-compat"
    """The driver's libcuda, by that of the cuda-compat package."""
    DRIVER_RULE = "driver-rule"
    """``expect.driverRule`` of the environment."""


ACTIONS: Final[dict[Part, tuple[Action, ...]]] = {
    Part.LIBCUDA: (Action.REPAIR_IMAGE,),
    Part.COMPAT_LIBRARY: (Action.REPAIR_IMAGE,),
    Part.DRIVER: (Action.UPGRADE_DRIVER, Action.CHANGE_DRIVER),
    Part.TOOLKIT_DRIVER: (Action.UPGRADE_DRIVER,),
    Part.BUILD: (Action.CHANGE_IMAGE,),
    Part.BUILD_FOR_GPU: (Action.CHANGE_IMAGE,),
    Part.FORWARD_COMPAT: (Action.REPAIR_IMAGE,),
    Part.DRIVER_RULE: (Action.CHANGE_ENVIRONMENT,),
}
"""Maps each part to the actions that replace it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The way in which gpuenv reacts to a reason. Tables that a user supplies cannot change it.

    ``depth`` orders causes. Of several checks with the same status, the one with the smallest depth gives the verdict
    its reason, because it explains the others. No two reasons share a depth, except :data:`LAST`. The hundreds mean:

    - 1xx: broken hardware, which breaks everything above it;
    - 2xx: an image that runs on no node, because it has no CUDA or is made for another processor;
    - 3xx: the path from the program to the driver;
    - 4xx: libraries and binaries that are part of the build;
    - 5xx: kernels, imports and commands that ran, and expectations that were not met;
    - 6xx: missing knowledge, the most informative reason first.

    ``warns`` True means that the Event about a verdict with this reason has the type Warning. It is False, and the type
    is Normal, if the problem goes away by itself or never changes a verdict.

    ``excused`` True means that a run without an answer for this reason says nothing against its environment: the
    cluster had no place for the probe pod, or took it away. Other such runs make an environment silent
    (:mod:`gpuenv.plan.fleet.places`).
    """

    depth: int
    next_run: NextRun
    warns: bool
    start: Start
    excused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The definition of one reason: its meaning, cause, cure and source, and gpuenv's behaviour.

    ``action`` and ``cure`` are the remedy of the reason, for programs and for people. ``action`` None means that a check
    with this reason has no remedy: nothing has to be done, or the reason is one of an environment's conditions.
    ``platform_cure`` is the name of an entry of ``cures`` in platforms.yaml, which words the cure for single platforms,
    such as GKE. It is "" if there is no such entry.
    ``solved_by`` are the parts whose replacement can solve the problem, in the order in which replacements are offered.
    ``build_cure`` is the beginning of the sentence that offers another PyTorch build, with ``{build}`` for its name.
    """

    subject: Subject
    behaviour: Behaviour
    meaning: str
    cause: str
    cure: str
    source: str
    action: Action | None = None
    platform_cure: str = ""
    solved_by: tuple[Part, ...] = ()
    build_cure: str = ""

    @property
    def actions(self) -> frozenset[Action]:
        """The actions of all remedies that a check with this reason can have, except those of single errors."""
        own = [self.action] if self.action is not None else []
        return frozenset(own).union(*(ACTIONS[part] for part in self.solved_by))


ROWS: Final[dict[str, Row]] = {}
"""Maps every reason to its row."""

UNLISTED: Final = Behaviour(depth=LAST, next_run=NextRun.NONE, warns=True, start=Start.UNRELATED)
"""Behaviour of an unknown reason: an empty text, or a reason that another version of gpuenv has written."""


def behaviour(reason: str) -> Behaviour:
    """Return the way in which gpuenv reacts to ``reason``, which may be any string.

    The behaviour of an unknown reason is :data:`UNLISTED`: a stored node report can contain a reason that this version
    of gpuenv does not know.
    """
    row = ROWS.get(reason)
    return row.behaviour if row is not None else UNLISTED


def known(code: str) -> Reason | None:
    """Return ``code`` as a reason, or None if no such reason is defined."""
    return Reason(code) if code in ROWS else None


def section(reason: str) -> str:
    """Return the link to the section about ``reason``: path and anchor, relative to the root of the repository."""
    return f"{PAGE}#{reason.lower()}"


def finding(
    code: str,
    *,
    behaviour: Behaviour,
    meaning: str,
    cause: str,
    action: Action | None,
    cure: str,
    source: str,
    platform_cure: str = "",
    solved_by: tuple[Part, ...] = (),
    build_cure: str = "",
) -> Reason:
    """Define a reason of checks and verdicts: add its row to :data:`ROWS` and return it."""
    row = Row(
        subject=Subject.NODE,
        behaviour=behaviour,
        meaning=meaning,
        cause=cause,
        action=action,
        cure=cure,
        source=source,
        platform_cure=platform_cure,
        solved_by=solved_by,
        build_cure=build_cure,
    )
    return _added(code, row)


def condition(
    code: str, *, next_run: NextRun, warns: bool, meaning: str, cause: str, cure: str, source: str
) -> Reason:
    """Define a reason of an environment's conditions: add its row to :data:`ROWS` and return it.

    Such a reason never explains the check of a node, so its depth is :data:`LAST`.
    """
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
