"""What the operator knows of the cluster: small records of four kinds of objects, made from what the API server says.

The watch, the sweeps and the answers to the operator's own writes all put objects into the cache. They may come out of
order, so the object with the highest resource version wins; versions may be compared as numbers
(https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version).
A record remains the same Python object as long as its content does not change, because the planner recognises by its
identity what it need not work out again. An entry is removed only by a DELETED event, or after a request for the object
was answered with 404.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from gpuenv.controller.kube.kinds import KINDS, KindName
from gpuenv.plan.model import (
    Attempt,
    EnvironmentRecord,
    NewVerdict,
    NodeRecord,
    Plan,
    PodRecord,
    ReportRecord,
    Settings,
    Snapshot,
    Unannounced,
    ValidationKey,
)
from gpuenv.plan.objects import records

logger = logging.getLogger(__name__)

K = TypeVar("K")
R = TypeVar("R")

GONE_REMEMBERED: Final = 10_000
"""How many deleted objects are remembered, so that a list read before the deletion does not bring them back."""


@dataclass(frozen=True, slots=True)
class Version:
    """Identifies a state of an object. ``number`` is the resource version; 0 if that is no number."""

    uid: str
    number: int

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "Version":
        """Return the version of an object."""
        metadata = raw.get("metadata") or {}
        text = str(metadata.get("resourceVersion") or "")
        return Version(str(metadata.get("uid") or ""), int(text) if text.isdigit() else 0)


class Cache:
    """The records by name. It has no locks, so it may be used in the event loop only.

    ``changed`` is called after each change; it wakes the planner and does nothing else.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.synced = False
        """Whether all four kinds have been listed completely at least once."""
        self.environments: dict[str, EnvironmentRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.pods: dict[str, PodRecord] = {}
        """By name. A vanished pod stays as a tombstone until a plan has nothing more to write because of it."""
        self.reports: dict[ValidationKey, ReportRecord] = {}
        self.left_since: Mapping[ValidationKey, float] = {}
        self.unannounced: Mapping[ValidationKey, Unannounced] = {}
        self.rejections: dict[ValidationKey, Attempt] = {}
        self.refusals: Mapping[ValidationKey, str] = {}
        self.new_verdicts: dict[ValidationKey, NewVerdict] = {}
        self._versions: dict[KindName, dict[str, Version]] = {kind: {} for kind in KINDS}
        self._report_keys: dict[str, ValidationKey] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        """By uid, the resource version at which an object disappeared.

        A newer version of the same object means that it matches the selector again.
        """

    # ---- changes ---------------------------------------------------------------------------------------

    def observe(self, kind: KindName, type_: str | None, raw: Mapping[str, Any]) -> None:
        """Take over one event of a watch. An object that cannot be read is logged and left out."""
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
        """Take over an object, unless a newer state of it is known. Return whether the record has changed."""
        name, version = _name(raw), Version.of(raw)
        known = self._versions[kind].get(name)
        if self._is_gone(version) or (known is not None and not _newer(version, known)):
            return False
        self._versions[kind][name] = version
        changed = self._put(kind, name, raw)
        if changed:
            self.changed()
        return changed

    def remove(self, kind: KindName, raw: Mapping[str, Any]) -> None:
        """Remove an object after a DELETED event. ``raw`` is its last state."""
        version = Version.of(raw)
        self._forget_uid(version)
        if kind == "pods":
            self._bury(records.pod_record(raw, vanished=True))
        self._drop(kind, _name(raw), version.uid)

    def gone(self, kind: KindName, name: str) -> None:
        """Remove an object after a request was answered with 404. Its last state is the one in the cache."""
        known = self._versions[kind].get(name)
        if known is None:
            return
        self._forget_uid(Version(known.uid, GONE_FOR_GOOD))
        if kind == "pods" and name in self.pods:
            self._bury(replace(self.pods[name], vanished=True))
        self._drop(kind, name, known.uid)

    # ---- questions ----------------------------------------------------------------------------------------

    def version(self, kind: KindName, name: str) -> Version | None:
        """Return which version of an object is in the cache, or None."""
        return self._versions[kind].get(name)

    def names(self, kind: KindName) -> list[str]:
        """Return the names of all objects of a kind that still exist."""
        return list(self._versions[kind])

    def outdated(self, kind: KindName, raw: Mapping[str, Any]) -> bool:
        """Return whether ``raw`` is newer than what the cache has. A deleted object is never newer."""
        version = Version.of(raw)
        known = self._versions[kind].get(_name(raw))
        return not self._is_gone(version) and (known is None or _newer(version, known))

    def snapshot(self, settings: Settings) -> Snapshot:
        """Return a copy of everything that one plan needs. Later changes of the cache do not alter it."""
        return Snapshot(
            environments=dict(self.environments),
            nodes=dict(self.nodes),
            pods=dict(self.pods),
            reports=dict(self.reports),
            settings=settings,
            synced=self.synced,
            left_since=self.left_since,
            rejections=dict(self.rejections),
            refusals=self.refusals,
            new_verdicts=dict(self.new_verdicts),
            unannounced=self.unannounced,
        )

    # ---- what a plan leaves behind -----------------------------------------------------------------------

    def wrote_report(self, key: ValidationKey, raw: Mapping[str, Any], before: ReportRecord | None) -> None:
        """Take over a report that the operator has just written. ``before`` is the record that it replaces."""
        self.put("reports", raw)
        self.new_verdicts[key] = NewVerdict(before.verdict if before is not None else None)

    def carried_out(self, seen: Snapshot, plan: Plan) -> None:
        """Keep what the next plan needs of this one over ``seen``, and drop what this one has taken up.

        Tombstones and rejections are dropped once a plan has nothing to write because of them.
        """
        self.left_since, self.unannounced = plan.left_since, plan.unannounced
        unrecorded = plan.unrecorded
        for name, pod in seen.pods.items():
            if pod.vanished and (pod.environment, pod.node) not in unrecorded and self.pods.get(name) is pod:
                del self.pods[name]
        for key, attempt in seen.rejections.items():
            if key not in unrecorded and self.rejections.get(key) is attempt:
                del self.rejections[key]
        for key, verdict in seen.new_verdicts.items():
            if self.new_verdicts.get(key) is verdict:
                del self.new_verdicts[key]

    # ---- how -----------------------------------------------------------------------------------------------

    def _put(self, kind: KindName, name: str, raw: Mapping[str, Any]) -> bool:
        match kind:
            case "environments":
                return _keep(self.environments, name, records.environment_record(raw))
            case "nodes":
                return _keep(self.nodes, name, records.node_record(raw))
            case "pods":
                return _keep(self.pods, name, records.pod_record(raw))
            case "reports":
                record = records.report_record(raw)
                key = (record.environment, record.node)
                stale = self._report_keys.get(name)
                if stale is not None and stale != key:
                    self.reports.pop(stale, None)
                self._report_keys[name] = key
                return _keep(self.reports, key, record)

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
                self.reports.pop(self._report_keys.pop(name), None)
            case "pods":
                pass  # its record stays as a tombstone
        self.changed()

    def _bury(self, tombstone: PodRecord) -> None:
        """Keep the last state of a deleted pod, until a plan has read the result from it."""
        known = self.pods.get(tombstone.name)
        if known is not None and known.uid == tombstone.uid:
            self.pods[tombstone.name] = tombstone

    def _is_gone(self, version: Version) -> bool:
        return version.number <= self._gone.get(version.uid, -1)

    def _forget_uid(self, version: Version) -> None:
        self._gone[version.uid] = version.number
        while len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)


GONE_FOR_GOOD: Final = 1 << 64
"""Higher than any resource version."""


def _name(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["name"])


def _newer(version: Version, known: Version) -> bool:
    """Return whether a version is newer. If one is no number, the one that arrived later counts as newer."""
    if version.number == 0 or known.number == 0:
        return True
    return version.number > known.number


def _keep(table: dict[K, R], key: K, record: R) -> bool:
    """Put a record into a table, unless an equal one is there. Return whether the table has changed.

    The old object is kept because the planner compares records by identity.
    """
    if table.get(key) == record:
        return False
    table[key] = record
    return True
