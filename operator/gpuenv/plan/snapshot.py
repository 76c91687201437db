"""The planner's input: a snapshot with an immutable record for each object in the cluster, and the settings.

All times are floats, in seconds since the epoch, with one exception: how long something has lasted is measured in steady
seconds, those of the operator's monotonic clock (:mod:`gpuenv.plan.moment`). Records are replaced and never changed, so
the planner sees from the identity of a record that the object has not changed, and reuses the desired states of its last
plan. This keeps a plan for 5,000 nodes and ten environments far below a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpuenv.api.remedies import Remedies
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Check, Verdict
from gpuenv.plan.demand import NOTHING_ASKED, Demand
from gpuenv.plan.settings import Settings

NEVER: Final = float("inf")
"""The time of something that never happens."""

ValidationKey = tuple[str, str]
"""(environment, node): the two names that identify a validation."""


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """One GPUEnvironment. ``spec`` is None if it is invalid, and ``spec_error`` then says why in one line.

    ``status`` is the object's status as JSON. ``revalidate`` is the value of the annotation ``gpuenv.dev/revalidate``:
    a new value asks for new runs. ``inputs_hash`` is a digest of everything in the spec that can change what a run
    finds, ``expectations_hash`` of everything that its findings are compared with (:mod:`gpuenv.api.spec.environment`).
    """

    name: str
    uid: str
    generation: int
    spec: EnvironmentSpec | None
    spec_error: str = ""
    inputs_hash: str = ""
    expectations_hash: str = ""
    revalidate: str = ""
    accept_change: str = ""
    """The value of the annotation ``gpuenv.dev/accept-change``: the id of the mass change that may happen."""
    deleting: bool = False
    finalized: bool = False
    """Whether gpuenv's finalizer is on the object."""
    created_at: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node of the cluster.

    ``devices`` maps each extended resource in the node's capacity, even if that is 0, to (capacity, allocatable).
    ``labels`` are all labels except gpuenv's own. ``compat`` maps environments to the values of gpuenv's labels,
    ``compat_conditions`` to the (status, reason) of gpuenv's node conditions. ``hold`` says in one line why no run may
    start on the node (it is cordoned, its driver is being upgraded, its disk is full ...); "" if runs may start.
    ``fingerprint`` is a digest of the node's uid, boot id and the driver version in its labels. It covers nothing that
    a run found, because otherwise every run would make the next one due.
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    devices: Mapping[str, tuple[int, int]]
    gpu_labels: bool
    """Whether labels of GPU Feature Discovery or of a cloud provider say that the node has GPUs."""
    facts: NodeFacts
    boot_id: str
    fingerprint: str
    ready: bool = True
    hold: str = ""
    taints: tuple[Mapping[str, str], ...] = ()
    user_namespace_handlers: frozenset[str] = frozenset()
    """The names of the container runtime's handlers that support user namespaces; "" is the default handler."""
    compat: Mapping[str, str] = field(default_factory=dict)
    compat_conditions: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """The state of one container of a probe pod. ``exit_code`` is None until the container terminates.

    ``message`` is the termination message. The user's image controls it, so it is not to be trusted.
    """

    waiting_reason: str = ""
    waiting_message: str = ""
    started_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """When the operator first saw each state of a probe pod, in steady seconds; None for a state that it has not seen.

    :mod:`gpuenv.plan.run.first_seen` fills it in. ``over``: the pod had ended or no longer existed.
    """

    created: float = 0.0
    scheduled: float | None = None
    sandbox_ready: float | None = None
    facts_started: float | None = None
    facts_finished: float | None = None
    kernels_started: float | None = None
    deleting: float | None = None
    over: float | None = None
    ended_first: bool = False
    """Whether the operator saw that the pod had ended before anybody had deleted it."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One probe pod. If ``vanished`` is True, the pod no longer exists, and the record is its last known state.

    ``uid`` is "" as long as the API server has not answered the request that creates the pod.
    """

    name: str
    uid: str
    environment: str
    node: str
    run_id: str
    inputs_hash: str
    fingerprint: str
    created_at: float
    seen: FirstSeen = FirstSeen()
    demand: Demand = NOTHING_ASKED
    """The revalidate annotations that this run takes into account."""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    deleting_since: float | None = None
    deletion_grace: float = 0.0
    """The grace period of the deletion in seconds."""
    vanished: bool = False
    scheduled_at: float | None = None
    """When the pod was bound to its node, by the clock of the API server."""
    accepted_at: float | None = None
    """When the kubelet accepted the pod, by the clock of the node, as in the states of the containers."""
    scheduling_reason: str = ""
    """The reason of the pod condition PodScheduled=False (``Unschedulable``, ``SchedulingGated`` ...), or ""."""
    scheduling_message: str = ""
    sandbox_ready_at: float | None = None
    """When the pod condition PodReadyToStartContainers became True. The time limit for the image pull starts here."""
    has_sandbox_condition: bool = True
    """Whether the kubelet sets PodReadyToStartContainers; True also while the pod has no container status yet.

    Kubelets before 1.29 do not set it. The set-up of the pod then cannot be distinguished from the image pull.
    """
    disruption: str = ""
    """The reason of the pod condition DisruptionTarget=True (``PreemptionByScheduler`` ...), or ""."""
    facts: ContainerRecord = ContainerRecord()
    kernels: ContainerRecord = ContainerRecord()
    image_id: str = ""
    devices: int = 0
    """How many GPUs, or other extended resources, the pod holds once it is scheduled."""
    user_namespace: bool = False
    """Whether the pod has a user namespace of its own."""
    confirmed: bool = False
    """Whether a request of the operator has read the pod in this state, so that the state is no gap in the watch."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of the last run that found out something about the image on the node, with its latest assessment.

    ``probe`` is the probe document (:mod:`gpuenv.assess.sources.probe.probe_document`), from which the result can be assessed
    again. It is compressed, because 50,000 of them must fit in memory. ``assessment_key`` is a digest of the
    expectations, the tables and the medians of peers on which the verdict is based. ``unconfirmed`` is a reason that a
    second run must confirm (a kernel computed a wrong number, or a benchmark is slower than on peers), or "".
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
    """The check that follows from how the pod ended (a timeout, a crash ...), None if the pod ended well."""
    figures: tuple[tuple[str, str, str, float], ...] = ()
    """(benchmark, data type, GPU product, median) of each figure, to be compared with other nodes."""
    versions: tuple[tuple[str, str], ...] = ()
    """(name, version) of the driver and of everything in the image, as ``spec.expect`` names them, sorted by name."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last run, if it led to no result: its pod was refused, found no free GPU, was evicted and so on."""

    run_id: str
    reason: str
    message: str
    remedies: Remedies
    at: float
    inputs_hash: str
    fingerprint: str
    count: int
    """How many runs in a row led to no result. The pause before the next run grows with this number."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A run whose probe pod the API server refused to create, with the revalidate annotations that the run stood for."""

    attempt: Attempt
    demand: Demand = NOTHING_ASKED


