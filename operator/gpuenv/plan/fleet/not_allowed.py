"""Find the environments that the administrator's limits do not allow, and say why."""

from collections.abc import Mapping
from typing import Final

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
    return found | {one.name: _too_many(limits) for one in asking[limits.max_environments :]}


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


def _too_many(limits: Limits) -> str:
    most = limits.max_environments
    return (
        f"there are {most} other environments already, which is all that limits.maxEnvironments allows; delete one, or ask "
        "the administrator to raise it in the chart's values"
    )
