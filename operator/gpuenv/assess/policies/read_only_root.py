"""Failures that the read-only root file system of a probe pod has caused, as far as their error messages show it.

The probe pod's own confinement says nothing about image and node, so that such a failure is Unknown and never a Fail.
"""

from typing import Final

from gpuenv.api import reasons
from gpuenv.api.check_names import CheckName
from gpuenv.assess.case import Case, check
from gpuenv.assess.facts import Failure
from gpuenv.assess.model import Check, Status
from gpuenv.assess.sources.rules.failure_rules import classify_briefly
from gpuenv.assess.sources.text.cleaned_text import lower
from gpuenv.knowledge.model import ErrorRule, Knowledge

_RULE: Final = "read-only-root"
"""The name of the rule in errors.yaml that has the words of the error."""


def refused_write(words: str, knowledge: Knowledge) -> bool:
    """Return whether an error message says that a program could not write because a file system is read-only."""
    rule = knowledge.errors_by_name.get(_RULE)
    lowered = lower(words)
    return rule is not None and any(parts[0] in lowered for parts in rule.text)


def prevented(case: Case, name: CheckName, what: str, words: str) -> Check | None:
    """Return the Unknown check for a failure with the error message ``words``, or None if it has another cause.

    ``what`` says what failed. If the root file system is writable, the cause is always another one.
    """
    if case.facts.container.root_read_only is not True or not refused_write(words, case.knowledge):
        return None
    return check(case, name, Status.UNKNOWN, reasons.ReadOnlyFilesystem, f"{what}: {words}")


def rule_of(case: Case, failure: Failure) -> ErrorRule | None:
    """Return the rule that a failure of the probe matches, or None.

    The rule about read-only file systems does not count: :func:`prevented` applies it if the pod has one.
    """
    rule = classify_briefly(failure, case.knowledge)
    return None if rule is not None and rule.name == _RULE else rule
