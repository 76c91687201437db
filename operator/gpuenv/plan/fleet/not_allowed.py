"""Find the environments that the administrator's limits do not allow, and say why."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from gpuenv.api.limits.groups import OTHERS, group_of
from gpuenv.api.limits.limits import Limits
from gpuenv.api.limits.violations import violations
from gpuenv.api.tolerant import mappings
from gpuenv.plan.fleet.conditions import ACCEPTED
from gpuenv.plan.memo import Memo
from gpuenv.plan.snapshot import EnvironmentRecord

NAMED: Final = 3
"""How many violations a message names."""


def not_allowed(environments: Mapping[str, EnvironmentRecord], limits: Limits, memo: Memo) -> dict[str, str]:
    """Return, by name, the environments that are not allowed, each with the reason in one line.

    Environments whose specification is invalid are left out, and so are those that are being deleted.
    """
    judged = [one for one in environments.values() if one.spec is not None and not one.deleting]
    found = {one.name: _message(lines) for one in judged if (lines := _violations(one, limits, memo))}
    asking = sorted((one for one in judged if one.name not in found), key=_order)
    return found | _beyond_number([one.name for one in asking], limits)


def _beyond_number(names: Iterable[str], limits: Limits) -> dict[str, str]:
    """Return which of these environments, in their order, are too many, each with the reason in one line.

    An environment counts for the number of its group, or for that of the cluster if its group has none.
    """
    numbers = {one.name: one.max_environments for one in limits.groups if one.max_environments is not None}
    counted: Counter[str] = Counter()
    found = {}
    for name in names:
        group = group_of(name, limits.groups)
        group = group if group in numbers else OTHERS
        most = numbers.get(group, limits.max_environments)
        if counted[group] < most:
            counted[group] += 1
        else:
            found[name] = _too_many(most, group)
    return found


def _violations(environment: EnvironmentRecord, limits: Limits, memo: Memo) -> tuple[str, ...]:
    """Return the violations of an environment. They are computed anew only for another record of it."""
    known = memo.violations.get(environment.name)
    if known is not None and known[0] is environment:
        return known[1]
    assert environment.spec is not None
    lines = tuple(violations(environment.name, environment.spec, limits))
    memo.violations[environment.name] = (environment, lines)
    return lines


def _order(environment: EnvironmentRecord) -> tuple[bool, float, str]:
    """Return the key by which environments get their places: those that are accepted already come first.

    Otherwise a new environment could displace one that was created in the same second or has been corrected only now.
    """
    accepted = any(
        (one.get("type"), one.get("status")) == (ACCEPTED, "True")
        for one in mappings(environment.status.get("conditions"))
    )
    return not accepted, environment.created_at, environment.name


def _message(lines: tuple[str, ...]) -> str:
    more = len(lines) - NAMED
    return " | ".join(lines[:NAMED]) + (f" | and {more} more" if more > 0 else "")


def _too_many(most: int, group: str) -> str:
    others = f"{most} other environments" + (f" of the group {group}" if group else "")
    limit = f"maxEnvironments of {group} in limits.groups" if group else "limits.maxEnvironments"
    return (
        f"there are {others} already, which is all that {limit} allows; delete one, or ask the administrator to raise it in "
        "the chart's values"
    )
