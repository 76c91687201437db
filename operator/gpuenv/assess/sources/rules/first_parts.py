"""Finds in one pass over a text which patterns of errors.yaml can match in it: those whose first part it contains.

Most texts contain no first part at all, so that no rule has to be tried on them. The pass looks up every three
characters of the text in a dictionary, and searches only for first parts that begin with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gpuenv.knowledge.model import Knowledge

_KEY: Final = 3
"""Number of characters by which first parts are looked up. Hardly any text has many of the three by chance."""


@dataclass(frozen=True, slots=True)
class FirstParts:
    """The first parts of all patterns, and the rules that they lead to.

    ``by_key`` maps the first ``_KEY`` characters to the first parts that begin with them. ``short`` are the first parts
    that have fewer characters. ``rules`` maps a first part, and ``rules_of_xids`` the number of an Xid, to the places of
    rules in the table. ``order`` maps the name of a rule to its place.
    """

    by_key: Mapping[str, tuple[str, ...]]
    short: tuple[str, ...]
    rules: Mapping[str, tuple[int, ...]]
    rules_of_xids: Mapping[int, tuple[int, ...]]
    order: Mapping[str, int]

    def present(self, lowered: str) -> set[str]:
        """Return the first parts that ``lowered``, a text in lower case, contains."""
        keys = {lowered[place : place + _KEY] for place in range(len(lowered) - _KEY + 1)}
        likely = [part for key in self.by_key.keys() & keys for part in self.by_key[key]]
        return {part for part in (*likely, *self.short) if part in lowered}


@lru_cache(maxsize=4)
def first_parts(knowledge: Knowledge) -> FirstParts:
    """Return the first parts of all patterns of the tables."""
    rules: dict[str, list[int]] = {}
    xids: dict[int, list[int]] = {}
    for number, rule in enumerate(knowledge.errors):
        for parts in rule.text:
            rules.setdefault(parts[0].removesuffix("$"), []).append(number)
        for xid in rule.xids:
            xids.setdefault(xid, []).append(number)
    by_key: dict[str, list[str]] = {}
    for part in rules:
        by_key.setdefault(part[:_KEY], []).append(part)
    return FirstParts(
        by_key={key: tuple(parts) for key, parts in by_key.items() if len(key) == _KEY},
        short=tuple(part for part in rules if len(part) < _KEY),
        rules={part: tuple(numbers) for part, numbers in rules.items()},
        rules_of_xids={xid: tuple(numbers) for xid, numbers in xids.items()},
        order={rule.name: number for number, rule in enumerate(knowledge.errors)},
    )
