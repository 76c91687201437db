"""Desired states and totals of the last plan, reused by the next plan while they are still valid.

With 50,000 validations, a plan cannot afford to compute every desired state anew. A desired state depends on the
context and the records of its validation, and it is valid until its own ``recheck_at``. Records are replaced and never
changed. So a desired state is reused while its records are the same objects. This saves time and never changes a plan.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gpuenv.assess.facts import NodeFacts
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.context import Assessed, Context, Tables, Validation, make_context
from gpuenv.plan.fleet.totals import Totals, totals
from gpuenv.plan.snapshot import EnvironmentRecord, ReportRecord
from gpuenv.plan.validation.desired_state import DesiredState, desired_state
from gpuenv.plan.view import View


@dataclass(slots=True)
class _Remembered:
    """The last plan's desired states (by node) and totals of one environment, with their context."""

    context: Context
    validations: dict[str, tuple[Validation, DesiredState]] = field(default_factory=dict)
    totals: Totals | None = None
    assessed: dict[str, tuple[NodeFacts, Assessed]] = field(default_factory=dict)
    """By node, the result that was assessed last, with the node's facts. It outlives a change of the context."""


class Memo:
    """The last plan's desired states and totals by environment, kept so that the next plan can reuse them."""

    def __init__(self) -> None:
        self.environments: dict[str, _Remembered] = {}
        self.violations: dict[str, tuple[EnvironmentRecord, tuple[str, ...]]] = {}
        """By environment: its record, and what it asks for beyond the limits, which never change while an operator runs."""
        self.cut_at = ""
        """The environment at which the last plan ran out of its allowance, or "". The next plan begins behind it."""

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
    environment: EnvironmentRecord,
    tables: Tables,
    memo: Memo,
    allowance: Allowance,
    *,
    not_allowed: str = "",
) -> Totals:
    """Return the totals of an environment, summed over its validations on all nodes.

    ``not_allowed`` says why the administrator's limits do not allow the environment; it is "" if they do.
    """
    reports = view.reports.get(environment.name, {})
    context = make_context(environment, view.snapshot.settings, tables, reports.values(), not_allowed)
    remembered = memo.environments.get(environment.name)
    if remembered is None or remembered.context != context:
        assessed = remembered.assessed if remembered is not None else {}
        remembered = memo.environments[environment.name] = _Remembered(context, assessed=assessed)
    found, changed = _desired_states(view, remembered, reports, allowance)
    if changed or remembered.totals is None:
        remembered.totals = totals(remembered.context, found)
    return remembered.totals


def _desired_states(
    view: View, remembered: _Remembered, reports: Mapping[str, ReportRecord], allowance: Allowance
) -> tuple[list[DesiredState], bool]:
    """Return the desired state for every node, and whether any was computed anew or the number of nodes changed."""
    context, old, now = remembered.context, remembered.validations, view.at
    name, nodes, rejections, pods_of, stuck = (
        context.name, view.snapshot.nodes, view.snapshot.rejections, view.pods, view.stuck,
    )  # fmt: skip
    refusals = {key: one for key, one in view.snapshot.refusals.items() if one.lasts}
    found: list[DesiredState] = []
    changed = len(old) != len(nodes)
    validations: dict[str, tuple[Validation, DesiredState]] = {}
    for node_name, node in nodes.items():
        key = (name, node_name)
        report, pods = reports.get(node_name), pods_of.get(key, ())
        rejection = rejections.get(key) if rejections else None
        refusal = refusals.get(key) if refusals else None
        hanging = stuck.get(node_name) if stuck else None
        known = old.get(node_name)
        if known is not None:
            validation, state = known
            if (
                validation.node is node
                and validation.report is report
                and validation.pods == pods
                and validation.rejection is rejection
                and validation.refusal == refusal
                and validation.stuck is hanging
                and now < state.recheck_at
                and (not state.outdated or allowance.is_spent)
            ):
                allowance.put_off += state.outdated
                validations[node_name] = known
                found.append(state)
                continue
        changed = True
        facts, before = remembered.assessed.get(node_name, (None, None))
        assessed = before if facts == node.facts else None
        validation = Validation(context, node, report, pods, rejection, hanging, assessed, refusal)
        state = _desired_state(validation, now, allowance)
        if state.assessed is not None:
            remembered.assessed[node_name] = (node.facts, state.assessed)
        validations[node_name] = (validation, state)
        found.append(state)
    remembered.validations = validations
    if len(remembered.assessed) > len(nodes):
        remembered.assessed = {name: kept for name, kept in remembered.assessed.items() if name in nodes}
    return found, changed


def _desired_state(validation: Validation, now: float, allowance: Allowance) -> DesiredState:
    """Return the desired state of one validation.

    If computing it raises an exception, return a state that names the exception in ``fault``: a bug that concerns one
    validation must not stop the plan for all others.
    """
    try:
        return desired_state(validation, now, allowance)
    except Exception as error:
        place = f"environment {validation.context.name} on node {validation.node.name}"
        fault = f"{place} cannot be judged: {type(error).__name__}: {error}"
        asked = bool(validation.context.revalidate)
        return DesiredState(
            validation.node.name, selected=True, report=validation.report, asked=asked, fault=fault
        )
