"""Recognises advice in a text: what programs and people recommend is not what is set or installed."""

import re
from typing import Final

from gpuenv.assess.sources.text.lazy_pattern import LazyPattern

_ADVICE: Final = LazyPattern(
    r"\b(?:consider|please|try|trying|should|could|can|may|might|must|need|recommend(?:ed)?|suggest(?:ed)?|advise[ds]?|e\.g\."
    r"|for example|for instance|such as|make sure|ensure|instead|if you|you have to|do not|don't|never|without|unless"
    r"|(?:by|when|or|then|and|to|variable) (?:setting|passing|using|running|exporting|set|pass|export|unset)"
    r"|setting|passing|unset|hint|tip|workaround|solution|fix(?:ed)?)\b",
    re.IGNORECASE,
)
_CONDITION: Final = LazyPattern(
    r"\b(?:if|when|whenever|in case) you (?:still |also |ever )?(?:see|get|receive|encounter|run into|face|observe)\b"
    r"(?:[^\n.]|\.(?! [a-z])){0,300}",
    re.IGNORECASE,
)
"""Matches the rest of a sentence that begins with a condition, such as ``If you see "CUDA error", upgrade``."""
_BEFORE: Final = 200
"""Number of characters before a value, on the same line, that are searched for words of advice."""


def without_conditions(text: str) -> str:
    """Return the text with spaces in place of sentences that say what to do if an error is seen: it was not seen there."""
    return _CONDITION.sub(lambda found: " " * len(found[0]), text)


def is_advice(text: str, position: int) -> bool:
    """Return whether the words before ``position`` on the same line recommend what follows, or warn of it."""
    start = max(text.rfind("\n", 0, position) + 1, position - _BEFORE)
    return bool(_ADVICE.search(text, start, position))
