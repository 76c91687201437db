"""Find out what has changed since the last plan, so that the next one looks only at that.

With 5,000 nodes and ten environments there are 50,000 validations, of which few change from one plan to the next.
Records are replaced and never changed, so a record that is the same object as before needs no second look.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gpuenv.plan.snapshot import NodeRecord, ReportRecord, Snapshot, ValidationKey
from gpuenv.plan.view import View

K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Changes:
    """The nodes whose own record has changed, and those where something about one environment has.

    ``nodes`` concern all environments: added, replaced and removed nodes, and nodes with a pod that does not end.
    ``validations`` are nodes by environment: those whose report has changed, and those with a probe pod, a rejection or a
    refusal, now or in the last plan. ``reports`` are the environments of which any report has changed.
    """

    nodes: frozenset[str]
    validations: Mapping[str, Collection[str]]
    reports: frozenset[str]

    def concern(self, environment: str) -> set[str]:
        """Return the names of all nodes where something about the environment may have changed."""
        return {*self.nodes, *self.validations.get(environment, ())}


@dataclass(slots=True)
class LastSeen:
    """What the last plan saw. It starts with nothing, so that everything is new to the first plan."""

    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    flat: Mapping[ValidationKey, ReportRecord] = field(default_factory=dict)
    reports: dict[str, dict[str, ReportRecord]] = field(default_factory=dict)
    """The same reports by environment and then by node. Each plan updates them, so that none has to sort 50,000."""
    restless: set[ValidationKey] = field(default_factory=set)
    """The validations with a probe pod, a rejection or a refusal."""
    stuck: frozenset[str] = frozenset()

    def sort_reports(self, reports: Mapping[ValidationKey, ReportRecord]) -> set[ValidationKey]:
        """Update ``reports``, and return the validations whose report was added, replaced or removed."""
        changed = _changed(self.flat, reports)
        for environment, node in changed:
            report = reports.get((environment, node))
            if report is not None:
                self.reports.setdefault(environment, {})[node] = report
            else:
                self._drop(environment, node)
        self.flat = reports
        return changed

    def _drop(self, environment: str, node: str) -> None:
        del self.reports[environment][node]
        if not self.reports[environment]:
            del self.reports[environment]

    def changes(self, seen: View, reports: set[ValidationKey]) -> Changes:
        """Return what has changed, and remember what ``seen`` shows. ``reports`` are those that have changed."""
        nodes = _changed(self.nodes, seen.snapshot.nodes)
        restless = _restless(seen.snapshot) | seen.pods.keys()
        validations: dict[str, set[str]] = {}
        for environment, node in reports | restless | self.restless:
            validations.setdefault(environment, set()).add(node)
        stuck = frozenset(seen.stuck)
        changes = Changes(
            frozenset(nodes | stuck | self.stuck), validations, frozenset(name for name, _ in reports)
        )
        self.nodes, self.restless, self.stuck = seen.snapshot.nodes, restless, stuck
        return changes


def _restless(snapshot: Snapshot) -> set[ValidationKey]:
    return {*snapshot.rejections, *snapshot.refusals}


def _changed(old: Mapping[K, R], new: Mapping[K, R]) -> set[K]:
    """Return the keys whose record was added, replaced by another, or removed."""
    if old is new:
        return set()
    known = old.get
    changed = {key for key, record in new.items() if known(key) is not record}
    added = sum(key not in old for key in changed)
    if len(old) + added != len(new):
        changed |= old.keys() - new.keys()
    return changed
