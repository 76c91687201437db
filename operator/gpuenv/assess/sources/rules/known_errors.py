"""Finds the rules of errors.yaml whose words occur in an error text.

The search uses only substrings and bounded patterns, and the number of places where it tries a pattern is limited, so
that no text can make it slow. It begins with one pass over the text (:mod:`gpuenv.assess.sources.rules.first_parts`), after
which only those rules are tried that can match at all. All parts of a pattern must be in one line. Because a terminal
may have wrapped the line, a copy of the text without line breaks is searched, too. In that copy, only patterns of one
part with several words count: several parts could come together there by chance.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gpuenv.api import reasons
from gpuenv.assess.sources.rules.first_parts import FirstParts, first_parts
from gpuenv.assess.sources.text.cleaned_text import lower, unwrapped
from gpuenv.knowledge.model import ErrorRule, Knowledge

MAX_OCCURRENCES = 50
"""Number of occurrences of a pattern's first part that are tried before the pattern counts as not found."""
MIN_TRIES: Final = 30
"""Number of places at which patterns are tried in the shortest text. After them, the others count as not found."""
TRIES_PER_CHARACTER: Final = 0.125
"""Number of further places for each character of a text. Real error messages need less than two thirds of all places."""
REACH = 300
"""Number of characters after one part of a pattern within which the next part must end."""
STARTS = "CUDA does not start"
"""First words of the message of a failure that happened while CUDA started or counted its devices.

They are used for failures of which only CUDA's error number is known.
"""
MAX_WORDS = 420
MAX_XIDS = 200
_CONTEXT = 120
_FEWEST_WORDS = 3
_DISPROVABLE = 400
"""Number of characters before a match that are searched for the words in ``unless`` of the rule.

If such a word is on the same line, the rule does not apply.
"""

_XID = re.compile(
    r"(?<![a-z])xid(?:_errors)?(?:\{[^}\n]{0,300}\}|,? \([^)\n]{1,40}\):?| errors?:?| code:?|[:=-])? {0,3}(\d{1,3})(?![\d.])"
)
"""Matches the number of an Xid, an error that NVIDIA's kernel driver logs as ``Xid (PCI:0000:3b:00): 79,``.

The forms in which people and NVIDIA's DCGM write the number match, too. https://docs.nvidia.com/deploy/xid-errors/
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A known error in a text: the rule that it matches, and the place in the text where it matches first.

    ``position`` is the index of this place; it lies beyond the end of the text if the error was found only in the copy
    without line breaks. ``words`` are the matched words and a few words after them.
    """

    rule: ErrorRule
    position: int
    words: str


class _Search:
    """A text with everything that the search for rules needs: the rules that can match, and the tries that are left."""

    def __init__(self, text: str, knowledge: Knowledge) -> None:
        """Prepare the search in ``text``. ``words`` is the text without harmless lines, ``lowered`` in lower case."""
        self.parts: FirstParts = first_parts(knowledge)
        self.left = MIN_TRIES + int(TRIES_PER_CHARACTER * len(text))
        self.words, self.lowered = _without_harmless(text, lower(text), knowledge)
        self.joined = unwrapped(self.words) if "\n" in text else ""
        self.wrapped = lower(self.joined)
        self.present = self.parts.present(self.lowered) | self.parts.present(self.wrapped)
        self.xids = _xids(self.lowered)
        numbers = {number for part in self.present for number in self.parts.rules[part]}
        numbers |= {number for xid in self.xids for number in self.parts.rules_of_xids.get(xid, ())}
        self.rules: Sequence[ErrorRule] = [knowledge.errors[number] for number in sorted(numbers)]

    def patterns(self, rule: ErrorRule) -> list[tuple[str, ...]]:
        """Return those patterns of a rule whose first part the text contains."""
        return [parts for parts in rule.text if parts[0].removesuffix("$") in self.present]


def find_errors(text: str, knowledge: Knowledge) -> list[Found]:
    """Return all known errors in ``text``, at most one for each rule, the one closest to the root cause first.

    The ``depth`` of a reason says how close it is.
    A ``fallback`` rule says only that something failed. It counts only if no other rule explains the failure.
    """
    search = _Search(text, knowledge)
    found = []
    for rule in search.rules:
        if not rule.fallback:
            place = _place(search, search.lowered, rule)
            place = place or next((search.xids[xid] for xid in rule.xids if xid in search.xids), None)
            if place:
                found.append(Found(rule, place[0], _words(search.words, *place)))
            elif search.wrapped and (place := _wrapped_place(search, rule)):
                found.append(Found(rule, len(search.words) + place[0], _words(search.joined, *place)))
    found += _fallbacks(search, found)
    order = search.parts.order
    return sorted(
        found, key=lambda entry: (reasons.behaviour(entry.rule.reason).depth, order[entry.rule.name])
    )


def only_harmless(text: str, knowledge: Knowledge) -> bool:
    """Return whether ``text`` consists of harmless lines only, which look like failures but are none."""
    return not _without_harmless(text, lower(text), knowledge)[0].strip()


def unknown_xids(text: str, knowledge: Knowledge) -> list[int]:
    """Return the numbers of those Xid errors in ``text`` that are in no rule of errors.yaml."""
    known = knowledge.errors_by_code
    return [number for number in _xids(lower(text)) if ("xid", number) not in known]


def _xids(lowered: str) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    if "xid" in lowered:
        for match in islice(_XID.finditer(lowered), MAX_XIDS):
            if int(match[1]):
                found.setdefault(int(match[1]), match.span())
    return found


