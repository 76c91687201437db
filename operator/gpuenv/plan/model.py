"""What the planner looks at, as slim and immutable records, and what it answers, as actions that are data.

Times are seconds since the epoch, as floats, and handed in: the planner has no clock. Records are replaced and never
changed, so two plans that see the same objects know that nothing changed. Desired states are reused that way, which
keeps a plan over 5,000 nodes and ten environments far below a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Check, Verdict

NEVER: Final = float("inf")
"""A time that does not come."""

ValidationKey = tuple[str, str]
"""(environment, node): names one validation, that is one environment on one node."""

# ---- what is seen ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """One GPUEnvironment. ``spec`` is None if it cannot be understood, and ``spec_error`` says why in one line.

    ``status`` is the raw status as it was read last. ``revalidate`` is the token of the annotation that asks for new
    runs. ``inputs_hash`` covers what can change a probe's outcome, ``expectations_hash`` what the outcome is compared
    with (:mod:`gpuenv.api.environment`).
    """

    name: str
    uid: str
    generation: int
    spec: EnvironmentSpec | None
    spec_error: str = ""
    inputs_hash: str = ""
    expectations_hash: str = ""
    revalidate: str = ""
    deleting: bool = False
    finalized: bool = False
    """Whether gpuenv's finalizer is on the object."""
    status: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node. ``devices`` has (capacity, allocatable) of each extended resource in its capacity, 0 included.

    ``labels`` are all labels but gpuenv's own. ``compat`` are gpuenv's labels by environment, ``compat_conditions`` the
    (status, reason) of its node conditions. ``hold`` says in one line why nothing may start on the node: it is
    cordoned, its driver is being upgraded, its disk is full and the like. It is "" if something may start.
    ``fingerprint`` identifies the node's state by uid, boot id and the driver that its labels name. What a probe saw
    is no part of it, because every run would then make the next one due.
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    devices: Mapping[str, tuple[int, int]]
    gpu_labels: bool
    """Whether labels of GPU Feature Discovery or of a cloud say that the node has GPUs."""
    facts: NodeFacts
    boot_id: str
    fingerprint: str
    ready: bool = True
    hold: str = ""
    taints: tuple[Mapping[str, str], ...] = ()
    compat: Mapping[str, str] = field(default_factory=dict)
    compat_conditions: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """The state of one probe container. ``exit_code`` is None until it terminates. The image controls ``message``."""

    waiting_reason: str = ""
    waiting_message: str = ""
    started_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One probe pod. ``vanished``: it is gone, and this is its last state."""

    name: str
    uid: str
    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    created_at: float
    revalidate: str = ""
    """The on-demand tokens that this run answers."""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    deleting_since: float | None = None
    vanished: bool = False
    scheduled_at: float | None = None
    scheduling_reason: str = ""
    """The reason of PodScheduled=False: ``Unschedulable``, ``SchedulingGated`` ..."""
    scheduling_message: str = ""
    sandbox_ready_at: float | None = None
    """When PodReadyToStartContainers became True. The time for the image pull starts here."""
    tells_sandbox: bool = True
    """Whether the kubelet sets that condition. Before 1.29 it does not, and set-up and image pull look the same."""
    disruption: str = ""
    """The reason of DisruptionTarget=True: ``PreemptionByScheduler``, ``EvictionByEvictionAPI`` ..."""
    facts: ContainerRecord = ContainerRecord()
    kernels: ContainerRecord = ContainerRecord()
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of the last run that said something about the image on the node, as it was assessed last.

    ``probe`` is the probe document (:mod:`gpuenv.assess.sources.probe_document`), compressed: assessing again needs it,
    and 50,000 of them must fit in memory. ``assessment_key`` covers expectations, knowledge and peers. ``unconfirmed``
    is a reason that a second run has yet to confirm: a wrong number, or a figure below what peers reach.
    """

    verdict: Verdict
    reason: str
    message: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    validated_at: float
    assessment_key: str
    probe: bytes = b""
    checks: tuple[Check, ...] = ()
    image_digest: str = ""
    platform: str = ""
    unconfirmed: str = ""
    pod_check: Check | None = None
    """What the pod's end says about this run, beside its reports: a timeout, a crash."""
    figures: tuple[tuple[str, str, str, float], ...] = ()
    """(kernel, dtype, product, median) of each benchmark, by which peers are compared."""
    versions: tuple[tuple[str, str], ...] = ()
    """(name, version) of what the image contains, by which nodes are compared."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last run that led to no result: it was refused, found no free GPU, timed out and the like."""

    run_id: str
    reason: str
    message: str
    remediation: str
    at: float
    inputs_hash: str
    fingerprint: str
    count: int
    """How many runs in a row led to no result. The back-off grows with it."""


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """One GPUNodeReport: the verdict, reason and message that it shows, and what they follow from."""

    name: str
    uid: str
    environment: str
    node: str
    node_uid: str
    verdict: Verdict
    reason: str
    message: str
    answered_generation: int
    result: Result | None = None
    attempt: Attempt | None = None
    runs: int = 0
    """The number of runs so far. The next run id contains it."""
    revalidate: str = ""
    """The token of the report's own annotation."""
    observed_revalidate: str = ""
    """A digest of the environment's and the report's tokens that the last run answered."""
    current: bool = False
    """Whether the condition ``Validated`` was True when it was written last: verdict, inputs and node go together."""
    current_since: float = 0.0
    """The transition time of that condition."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings that the planner needs."""

    max_probes: int = 50
    """The most probe pods at a time, over all environments."""
    probe_namespace: str = names.PROBE_NAMESPACE
    probe_priority_class: str = names.PROBE_PRIORITY_CLASS
    config_map: str = ""
    """The name of the ConfigMap with the probe's zip application."""
    leave_grace_seconds: float = 300.0
    """How long a node must have been outside the selection before its label is removed."""
    stuck_seconds: float = 120.0
    """How long a deleted pod may take to end before it counts as stuck."""
    retry_seconds: float = 60.0
    retry_max_seconds: float = 3600.0
    failed_pods_kept: int = 20
    """The most failed pods that one environment keeps for ``kubectl logs``."""
    openshift: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NewVerdict:
    """A report was written. ``before`` is the verdict that it showed until then, None for a first report."""

    before: Verdict | None


