"""From an error to what it means: by its words first, then by its number. Plain substring search, so no text can be hostile."""

from dataclasses import dataclass

from gpuenv.assess.facts import Failure
from gpuenv.assess.rank import rank
from gpuenv.knowledge.model import ErrorRule, Knowledge

MAX_OCCURRENCES = 50
"""Occurrences of a first part that are looked at before giving up on the rest of a pattern."""
REACH = 300
"""Characters within which the next part of a pattern must follow."""

_NUMBERED = frozenset({"cuda", "cudart", "nvml", "os"})


@dataclass(frozen=True, slots=True)
class Found:
    """A known error in a text, and where it first occurs: from ``position`` to ``end``."""

    rule: ErrorRule
    position: int
    end: int


def classify(failure: Failure, knowledge: Knowledge) -> ErrorRule | None:
    """The rule for one failure: the deepest cause its words name, else its number; None when the tables know neither."""
    known = knowledge.errors_by_name.get(failure.name)
    if known is not None:
        return known
    found = (
        find_errors(f"{failure.name}: {failure.message}", knowledge)
        if failure.message or failure.name
        else []
    )
    if found:
        return found[0].rule
    if failure.code is not None and failure.layer in _NUMBERED:
        layer = "cuda" if failure.layer == "cudart" else failure.layer
        return knowledge.errors_by_code.get((layer, failure.code))
    return None


def find_errors(text: str, knowledge: Knowledge) -> list[Found]:
    """All known errors in ``text``, each rule once, deepest cause first (then the first mentioned)."""
    lowered = text.lower()
    found = []
    for rule in knowledge.errors:
        places = [place for parts in rule.text if (place := _find(lowered, parts)) is not None]
        if places:
            found.append(Found(rule, *min(places)))
    return sorted(found, key=lambda entry: (rank(entry.rule.reason), entry.position))


def _find(text: str, parts: tuple[str, ...]) -> tuple[int, int] | None:
    """Where all ``parts`` occur one after the other, each within reach of the one before."""
    start = text.find(parts[0])
    for _ in range(MAX_OCCURRENCES):
        if start < 0:
            return None
        end = _follow(text, start + len(parts[0]), parts[1:])
        if end >= 0:
            return start, end
        start = text.find(parts[0], start + 1)
    return None


def _follow(text: str, position: int, parts: tuple[str, ...]) -> int:
    for part in parts:
        found = text.find(part, position, position + REACH)
        if found < 0:
            return -1
        position = found + len(part)
    return position
