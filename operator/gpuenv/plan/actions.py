"""The planner's output: a plan, which holds the actions that the controller has to carry out, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpuenv.plan.demand import NOTHING_ASKED, Demand
from gpuenv.plan.snapshot import ReportRecord, Unannounced, Usage, ValidationKey


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create the probe pod of a run. If a pod of this name exists already, that counts as success.

    ``demand`` holds the revalidate annotations that the run takes into account.
    """

    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    manifest: dict[str, Any]
    demand: Demand = NOTHING_ASKED


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a probe pod gracefully, but only if it still has this uid. ``why`` is the reason, for the log."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class LookAtPod:
    """Read a probe pod from the API server, because the cache alone does not allow a decision about its run.

    A time limit is over, but a watch that delivers nothing must not end runs. Or the pod's creation has no answer yet.
    The next plan decides by what has been read.
    """

    environment: str
    node: str
    name: str


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Write the whole status of a node report. If ``exists`` is False, create the report first."""

    environment: str
    environment_uid: str
    node: str
    node_uid: str
    name: str
    exists: bool
    status: dict[str, Any]
    record: ReportRecord
    """The record that the report has after the write."""


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Set the label ``compat.gpuenv.dev/<environment>`` of a node, or remove it if ``value`` is None."""

    environment: str
    node: str
    node_uid: str
    value: str | None


@dataclass(frozen=True, slots=True)
class SetNodeCondition:
    """Set the condition of an environment on a node, or remove it if ``status`` is None."""

    environment: str
    node: str
    status: str | None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class LeaveNode:
    """Remove label, condition, report and pods of an environment from a node that is no longer selected.

    The executor first confirms by a live GET that the node has left the selection, or the cluster.
    """

    environment: str
    node: str
    node_uid: str
    gone: bool
    """Whether the node itself no longer exists; False: it exists, but the environment does not select it."""


@dataclass(frozen=True, slots=True)
class MarkLeaving:
    """Note in a node report since when its node has been outside the selection, so that a restart forgets nothing."""

    environment: str
    node: str
    name: str
    """The name of the node report."""
    since: float


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Put gpuenv's finalizer on an environment, before anything is created for it."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Remove everything that was created for an environment that is being deleted, then remove its finalizer."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class OrphanedEnvironment:
    """Remove the labels, conditions, reports and pods of an environment that no longer exists.

    The executor first confirms by a live GET that the environment does not exist.
    """

    environment: str


@dataclass(frozen=True, slots=True)
class PostEvent:
    """Post a Kubernetes Event about the object with this kind, name and uid. ``type`` is Normal or Warning."""

    kind: str
    name: str
    uid: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the whole status of an environment, then post ``events``, which announce its changed conditions."""

    environment: str
    uid: str
    status: dict[str, Any]
    events: tuple[PostEvent, ...] = ()


ValidationAction = (
    CreatePod | DeletePod | LookAtPod | WriteReport | SetLabel | SetNodeCondition | LeaveNode | MarkLeaving
)
EnvironmentAction = AddFinalizer | Cleanup | OrphanedEnvironment | WriteStatus
ChainAction = ValidationAction | EnvironmentAction
"""An action that the executor carries out in a chain with others. Events are posted apart from chains."""
Action = ChainAction | PostEvent


class NodeCounts(NamedTuple):
    """The number of nodes that an environment selects, by what happens there. Each node is counted once."""

    running: int
    """Nodes on which a probe runs."""
    waiting: int
    """Nodes whose verdict depends on a run that has not started yet."""
    settled: int
    """Nodes that have their answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions to carry out, and when the next plan is needed.

    ``wake_at`` is the latest time of the next plan in steady seconds, None if there is no such time. The actions of one
    validation must be carried out in the given order; all others may be carried out in any order.
    ``left_since``, ``unannounced`` and ``usage`` are the values of the fields of these names in the next snapshot.
    """

    environments: Mapping[str, EnvironmentAction] = field(default_factory=dict)
    validations: Mapping[ValidationKey, tuple[ValidationAction, ...]] = field(default_factory=dict)
    events: tuple[PostEvent, ...] = ()
    wake_at: float | None = None
    left_since: Mapping[ValidationKey, float] = field(default_factory=dict)
    unannounced: Mapping[ValidationKey, Unannounced] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    counts: Mapping[str, NodeCounts] = field(default_factory=dict)
    """The counts of the nodes of each environment, for metrics."""
    held: Mapping[str, int] = field(default_factory=dict)
    """The number of nodes of each environment whose label or condition a mass change holds back, for metrics."""
    faults: tuple[str, ...] = ()
    """Bugs, one line each: validations for which planning raised an exception, so that they get no actions."""
    put_off: int = 0
    """How many results this plan had no time to assess. The next plan, which is due at once, goes on with them."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions: those about validations first, then Events, then those about whole environments."""
        about_validations = (action for actions in self.validations.values() for action in actions)
        return (*about_validations, *self.events, *self.environments.values())

    @property
    def unrecorded(self) -> frozenset[ValidationKey]:
        """The validations whose report this plan writes.

        Until the report is written, the records of pods that no longer exist and of refused pods must be kept, because
        the report is computed from them.
        """
        return frozenset(
            key
            for key, actions in self.validations.items()
            if any(isinstance(action, WriteReport) for action in actions)
        )
