"""Chooses the remedy of a reason or of an error that fits the platforms of a machine.

For each platform, the most specific first, the cure of the error counts, then that of its reason. The cure of the reason
replaces a cure that the error itself has in errors.yaml only on platforms for which those are not written, such as Windows.
If there is no cure for any of the platforms, the error's own counts, and then that of its reason for all platforms.
"""

from typing import TYPE_CHECKING, Final

from gpuenv.api import reasons
from gpuenv.api.reasons import ROWS, Reason
from gpuenv.api.remedies import Action, Remedies
from gpuenv.knowledge.model import ErrorRule, Knowledge
from gpuenv.knowledge.platforms import DEFAULT, Platform, first_cure

if TYPE_CHECKING:
    from gpuenv.assess.case import Case

_EVERYWHERE: Final = frozenset({Action.CHANGE_PROGRAM, Action.CHANGE_DRIVER})
"""Actions of cures in errors.yaml that no cure of a reason replaces: the error says exactly what is wrong."""


def reason_remedies(reason: Reason, case: "Case") -> Remedies:
    """Return the remedy of a reason on the platforms of a case, or () if nothing has to be done."""
    knowledge = case.knowledge
    text = knowledge.reasons.get(reason)
    names = [name for name in _names(reason) if name in knowledge.cures]
    if text is None or text.action is None or not names:
        return text.remedies if text else ()
    for platform in case.platforms:
        for name in names:
            found = _on(platform, name, text.action, knowledge)
            if found:
                return found
    return _on(DEFAULT, names[0], text.action, knowledge) or text.remedies


def rule_remedies(rule: ErrorRule, reason: Reason, case: "Case") -> Remedies:
    """Return the remedy of an error on the platforms of a case.

    ``reason`` is the reason of the check. If other facts have made it another one than that of ``rule``, its cures count.
    """
    if reason != rule.reason:
        return reason_remedies(reason, case)
    knowledge = case.knowledge
    own, text = rule.remedies, knowledge.reasons.get(reason)
    rows = {row.name: row for row in knowledge.platforms}
    wanted = rule.action or (text.action if text else None)
    for platform in case.platforms:
        found = _on(platform, rule.name, wanted, knowledge)
        if not found and (not own or _replaced(rule, rows.get(platform))):
            of_reason = (
                _on(platform, name, text.action if text else None, knowledge) for name in _names(reason)
            )
            found = next((remedies for remedies in of_reason if remedies), ())
        if found:
            return found
    return own or _on(DEFAULT, rule.name, wanted, knowledge) or reason_remedies(reason, case)


def _replaced(rule: ErrorRule, platform: Platform | None) -> bool:
    """Return whether the cure in errors.yaml does not fit the platform."""
    if platform is None or not platform.replaces or rule.action in _EVERYWHERE:
        return False
    lowered = rule.cure.lower()
    return not any(word in lowered for word in platform.words)


def _names(reason: Reason) -> tuple[str, ...]:
    """Return the names under which platforms.yaml may have cures of a reason, the most special first.

    A container that has a driver but no GPU needs what gives it the driver.
    """
    row = ROWS.get(reason)
    own = (row.platform_cure if row else "") or reason
    return (own, "no-device", "expose-gpu") if reason == reasons.NoDevice else (own,)


def _on(platform: str, name: str, action: Action | None, knowledge: Knowledge) -> Remedies:
    found = first_cure(knowledge.cures, name, (platform,))
    one = found.remedy(action) if found else None
    return (one,) if one else ()
