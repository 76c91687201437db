"""The cache: a small record of each environment, node, probe pod and node report in the cluster.

The watch, the sweeps and the responses to the operator's own writes all put objects into the cache. They may arrive out
of order, so the object with the highest resource version wins. Resource versions may be compared as numbers
(https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version).
A record remains the same Python object as long as its content does not change: the planner recognises unchanged records
by their identity, and does not process them again. A record is removed only after a DELETED event, or after a request
for its object was answered with 404. A GPUNodeReport whose name is not the one that the operator gives gets no record.
"""

import logging
import time
from collections import OrderedDict, UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from gpuenv.api import names
from gpuenv.controller.kube.kinds import KINDS, KindName
from gpuenv.plan.actions import Plan
from gpuenv.plan.objects import records
from gpuenv.plan.run.first_seen import first_seen
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import (
    EnvironmentRecord,
    NewVerdict,
    NodeRecord,
    PodRecord,
    Refusal,
    Rejection,
    ReportRecord,
    Snapshot,
    Unannounced,
    Usage,
    ValidationKey,
)

logger = logging.getLogger(__name__)

K = TypeVar("K")
R = TypeVar("R")

GONE_REMEMBERED: Final = 10_000
"""How many deleted objects are remembered, so that a list that was read before a deletion does not restore them."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object. ``number`` is its resource version, or 0 if that is not a number."""

    uid: str
    number: int

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "Version":
        """Return the version of an API object, read from its metadata."""
        metadata = raw.get("metadata") or {}
        text = str(metadata.get("resourceVersion") or "")
        return Version(str(metadata.get("uid") or ""), int(text) if text.isdigit() else 0)


class Table(UserDict[K, R]):
    """A dict for snapshots: it hands out copies of itself, and the same copy as long as it does not change.

    With 50,000 entries a copy takes longer than a plan in which nothing has changed. The planner also sees from the
    identity of a copy that nothing has changed.
    """

    _copy: dict[K, R] | None = None

    def __setitem__(self, key: K, item: R) -> None:
        self._copy = None
        super().__setitem__(key, item)

    def __delitem__(self, key: K) -> None:
        self._copy = None
        super().__delitem__(key)

    def copied(self) -> Mapping[K, R]:
        """Return a copy, which nobody may change."""
        if self._copy is None:
            self._copy = dict(self.data)
        return self._copy


