"""What the planner sees (records, slim and immutable) and what it answers (actions, as data).

Times are seconds since the epoch (float), handed in; the planner has no clock. Records are replaced, never
changed, so that identity tells whether anything is new: the desired states of validations whose records did not change are
reused between plans, which keeps a plan over 5,000 nodes and ten environments far below a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuenv.api import names
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Check, Verdict

# ---- what is seen ----------------------------------------------------------------------------------

ValidationKey = tuple[str, str]
"""(environment, node): names one validation, that is one environment on one node."""


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """One GPUEnvironment. ``spec`` is None where ``spec_error`` says in one line why it cannot be understood.

    ``status`` is the raw status as last read, for comparison and conditions' transition times. ``revalidate``
    is the annotation's token. ``inputs_hash`` covers what changes the probe's outcome and nothing else,
    ``expectations_hash`` covers ``expect`` and floors (:mod:`gpuenv.api.environment`).
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
    """Whether our finalizer is on the object."""
    status: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node, slim. ``devices``: each extended resource of *capacity* as (capacity, allocatable), also 0.

    ``labels`` are all labels except gpuenv's own; ``compat`` our own labels by environment,
    ``compat_conditions`` the (status, reason) of our own node conditions by environment. ``hold`` says in one line why
    the node is held off ("" when it is not): cordoned, driver upgrade or MIG change in progress, full disk,
    quarantine, ``gpuenv.dev/skip``. ``fingerprint`` hashes uid and boot id, and apart from them the driver version,
    from node-side facts only (a probe's own view would loop).
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    devices: Mapping[str, tuple[int, int]]
    gpu_labels: bool
    """GPU Feature Discovery's or a cloud's labels say that this node has GPUs."""
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
    """State of one probe container. ``exit_code`` None: not terminated. ``message`` is untrusted."""

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
    """One probe pod. ``vanished`` marks one that is known to be gone (a DELETED event carried this state)."""

    name: str
    uid: str
    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    created_at: float
    revalidate: str = ""
    """The on-demand token this run answers."""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    deleting_since: float | None = None
    vanished: bool = False
    scheduled_at: float | None = None
    scheduling_reason: str = ""
    """Reason of PodScheduled=False: ``Unschedulable``, ``SchedulingGated`` ..."""
    scheduling_message: str = ""
    sandbox_ready_at: float | None = None
    """When PodReadyToStartContainers became True: the pull clock starts here."""
    tells_sandbox: bool = True
    """False: the kubelet is too old for that condition (before 1.29), so set-up and pull cannot be told apart."""
    disruption: str = ""
    """Reason of the DisruptionTarget condition: ``PreemptionByScheduler``, ``EvictionByEvictionAPI`` ..."""
    facts: ContainerRecord = ContainerRecord()
    kernels: ContainerRecord = ContainerRecord()
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of the last run that said something about the image on the node, as assessed last.

    ``probe`` is what the report's status stores of both probe reports (:mod:`gpuenv.assess.sources.probe_document`), packed: a
    re-assessment needs it, and 50,000 of them must fit in memory. ``assessment_key`` covers expectations,
    knowledge and peers. ``unconfirmed`` is a reason (WrongResult, BelowFloor against peers) that a second run
    has yet to confirm.
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
    """What the pod itself told about this run (a timeout, a crash), beside its reports."""
    figures: tuple[tuple[str, str, str, float], ...] = ()
    """(kernel, dtype, product, median) of each benchmark: what peers are compared by."""
    versions: tuple[tuple[str, str], ...] = ()
    """What the image contains, by name (torch, CUDA, cuDNN, Python): what nodes are compared by."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last try that ended without an answer (busy, rejected, timed out ...), for back-off and display."""

    run_id: str
    reason: str
    message: str
    remediation: str
    at: float
    inputs_hash: str
    fingerprint: str
    count: int
    """Consecutive tries without result; the back-off grows with it."""


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """One GPUNodeReport: what is displayed (verdict, reason, message) and what it was derived from."""

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
    """Number of tries so far: part of the next run id."""
    revalidate: str = ""
    """Token of the report's own annotation."""
    observed_revalidate: str = ""
    """Digest of the environment's and the report's tokens that the last run answered."""
    current: bool = False
    """Status of the condition ``Validated`` as last written: the verdict is of current inputs and node."""
    current_since: float = 0.0
    """Its transition time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's own settings, as far as the planner needs them."""

    max_probes: int = 50
    """Cap on probe pods over all environments."""
    probe_namespace: str = names.PROBE_NAMESPACE
    probe_priority_class: str = names.PROBE_PRIORITY_CLASS
    config_map: str = ""
    """Name of the immutable ConfigMap with the zip application."""
    leave_grace_seconds: float = 300.0
    """How long a node must have left the selection before its label goes."""
    stuck_seconds: float = 120.0
    """How long a deleted pod may take to go before it counts as stuck."""
    retry_seconds: float = 60.0
    retry_max_seconds: float = 3600.0
    failed_pods_kept: int = 20
    """Failed pods kept for ``kubectl logs``, per environment."""
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
    """Everything the planner may look at. ``synced``: all four kinds have been listed since start.

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
    """Start a run: create this pod (a ready-made manifest). An existing pod of that name is success."""

    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a probe pod of ours, gracefully, with its uid as precondition."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Create the report when it does not exist, and write this status (whole, a merge patch on /status)."""

    environment: str
    environment_uid: str
    node: str
    node_uid: str
    name: str
    exists: bool
    status: dict[str, Any]
    record: ReportRecord
    """What the cache may hold at once, so that the next plan does not wait for the watch."""


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Write ``compat.gpuenv.dev/<environment>`` on a node (merge patch of that key and uid); None removes."""

    environment: str
    node: str
    node_uid: str
    value: str | None


@dataclass(frozen=True, slots=True)
class SetNodeCondition:
    """Write the opt-in node condition; ``status`` None removes it."""

    environment: str
    node: str
    status: str | None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class LeaveNode:
    """The node seems gone or deselected: confirm with a live GET, then remove label, report and pods."""

    environment: str
    node: str
    node_uid: str
    gone: bool
    """True: the node is absent from the cache; act only when the live GET says 404 (or another uid)."""


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Put our finalizer on an environment before anything is made for it."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Remove all that was made for a deleted environment (pods, labels, conditions, reports), then let go."""

    environment: str
    uid: str


@dataclass(frozen=True, slots=True)
class OrphanedEnvironment:
    """Labels, reports or pods name an environment nobody knows: confirm by live GET (404), then clean up."""

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


Action = (
    CreatePod | DeletePod | WriteReport | SetLabel | SetNodeCondition | LeaveNode | AddFinalizer | Cleanup
    | OrphanedEnvironment | WriteStatus | PostEvent
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions, in the order in which they should be taken up, and when to plan again at the latest.

    ``left_since`` and ``unannounced`` are what the next snapshot says under these names.
    """

    actions: tuple[Action, ...]
    wake_at: float | None
    left_since: Mapping[ValidationKey, float]
    unannounced: Mapping[ValidationKey, Unannounced] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    """Figures for metrics: nodes that are selected, running and waiting."""
    faults: tuple[str, ...] = ()
    """Bugs, a line each: validations whose planning raised an exception. They get no actions in this plan."""

    @property
    def unrecorded(self) -> frozenset[ValidationKey]:
        """Validations whose report this plan writes: until it is written, what it is made from must be kept."""
        writes = (action for action in self.actions if isinstance(action, WriteReport))
        return frozenset((action.environment, action.node) for action in writes)