def _fallbacks(search: _Search, found: list[Found]) -> list[Found]:
    """Return the errors in a text that match ``fallback`` rules, which say only that something failed.

    Rules whose ``fallback`` is ``line`` count on lines that match no other rule. Those with ``text`` count only if the
    whole text matches no other rule, except rules with the status Note. ``found`` are the errors that match the other
    rules.
    """
    explained = any(entry.rule.status != "Note" for entry in found)
    others = [rule for rule in search.rules if not rule.fallback]
    told: list[Found] = []
    for rule in search.rules:
        if not rule.fallback or (rule.fallback == "text" and (explained or told)):
            continue
        for parts in search.patterns(rule):
            place = _unexplained(search, parts, rule.unless, others)
            if place is not None:
                told.append(Found(rule, place[0], _words(search.words, *place)))
                break
    return told


def _unexplained(
    search: _Search, parts: tuple[str, ...], unless: tuple[str, ...], others: Sequence[ErrorRule]
) -> tuple[int, int] | None:
    """Return the first match of a pattern on a line that matches none of the rules ``others``, or None."""
    position = 0
    for _ in range(MAX_OCCURRENCES // 2):
        place = _find(search, search.lowered, parts, unless, position)
        if place is None:
            return None
        line = search.lowered[
            _line_start(search.lowered, place[0]) : _line_end(search.lowered, place[1], REACH)
        ]
        if not any(_place(search, line, rule) for rule in others):
            return place
        position = place[1]
    return None


def _without_harmless(text: str, lowered: str, knowledge: Knowledge) -> tuple[str, str]:
    """Return ``text`` and ``lowered`` with spaces in place of harmless lines, so that positions do not change.

    ``lowered`` is ``text`` in lower case. Harmless lines look like failures but are none.
    """
    spans: list[tuple[int, int]] = []
    for mark in (mark for row in knowledge.harmless for mark in row.text):
        position = lowered.find(mark)
        while position >= 0:
            start, end = lowered.rfind("\n", 0, position) + 1, lowered.find("\n", position)
            end = len(lowered) if end < 0 else end
            spans.append((start, end))
            position = lowered.find(mark, end)
    if not spans:
        return text, lowered
    pieces, last = [], 0
    for start, end in sorted(spans):
        if start >= last:
            pieces += [(last, start, False), (start, end, True)]
            last = end
    pieces.append((last, len(text), False))

    def blanked(whole: str) -> str:
        return "".join(" " * (end - start) if blank else whole[start:end] for start, end, blank in pieces)

    return blanked(text), blanked(lowered)


def _words(text: str, start: int, end: int) -> str:
    """Return the matched words and a few words after them on the same line."""
    words = " ".join(text[start : end + _CONTEXT].split("\n", maxsplit=1)[0].split())
    whole = " ".join(text[start:end].split())
    return (words if len(words) >= len(whole) else whole)[:MAX_WORDS]


def _place(search: _Search, lowered: str, rule: ErrorRule) -> tuple[int, int] | None:
    """Return the first match of any pattern of a rule in ``lowered``: the text of the search, or a line of it."""
    found = (_find(search, lowered, parts, rule.unless) for parts in search.patterns(rule))
    return min((place for place in found if place is not None), default=None)


def _wrapped_place(search: _Search, rule: ErrorRule) -> tuple[int, int] | None:
    for parts in search.patterns(rule):
        if len(parts) == 1 and parts[0].count(" ") >= _FEWEST_WORDS - 1:
            place = _find(search, search.wrapped, parts, rule.unless)
            if place is not None:
                return place
    return None


def _find(
    search: _Search, text: str, parts: tuple[str, ...], unless: tuple[str, ...], position: int = 0
) -> tuple[int, int] | None:
    """Return (start, end) of the first match of a pattern at or after ``position``, or None.

    A match has all ``parts`` in this order on one line, and that line contains no word of ``unless``.
    """
    first = parts[0].removesuffix("$")
    whole = len(parts) == 1 and first is parts[0]
    start = text.find(first, position)
    for _ in range(MAX_OCCURRENCES):
        if start < 0 or search.left <= 0:
            return None
        search.left -= 1
        end = start + len(first) if whole else _follow(text, start, parts)
        if end >= 0 and not _disproved(text, start, end, unless):
            return start, end
        start = text.find(first, start + 1)
    return None


def _follow(text: str, start: int, parts: tuple[str, ...]) -> int:
    position = start
    for number, part in enumerate(parts):
        wanted = part.removesuffix("$")
        found = start if number == 0 else text.find(wanted, position, _line_end(text, position, REACH))
        if found < 0:
            return -1
        position = found + len(wanted)
        following = text[position : position + 1]
        if wanted != part and (following.isalnum() or following in ("_", "-")):
            return -1  # ``$`` says that a word ends here, but in the text the word goes on
    return position


def _disproved(text: str, start: int, end: int, unless: tuple[str, ...]) -> bool:
    if not unless:
        return False
    line = text[_line_start(text, start) : _line_end(text, end, REACH)]
    return any(word in line for word in unless)


def _line_start(text: str, position: int) -> int:
    low = max(0, position - _DISPROVABLE)
    found = text.rfind("\n", low, position)
    return low if found < 0 else found + 1


def _line_end(text: str, position: int, reach: int) -> int:
    found = text.find("\n", position, position + reach)
    return position + reach if found < 0 else found