@dataclass(frozen=True, slots=True)
class Unannounced:
    """A new verdict that no Event about its environment has named yet. ``since`` is when a plan first saw it."""

    before: Verdict | None
    since: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the planner may look at. ``synced``: all four kinds have been listed since the operator started.

    ``left_since``: since when a node has been outside an environment's selection, as the last plan found.
    ``rejections``: probe pods that the API server refused, as attempts that are not in a report yet.
    ``refusals``: the API server's words about a report, label or node condition that it refused to store.
    ``new_verdicts``: reports that were written since the last plan. ``unannounced``: those that a plan has already
    seen, but whose verdict no Event about their environment has named yet.
    """

    environments: Mapping[str, EnvironmentRecord]
    nodes: Mapping[str, NodeRecord]
    pods: Mapping[str, PodRecord]
    reports: Mapping[ValidationKey, ReportRecord]
    settings: Settings
    synced: bool = True
    left_since: Mapping[ValidationKey, float] = field(default_factory=dict)
    rejections: Mapping[ValidationKey, Attempt] = field(default_factory=dict)
    refusals: Mapping[ValidationKey, str] = field(default_factory=dict)
    new_verdicts: Mapping[ValidationKey, NewVerdict] = field(default_factory=dict)
    unannounced: Mapping[ValidationKey, Unannounced] = field(default_factory=dict)


# ---- what is answered ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Start a run by creating this pod. That a pod of this name exists already counts as success."""

    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a probe pod gracefully, with its uid as precondition."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Write a report's whole status, and create the report first when it does not exist."""

    environment: str
    environment_uid: str
    node: str
    node_uid: str
    name: str
    exists: bool
    status: dict[str, Any]
    record: ReportRecord
    """The report after the write."""


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Set the label ``compat.gpuenv.dev/<environment>`` of a node, or remove it if ``value`` is None."""

    environment: str
    node: str
    node_uid: str
    value: str | None


@dataclass(frozen=True, slots=True)
class SetNodeCondition:
    """Set the node condition of an environment, or remove it if ``status`` is None."""

    environment: str
    node: str
    status: str | None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class LeaveNode:
    """Remove label, condition, report and pods from a node that left, once a live GET has confirmed that it did."""

    environment: str
    node: str
    node_uid: str
    gone: bool
    """Whether the node itself is gone, and not merely outside the selection."""


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Put gpuenv's finalizer on an environment, before anything is made for it."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Remove everything that was made for an environment that is being deleted, then its finalizer."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class OrphanedEnvironment:
    """Remove what is left of an environment that is gone, once a live GET has confirmed that it is."""

    environment: str


@dataclass(frozen=True, slots=True)
class PostEvent:
    """Post an Event about the object that ``kind``, ``name`` and ``uid`` name. ``type`` is Normal or Warning."""

    kind: str
    name: str
    uid: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the environment's whole status. ``events`` announce its new conditions, once it is written."""

    environment: str
    uid: str
    status: dict[str, Any]
    events: tuple[PostEvent, ...] = ()


ValidationAction = CreatePod | DeletePod | WriteReport | SetLabel | SetNodeCondition | LeaveNode
EnvironmentAction = AddFinalizer | Cleanup | OrphanedEnvironment | WriteStatus
Action = ValidationAction | EnvironmentAction | PostEvent


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and when to plan again at the latest.

    The actions of one validation are to be carried out in their order; nothing else depends on an order.
    ``left_since`` and ``unannounced`` are what the next snapshot says under these names.
    """

    environments: Mapping[str, EnvironmentAction] = field(default_factory=dict)
    validations: Mapping[ValidationKey, tuple[ValidationAction, ...]] = field(default_factory=dict)
    events: tuple[PostEvent, ...] = ()
    wake_at: float | None = None
    left_since: Mapping[ValidationKey, float] = field(default_factory=dict)
    unannounced: Mapping[ValidationKey, Unannounced] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    """Figures for metrics: nodes that are selected, running and waiting."""
    faults: tuple[str, ...] = ()
    """Bugs, a line each: validations whose planning raised an exception. They get no actions."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions: those about validations first, then Events, then those about whole environments."""
        about_validations = (action for actions in self.validations.values() for action in actions)
        return (*about_validations, *self.events, *self.environments.values())

    @property
    def unrecorded(self) -> frozenset[ValidationKey]:
        """Validations whose report this plan writes: until it is written, what it is made from must be kept."""
        return frozenset(
            key
            for key, actions in self.validations.items()
            if any(isinstance(action, WriteReport) for action in actions)
        )
