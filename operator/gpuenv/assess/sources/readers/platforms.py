"""Reads from which platforms a text comes, such as Windows, Docker or Google Colab, by the signs in platforms.yaml."""

from typing import Final

from gpuenv.assess.facts import Facts, NodeFacts, Source
from gpuenv.assess.sources.text.cleaned_text import lower
from gpuenv.knowledge.model import Knowledge

MAX_TRIES: Final = 50
"""How many places of a sign are tried in a text. At most of them the sign would have to be part of a longer word."""


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the platforms of which the text shows signs, in the order of the table."""
    lowered = lower(text)
    signs = tuple(
        row.name for row in knowledge.platforms if any(_stands(sign, lowered) for sign in row.signs)
    )
    return Facts(source=Source.ERROR_TEXT, node=NodeFacts(signs=signs))


def _stands(sign: str, lowered: str) -> bool:
    """Return whether a sign stands in a text and is not part of a longer word or path there."""
    start = lowered.find(sign)
    for _ in range(MAX_TRIES):
        if start < 0:
            return False
        end = start + len(sign)
        before, after = lowered[start - 1 : start], lowered[end : end + 1]
        begins = not before.isalnum() or not (sign[0].isalnum() or sign[0] == "/")
        if begins and not (sign[-1].isalnum() and after.isalnum()):
            return True
        start = lowered.find(sign, end)
    return False
