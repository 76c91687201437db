"""Finds the rule of errors.yaml that a failure matches, and fills its sentences with the details of the failure."""

from dataclasses import replace
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.assess.facts import Failure
from gpuenv.assess.sources.rules.known_errors import find_errors
from gpuenv.knowledge.model import ErrorRule, Knowledge
from gpuenv.knowledge.place_holders import cleaned, fill

BRIEF: Final = 200
"""Number of characters of an error message from a probe report that :func:`classify_briefly` reads."""
_NUMBERED = frozenset({"cuda", "cudart", "nvml", "os", "xid"})


@bounded_cache(max_bytes=4 << 20)
def classify(failure: Failure, knowledge: Knowledge) -> ErrorRule | None:
    """Return the rule that a failure matches, or None if it matches none.

    The name of the failure decides first, then its message, then its number. If the message matches several rules, the
    one whose reason has the smallest ``depth`` counts, because it is the cause of the others. Place-holders in the
    sentences of the returned rule are filled.
    """
    known = knowledge.errors_by_name.get(failure.name)
    if known is not None:
        return filled(known, failure)
    found = _by_words(failure, knowledge) if failure.message or failure.name else None
    if found is None and failure.code is not None and failure.layer in _NUMBERED:
        layer = "cuda" if failure.layer == "cudart" else failure.layer
        rule = knowledge.errors_by_code.get((layer, failure.code))
        return rule and filled(rule, failure)
    return found


def classify_briefly(failure: Failure, knowledge: Knowledge, length: int = BRIEF) -> ErrorRule | None:
    """Return the same as :func:`classify`, but read only the first ``length`` characters of a message.

    It is meant for failures of which a probe report can contain many, each with another text.
    """
    if len(failure.message) <= length:
        return classify(failure, knowledge)
    return classify(replace(failure, message=failure.message[:length]), knowledge)


def filled(rule: ErrorRule, failure: Failure) -> ErrorRule:
    """Return the rule with the details of ``failure``, which replace the place-holders of its sentences."""
    if not failure.details and "{" not in rule.meaning and "{" not in rule.cure:
        return rule
    details = cleaned(failure.details)
    return replace(rule, meaning=fill(rule.meaning, details), cure=fill(rule.cure, details), details=details)


def _by_words(failure: Failure, knowledge: Knowledge) -> ErrorRule | None:
    """Return the rule with the deepest reason that readers or patterns find in the message of a failure, or None."""
    # Imported only if something fails: compiling the patterns of the readers takes some milliseconds.
    from gpuenv.assess.sources.readers import read_failures, without_explained  # noqa: PLC0415 - see above

    module = dict(failure.details).get("module")
    statement = f"    import {module}\n" if module else ""  # as a traceback shows it
    text = f"{statement}{failure.name}: {failure.message}"
    read = read_failures(text, knowledge)
    named = ((knowledge.errors_by_name.get(one.name), one) for one in read)
    found = [filled(rule, one) for rule, one in named if rule is not None]
    found += [
        filled(entry.rule, failure)
        for entry in find_errors(without_explained(text, read), knowledge)
        if not entry.rule.fallback
    ]
    return min(found, key=lambda rule: reasons.behaviour(rule.reason).depth, default=None)
