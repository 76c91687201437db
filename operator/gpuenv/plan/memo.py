"""Desired states and totals of the last plan, reused by the next plan while they are still valid.

With 50,000 validations, a plan cannot afford to compute every desired state anew. A desired state depends on the
context and the records of its validation, and it is valid until its own ``recheck_at``. Records are replaced and never
changed. So a desired state is reused while its records are the same objects. This saves time and never changes a plan.

The nodes of an environment are divided into parts, each with a tally of its own. A plan looks only at nodes for which
something has changed, or in whose part a desired state is no longer valid, and counts only these parts anew.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gpuenv.assess.facts import NodeFacts
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.changes import Changes, LastSeen
from gpuenv.plan.context import Assessed, Context, Tables, Validation, make_context
from gpuenv.plan.fleet.mass_change import mass_change
from gpuenv.plan.fleet.tally import Tally, tally
from gpuenv.plan.fleet.totals import Totals, totals, with_mass_change
from gpuenv.plan.moment import Moment
from gpuenv.plan.objects.environment_memory import EnvironmentMemory, environment_memory
from gpuenv.plan.snapshot import EnvironmentRecord, ReportRecord, Snapshot
from gpuenv.plan.validation.desired_state import DesiredState, desired_state
from gpuenv.plan.view import View, view

CLOCK_SET_SECONDS: Final = 1.0
"""By how much the clock has to differ from what has passed since the last plan, to count as set by somebody."""
FAULT_SECONDS: Final = 60.0
"""After this time, a desired state that could not be computed is tried again."""
PARTS: Final = 64
"""Into how many parts the nodes of an environment are divided. More parts are smaller, but all have to be added up."""


@dataclass(slots=True)
class _Part:
    """The desired states of some of the nodes, by node, and their tally, which is None after one of them has changed."""

    validations: dict[str, tuple[Validation, DesiredState]] = field(default_factory=dict)
    tally: Tally | None = None

    def is_due(self, now: float) -> bool:
        """Return whether the plan has to look at every node of the part: a desired state may not be valid any more."""
        known = self.tally
        return known is None or known.recheck_at <= now or known.outdated > 0


@dataclass(frozen=True, slots=True)
class _Guarded:
    """Totals with their mass change, and all that it was found from: the totals before, and what people have accepted."""

    totals: Totals
    before: Totals
    accept_change: str
    memory: EnvironmentMemory


@dataclass(slots=True)
class _Remembered:
    """The last plan's desired states and totals of one environment, with their context."""

    context: Context
    parts: tuple[_Part, ...] = field(default_factory=lambda: tuple(_Part() for _ in range(PARTS)))
    totals: Totals | None = None
    guarded: _Guarded | None = None
    assessed: dict[str, tuple[NodeFacts, Assessed]] = field(default_factory=dict)
    """By node, the result that was assessed last, with the node's facts. It outlives a change of the context."""

    def part(self, node: str) -> _Part:
        """Return the part to which a node belongs."""
        return self.parts[zlib.crc32(node.encode("utf-8", "replace")) % PARTS]


class Memo:
    """The last plan's desired states and totals by environment, kept so that the next plan can reuse them."""

    def __init__(self) -> None:
        self.at: Moment | None = None
        """The moment of the last plan."""
        self.last_seen = LastSeen()
        self.environments: dict[str, _Remembered] = {}
        self.violations: dict[str, tuple[EnvironmentRecord, tuple[str, ...]]] = {}
        """By environment: its record, and what it asks for beyond the limits, which never change while an operator runs."""
        self.cut_at = ""
        """The environment at which the last plan ran out of its allowance, or "". The next plan begins behind it."""

    def look(self, snapshot: Snapshot, now: Moment) -> tuple[View, Changes]:
        """Return the snapshot with its reports and pods in groups, and what has changed since the last plan.

        If somebody has set the clock, everything counts as changed: what was due at a time of the day is due at another
        moment now.
        """
        if self.at is not None and abs(self.at.wall_at(now.steady) - now.wall) > CLOCK_SET_SECONDS:
            self.forget()
        self.at = now
        changed = self.last_seen.sort_reports(snapshot.reports)
        seen = view(snapshot, now, self.last_seen.reports)
        return seen, self.last_seen.changes(seen, changed)

    def forget(self) -> None:
        """Forget everything. After a plan that was not finished, nobody knows which of its changes were looked at."""
        self.last_seen = LastSeen()
        self.environments.clear()

    def in_turn(self, names: Iterable[str]) -> list[str]:
        """Return the names in the order in which the environments may assess results: none is always the last one."""
        ordered = sorted(names)
        return [name for name in ordered if name > self.cut_at] + [
            name for name in ordered if name <= self.cut_at
        ]

    def keep_only(self, environments: Collection[str]) -> None:
        """Forget all environments except those with these names."""
        for known in (self.environments, self.violations):
            for name in known.keys() - set(environments):
                del known[name]