@dataclass(frozen=True, slots=True)
class Departure:
    """How a node stopped being Compatible although nobody had changed the environment.

    ``cause`` says what changed in a few words, which all nodes with the same cause share. ``accepted_change`` is the
    number of the last mass change that had been accepted by then (:mod:`gpuenv.plan.objects.environment_memory`).
    """

    at: float
    cause: str
    accepted_change: int = 0


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """One GPUNodeReport: the verdict, reason and message that it shows, and the result and attempt behind them."""

    name: str
    uid: str
    environment: str
    node: str
    node_uid: str
    verdict: Verdict
    reason: str
    message: str
    environment_generation: int
    """The generation of the environment that the report answers."""
    result: Result | None = None
    attempt: Attempt | None = None
    runs: int = 0
    """The number of runs so far. The id of the next run is a digest that includes this number."""
    revalidate: str = ""
    """The value of the annotation ``gpuenv.dev/revalidate`` on the report itself."""
    observed_demand: Demand = NOTHING_ASKED
    """The revalidate annotations that the last run took into account."""
    owes_answer: bool = False
    """Whether a run that a revalidate annotation asked for led to no result, and no later run led to one either.

    A verdict other than Unknown is then older than what was asked.
    """
    current: bool = False
    """Whether the condition ``Validated`` was last written as True: the shown verdict was that of a current result."""
    current_since: float = 0.0
    """The last transition time of the condition ``Validated``; 0 if there is none."""
    verdict_since: float = 0.0
    """The last transition time of the condition ``Compatible``; 0 if there is none."""
    departure: Departure | None = None
    """How the node stopped being Compatible; None if it is, if it never was, or if somebody wanted the change."""
    left_since: float | None = None
    """Since when the node has been outside the selection, or gone; None if it is selected or has left just now."""
    generation: int = 1
    """The generation of the report object itself. It stays 1, because nobody can change what a report is about."""

    @property
    def last_run_at(self) -> float:
        """When the last run ended, in epoch seconds; 0 if none has ended."""
        return max(
            self.attempt.at if self.attempt is not None else 0.0,
            self.result.validated_at if self.result is not None else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """The GPU-seconds that probe pods of an environment have used since midnight UTC (``since``, in epoch seconds).

    ``counted`` holds the uids of the pods that have ended and still exist. They are part of a sum already.
    """

    since: float
    seconds: int
    counted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class NewVerdict:
    """Marks a node report that was written since the last plan.

    ``before`` is the verdict that the report showed before the write, None if the write created the report.
    """

    before: Verdict | None


@dataclass(frozen=True, slots=True)
class Unannounced:
    """Marks a node report whose new verdict no Event about its environment has announced yet.

    ``before`` is the verdict that the report showed before, None if it showed none. ``since`` is the time of the first
    plan that saw the new verdict, in steady seconds.
    """

    before: Verdict | None
    since: float


_REFUSES_CONTENT: Final = frozenset({400, 413, 422})
"""HTTP statuses with which the API server refuses what an object contains."""
_FORBIDDEN: Final = 403
"""HTTP status with which the API server, a policy or a webhook refuses the operator any write of this kind."""
_TOO_LARGE: Final = "request is too large"
"""Part of etcd's answer to an object that exceeds its limit. The API server passes it on with the HTTP status 500."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's answer to a write that it refused: of a status, or else of a label or node condition.

    ``code`` is the HTTP status. ``message`` is one line of limited length. ``often``: several tries in a row have failed.
    """

    message: str
    of_status: bool = True
    code: int = 0
    often: bool = False

    @property
    def lasts(self) -> bool:
        """Return whether a status is refused until somebody changes something, such as a permission or the status.

        After several tries nobody knows when another error ends, so it counts as lasting, too.
        """
        return self.of_content or (self.of_status and (self.often or self.code == _FORBIDDEN))

    @property
    def of_content(self) -> bool:
        """Return whether the status is refused for what it says, so that another status may be stored."""
        too_large = self.code == 500 and _TOO_LARGE in self.message
        return self.of_status and (self.code in _REFUSES_CONTENT or too_large)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a plan is computed from, besides the time and the knowledge tables.

    ``steady`` is when the snapshot was taken, in steady seconds. ``synced``: environments, nodes, pods and reports have
    all been listed since the operator started.
    ``left_since``: since when a node has been outside an environment's selection, according to the last plan (in steady
    seconds).
    ``rejections``: probe pods that the API server refused to create, and that no report mentions yet.
    ``refusals``: the statuses, labels and node conditions that the API server refused to store. The key of an
    environment's status has "" in place of the node.
    ``new_verdicts``: the reports that were written since the last plan.
    ``usage``: the GPU-seconds that environments have used today, according to the last plan.
    ``unannounced``: reports that an earlier plan has seen, but whose verdict no Event of their environment announces.
    """

    environments: Mapping[str, EnvironmentRecord]
    nodes: Mapping[str, NodeRecord]
    pods: Mapping[str, PodRecord]
    reports: Mapping[ValidationKey, ReportRecord]
    settings: Settings
    steady: float = 0.0
    synced: bool = True
    left_since: Mapping[ValidationKey, float] = field(default_factory=dict)
    rejections: Mapping[ValidationKey, Rejection] = field(default_factory=dict)
    refusals: Mapping[ValidationKey, Refusal] = field(default_factory=dict)
    new_verdicts: Mapping[ValidationKey, NewVerdict] = field(default_factory=dict)
    unannounced: Mapping[ValidationKey, Unannounced] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    clock_skew: float = 0.0
    """By how many seconds the operator's clock is ahead of the API server's, as noted by :mod:`gpuenv.plan.clock_skew`."""
