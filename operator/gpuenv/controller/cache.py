"""What the operator knows of the cluster: slim records of four kinds, kept by watch, sweep and our own
writes.

A record object stays the same as long as its content does, whatever events arrive: the planner reuses its
desired states by identity. Three sources may deliver out of order, so an object's resource version decides;
comparing them as numbers is allowed
(https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version).
Absence is never read out of this cache: an entry goes by a DELETED event, or after a live GET that answered
404.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from gpuenv.controller.kube.kinds import KINDS, KindName
from gpuenv.plan.model import (
    Attempt,
    EnvironmentRecord,
    NodeRecord,
    PodRecord,
    ReportRecord,
    Settings,
    Snapshot,
    ValidationKey,
)
from gpuenv.plan.objects import records

logger = logging.getLogger(__name__)

K = TypeVar("K")
R = TypeVar("R")

GONE_REMEMBERED: Final = 10_000
"""Uids of deleted objects, so that a list read before the deletion does not bring them back."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of which object an entry holds.

    ``number`` is the resource version, 0 where it is no number.
    """

    uid: str
    number: int

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "Version":
        metadata = raw.get("metadata") or {}
        text = str(metadata.get("resourceVersion") or "")
        return Version(str(metadata.get("uid") or ""), int(text) if text.isdigit() else 0)


class Cache:
    """Belongs to the event loop: no locks.

    ``changed`` is called after each change of content, and only wakes somebody.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.synced = False
        """All four kinds have been listed completely at least once."""
        self.environments: dict[str, EnvironmentRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.pods: dict[str, PodRecord] = {}
        """By name; a vanished pod stays as a tombstone until the plan has settled it."""
        self.reports: dict[ValidationKey, ReportRecord] = {}
        self.left_since: Mapping[ValidationKey, float] = {}
        self.rejections: dict[ValidationKey, Attempt] = {}
        self._versions: dict[KindName, dict[str, Version]] = {kind: {} for kind in KINDS}
        self._report_keys: dict[str, ValidationKey] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        """Up to which version an object (uid) counts as gone. Beyond it, it matches its selector again."""

    # ---- what comes in ---------------------------------------------------------------------------------

    def observe(self, kind: KindName, type_: str | None, raw: Mapping[str, Any]) -> None:
        """One watch event. Never raises: an object too odd to be read is logged and left out."""
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
        """Takes over the state of one object, unless a newer one is known. True when content changed."""
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
        """The object is gone, and ``raw`` is its last state (a DELETED event)."""
        version = Version.of(raw)
        self._forget_uid(version)
        if kind == "pods":
            self._bury(records.pod_record(raw, vanished=True))
        self._drop(kind, _name(raw), version.uid)

    def gone(self, kind: KindName, name: str) -> None:
        """The object is gone, as a live GET has just confirmed (404); its last state is the one we know."""
        known = self._versions[kind].get(name)
        if known is None:
            return
        self._forget_uid(Version(known.uid, GONE_FOR_GOOD))
        if kind == "pods" and name in self.pods:
            self._bury(replace(self.pods[name], vanished=True))
        self._drop(kind, name, known.uid)

    # ---- what is asked -----------------------------------------------------------------------------------

    def version(self, kind: KindName, name: str) -> Version | None:
        """The version held of one object; None for none."""
        return self._versions[kind].get(name)

    def names(self, kind: KindName) -> list[str]:
        """Names of all live objects of ``kind`` (no tombstones)."""
        return list(self._versions[kind])

    def outdated(self, kind: KindName, raw: Mapping[str, Any]) -> bool:
        """Whether ``raw`` is a newer state than the one held (a deleted object is never new)."""
        version = Version.of(raw)
        known = self._versions[kind].get(_name(raw))
        return not self._is_gone(version) and (known is None or _newer(version, known))

    def snapshot(self, settings: Settings) -> Snapshot:
        """An immutable picture for one plan."""
        return Snapshot(
            environments=dict(self.environments),
            nodes=dict(self.nodes),
            pods=dict(self.pods),
            reports=dict(self.reports),
            settings=settings,
            synced=self.synced,
            left_since=self.left_since,
            rejections=dict(self.rejections),
        )

    # ---- what a plan settles -----------------------------------------------------------------------------

    def forget_recorded(self, seen: Snapshot, pending: Collection[ValidationKey]) -> None:
        """After a plan over ``seen``: drops tombstones and rejections about which it had nothing (more) to
        write.
        """
        for name, pod in seen.pods.items():
            if pod.vanished and (pod.environment, pod.node) not in pending and self.pods.get(name) is pod:
                del self.pods[name]
        for key, attempt in seen.rejections.items():
            if key not in pending and self.rejections.get(key) is attempt:
                del self.rejections[key]

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
                pass  # its tombstone stays
        self.changed()

    def _bury(self, tombstone: PodRecord) -> None:
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


def _name(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["name"])


def _newer(version: Version, known: Version) -> bool:
    """Versions that are no numbers cannot be compared: then the later arrival wins."""
    if version.number == 0 or known.number == 0:
        return True
    return version.number > known.number


def _keep(table: dict[K, R], key: K, record: R) -> bool:
    """Puts ``record`` in, unless an equal one is there already: that one stays, identity and all."""
    if table.get(key) == record:
        return False
    table[key] = record
    return True