def environment_totals(
    view: View,
    changes: Changes,
    environment: EnvironmentRecord,
    tables: Tables,
    memo: Memo,
    *,
    allowance: Allowance,
    not_allowed: str = "",
) -> Totals:
    """Return the totals of an environment, summed over its validations on all nodes.

    ``not_allowed`` says why the administrator's limits do not allow the environment; it is "" if they do.
    """
    reports = view.reports.get(environment.name, {})
    remembered = memo.environments.get(environment.name)
    known = remembered.context if remembered is not None and environment.name not in changes.reports else None
    context = make_context(
        environment,
        view.snapshot.settings,
        tables,
        reports.values(),
        not_allowed=not_allowed,
        known=known,
    )
    if remembered is None or remembered.context != context:
        assessed = remembered.assessed if remembered is not None else {}
        remembered = memo.environments[environment.name] = _Remembered(context, assessed=assessed)
    _look_again(view, changes, remembered, reports, allowance)
    if remembered.totals is None:
        remembered.totals = totals(
            context, [_tally(context, part, view.moment.wall) for part in remembered.parts]
        )
    remembered.guarded = _guarded(remembered.totals, environment, remembered.guarded, view.moment)
    return remembered.guarded.totals


def _guarded(found: Totals, environment: EnvironmentRecord, known: _Guarded | None, now: Moment) -> _Guarded:
    """Return the totals with their mass change: ``known``, which an earlier plan has found, as long as it is valid."""
    memory = environment_memory(environment.status)
    if (
        known is not None
        and known.before is found
        and (known.accept_change, known.memory) == (environment.accept_change, memory)
        and now.steady < known.totals.mass_change.until
    ):
        return known
    change = mass_change(environment, found.context.settings, found.departed, found.selected, now)
    return _Guarded(with_mass_change(found, change), found, environment.accept_change, memory)


def _tally(context: Context, part: _Part, now: float) -> Tally:
    if part.tally is None:
        part.tally = tally(context.inputs_hash, [state for _, state in part.validations.values()], now)
    return part.tally


def _look_again(
    view: View,
    changes: Changes,
    remembered: _Remembered,
    reports: Mapping[str, ReportRecord],
    allowance: Allowance,
) -> None:
    """Bring the desired states of an environment up to date.

    Where any has changed, the tally of the part and the totals are dropped.
    """
    context, nodes = remembered.context, view.snapshot.nodes
    refusals = {key: one for key, one in view.snapshot.refusals.items() if one.lasts}
    if remembered.totals is None:
        again: Collection[str] = nodes.keys()
    else:
        due = (part.validations for part in remembered.parts if part.is_due(view.moment.steady))
        again = changes.concern(context.name).union(*due)
    for name in sorted(again):
        node, part = nodes.get(name), remembered.part(name)
        before = part.validations.get(name)
        if node is None:
            if before is not None:
                del part.validations[name]
                remembered.assessed.pop(name, None)
                part.tally = remembered.totals = None
            continue
        key = (context.name, name)
        facts, known = remembered.assessed.get(name, (None, None))
        validation = Validation(
            context,
            node,
            reports.get(name),
            view.pods.get(key, ()),
            view.snapshot.rejections.get(key),
            view.stuck.get(name),
            known if facts == node.facts else None,
            refusals.get(key),
        )
        if before is not None and _is_valid(validation, *before, view.moment.steady, allowance):
            allowance.put_off += before[1].outdated
            continue
        state = _desired_state(validation, view.moment, allowance)
        if state.assessed is not None:
            remembered.assessed[name] = (node.facts, state.assessed)
        part.validations[name] = (validation, state)
        part.tally = remembered.totals = None


def _is_valid(
    validation: Validation, before: Validation, state: DesiredState, now: float, allowance: Allowance
) -> bool:
    """Return whether ``state``, the desired state of the validation ``before``, is still that of ``validation``."""
    return (
        validation.node is before.node
        and validation.report is before.report
        and validation.pods == before.pods
        and validation.rejection is before.rejection
        and validation.refusal == before.refusal
        and validation.stuck is before.stuck
        and now < state.recheck_at
        and (not state.outdated or allowance.is_spent)
    )


def _desired_state(validation: Validation, now: Moment, allowance: Allowance) -> DesiredState:
    """Return the desired state of one validation.

    If computing it raises an exception, return a state that names the exception in ``fault``: a bug that concerns one
    validation must not stop the plan for all others. It is tried again after a while: a lack of memory may pass.
    """
    try:
        return desired_state(validation, now, allowance)
    except Exception as error:
        place = f"environment {validation.context.name} on node {validation.node.name}"
        fault = f"{place} cannot be judged: {type(error).__name__}: {error}"
        asked = bool(validation.context.revalidate)
        return DesiredState(
            validation.node.name,
            selected=True,
            report=validation.report,
            asked=asked,
            fault=fault,
            recheck_at=now.steady + FAULT_SECONDS,
        )