class Cache:
    """Holds the records of all objects. It has no locks, so it may be used only in the event loop.

    ``changed`` is called after each change of a record, to wake the planner. ``learned`` is called with the kind and
    the resource version of each object that is new here, from whatever source. ``clock`` is the monotonic clock.
    ``server_time`` returns the time of the API server's clock in epoch seconds, or None if it is not known.
    """

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        server_time: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.changed = changed
        self.learned: Callable[[KindName, int], None] = lambda _, __: None
        self.clock = clock
        self.server_time = server_time
        self.clock_skew = 0.0
        """By how many seconds the operator's clock is ahead of the API server's; 0 if people need not know."""
        self.synced = False
        """Whether all environments, nodes, probe pods and node reports have been listed at least once."""
        self.environments: Table[str, EnvironmentRecord] = Table()
        self.nodes: Table[str, NodeRecord] = Table()
        self.pods: Table[str, PodRecord] = Table()
        """Records of probe pods, by the name of the pod.

        The record of a deleted pod stays as a tombstone, a record with ``vanished`` set, until the run of the pod is
        recorded in a node report. A pod that may be created at this moment has a record without a uid.
        """
        self.reports: Table[ValidationKey, ReportRecord] = Table()
        self.left_since: Mapping[ValidationKey, float] = {}
        self.unannounced: Mapping[ValidationKey, Unannounced] = {}
        self.usage: Mapping[str, Usage] = {}
        self.rejections: dict[ValidationKey, Rejection] = {}
        self.refusals: Mapping[ValidationKey, Refusal] = {}
        self.new_verdicts: dict[ValidationKey, NewVerdict] = {}
        self._versions: dict[KindName, dict[str, Version]] = {kind: {} for kind in KINDS}
        self._report_keys: dict[str, ValidationKey] = {}
        """The keys of ``reports``, by the names of the node reports."""
        self._gone: OrderedDict[str, int] = OrderedDict()
        """The uid of each deleted object -> the resource version at which it was deleted.

        The watch reports an object as deleted also when it no longer matches the watch's label selector. A newer
        version of the same object then means that it matches again.
        """

    # ---- changes ---------------------------------------------------------------------------------------

    def observe(self, kind: KindName, type_: str | None, raw: Mapping[str, Any]) -> None:
        """Apply one watch event to the cache. An object that cannot be read is logged and skipped.

        ``type_`` is the type of the event, or None if the object comes from a list and not from a change.
        """
        try:
            if type_ == "DELETED":
                self.remove(kind, raw)
            else:
                self.put(kind, raw)
        except Exception:
            metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
            name = metadata.get("name") if isinstance(metadata, Mapping) else metadata
            logger.exception("cannot read %s %r; it is ignored until it changes", kind, name)

    def put(self, kind: KindName, raw: Mapping[str, Any]) -> bool:
        """Store the record of an object, unless a newer version is known. Return whether the record has changed."""
        name, version = _name(raw), Version.of(raw)
        known = self._versions[kind].get(name)
        if self._is_gone(version) or (known is not None and not _newer(version, known)):
            return False
        self._versions[kind][name] = version
        self.learned(kind, version.number)
        changed = self._put(kind, name, raw)
        if changed:
            self.changed()
        return changed

    def remove(self, kind: KindName, raw: Mapping[str, Any]) -> None:
        """Remove an object because of a DELETED event, which carries ``raw``, the object's last state."""
        version = Version.of(raw)
        self._remember_gone(version)
        if kind == "pods":
            self._keep_tombstone(self._pod_record(raw, vanished=True))
        self._drop(kind, _name(raw), version.uid)

    def gone(self, kind: KindName, name: str) -> None:
        """Remove an object because a request for it was answered with 404.

        A pod's record in the cache becomes its tombstone: it shows the last state of the pod that the cache has seen.
        """
        known = self._versions[kind].get(name)
        if known is None:
            if kind == "pods":
                self.unexpect_pod(name)
            return
        self._remember_gone(Version(known.uid, GONE_FOR_GOOD))
        if kind == "pods" and name in self.pods:
            self._keep_tombstone(self._timed(replace(self.pods[name], vanished=True)))
        self._drop(kind, name, known.uid)

    def confirm_pod(self, name: str) -> None:
        """Note that a probe pod has just been read from the API server, and is as its record says."""
        record = self.pods.get(name)
        if record is not None and not record.vanished and not record.confirmed:
            self.pods[name] = replace(record, confirmed=True)
            self.changed()

    def expect_pod(self, record: PodRecord) -> None:
        """Store the record of a pod that may be created at this moment. It has no uid, and counts like any other pod."""
        if record.name not in self.pods:
            self.pods[record.name] = self._timed(record)

    def unexpect_pod(self, name: str) -> None:
        """Remove the record of a pod that has not been created after all."""
        record = self.pods.get(name)
        if record is not None and not record.uid:
            del self.pods[name]
            self.changed()

    # ---- queries ------------------------------------------------------------------------------------------

    def version(self, kind: KindName, name: str) -> Version | None:
        """Return which version of an object the cache has, or None if the cache does not have the object."""
        return self._versions[kind].get(name)

    def names(self, kind: KindName) -> list[str]:
        """Return the names of all objects of one kind that are in the cache and not deleted."""
        return list(self._versions[kind])

    def outdated(self, kind: KindName, raw: Mapping[str, Any]) -> bool:
        """Return whether the cache lacks the object ``raw`` or has an older version of it.

        False if ``raw`` is a version from before the object's deletion.
        """
        version = Version.of(raw)
        known = self._versions[kind].get(_name(raw))
        return not self._is_gone(version) and (known is None or _newer(version, known))

    def snapshot(self, settings: Settings) -> Snapshot:
        """Return a copy of everything that one plan needs. Later changes of the cache do not alter it."""
        return Snapshot(
            environments=self.environments.copied(),
            nodes=self.nodes.copied(),
            pods=self.pods.copied(),
            reports=self.reports.copied(),
            settings=settings,
            steady=self.clock(),
            synced=self.synced,
            left_since=self.left_since,
            rejections=dict(self.rejections),
            refusals=self.refusals,
            new_verdicts=dict(self.new_verdicts),
            unannounced=self.unannounced,
            usage=self.usage,
            clock_skew=self.clock_skew,
        )

    # ---- before and after a plan --------------------------------------------------------------------------

    def wrote_report(self, key: ValidationKey, raw: Mapping[str, Any], before: ReportRecord | None) -> None:
        """Store a node report that the operator has just written, and tell the next plan that its verdict is new.

        ``before`` is the record of this node report before the write, or None if there was no such node report.
        """
        self.put("reports", raw)
        self.new_verdicts[key] = NewVerdict(before.verdict if before is not None else None)

    def carried_out(self, seen: Snapshot, plan: Plan) -> None:
        """Prepare the cache for the next plan. ``plan`` was made from ``seen`` and has just been carried out.

        A tombstone or a rejection is removed unless ``plan`` writes its node report, because the write may have failed.
        A new verdict is removed if ``seen`` contained it. The values that ``plan`` hands on to the next one are stored.
        """
        self.left_since, self.unannounced, self.usage = plan.left_since, plan.unannounced, plan.usage
        unrecorded = plan.unrecorded
        for name, pod in seen.pods.items():
            if pod.vanished and (pod.environment, pod.node) not in unrecorded and self.pods.get(name) is pod:
                del self.pods[name]
        for key, rejection in seen.rejections.items():
            if key not in unrecorded and self.rejections.get(key) is rejection:
                del self.rejections[key]
        for key, verdict in seen.new_verdicts.items():
            if self.new_verdicts.get(key) is verdict:
                del self.new_verdicts[key]

    # ---- internals -----------------------------------------------------------------------------------------

    def _put(self, kind: KindName, name: str, raw: Mapping[str, Any]) -> bool:
        match kind:
            case "environments":
                return _keep(self.environments, name, records.environment_record(raw))
            case "nodes":
                return _keep(self.nodes, name, records.node_record(raw))
            case "pods":
                return _keep(self.pods, name, self._pod_record(raw))
            case "reports":
                return self._put_report(name, records.report_record(raw))

    def _pod_record(self, raw: Mapping[str, Any], *, vanished: bool = False) -> PodRecord:
        return self._timed(records.pod_record(raw, vanished=vanished))

    def _timed(self, pod: PodRecord) -> PodRecord:
        """Return the record of a pod with the times at which this operator first saw each of its states."""
        # A pod that appears after the first lists were complete is not older than this operator.
        server_time = None if self.synced else self.server_time()
        return replace(pod, seen=first_seen(pod, self.pods.get(pod.name), self.clock(), server_time))

    def _put_report(self, name: str, record: ReportRecord) -> bool:
        """Store the record of a node report, or log that it is ignored because its name is not canonical."""
        key = (record.environment, record.node)
        before, canonical = self._report_keys.get(name), names.report_name(*key)
        if name == canonical:
            self._report_keys[name] = key
            return _keep(self.reports, key, record)
        logger.warning(
            "GPUNodeReport %s is ignored: the report of its environment and node is %r", name, canonical
        )
        # An object of this name may have been about another environment and node before.
        return before is not None and self.reports.pop(self._report_keys.pop(name), None) is not None

    def _drop(self, kind: KindName, name: str, uid: str) -> None:
        known = self._versions[kind].get(name)
        if known is None or known.uid != uid:
            return
        del self._versions[kind][name]
        match kind:
            case "environments":
                self.environments.pop(name, None)
            case "nodes":
                self.nodes.pop(name, None)
            case "reports":
                if (key := self._report_keys.pop(name, None)) is not None:
                    self.reports.pop(key, None)
            case "pods":
                pass  # the record stays as a tombstone
        self.changed()

    def _keep_tombstone(self, tombstone: PodRecord) -> None:
        """Replace the record of a deleted pod with ``tombstone``, from which the next plan reads how its run ended."""
        known = self.pods.get(tombstone.name)
        if known is not None and known.uid == tombstone.uid:
            self.pods[tombstone.name] = tombstone

    def _is_gone(self, version: Version) -> bool:
        return version.number <= self._gone.get(version.uid, -1)

    def _remember_gone(self, version: Version) -> None:
        self._gone[version.uid] = version.number
        while len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)


GONE_FOR_GOOD: Final = 1 << 64
"""A number above all resource versions. An object with it in ``_gone`` is never accepted again."""


def _name(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["name"])


def _newer(version: Version, known: Version) -> bool:
    """Return whether ``version`` is newer than ``known``.

    If the ``number`` of either is 0, that is, unknown, ``version`` counts as newer, because it arrived later.
    """
    if version.number == 0 or known.number == 0:
        return True
    return version.number > known.number


def _keep(stored: Table[K, R], key: K, record: R) -> bool:
    """Store a record under ``key``, unless an equal one is stored there. Return whether ``stored`` has changed.

    An equal record is not replaced, because the planner recognises unchanged records by their identity.
    """
    if stored.get(key) == record:
        return False
    stored[key] = record
    return True
