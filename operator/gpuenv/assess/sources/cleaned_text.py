"""Pasted text made searchable: without colours, entities and curly quotes, and a copy without line breaks.

Issue trackers, terminals and log collectors change what software has printed. Every step here is linear in the text.
"""

import re

HALF = 1_000_000
"""How many characters are read from each end of a text: logs name versions at their start and errors at their end."""

_NOISE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|[*`\x00\ufeff\u200b]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_SPELLINGS = (
    ("\r\n", "\n"), ("\r", "\n"), ("\u00a0", " "), ("\t", " "),
    ("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2011", "-"),
    ("&#39;", "'"), ("&#x27;", "'"), ("&apos;", "'"), ("&rsquo;", "'"), ("&quot;", '"'), ("&#34;", '"'),
    ("&nbsp;", " "), ("&#160;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"),
)  # fmt: skip
"""Spellings that editors, browsers and issue trackers put in the place of plain characters."""

_LINE_START = re.compile(
    r"\n[\n ]{0,80}(?:\d{4}-\d\d-\d\dT[\d:.,Z+-]{6,30} std(?:out|err) [FP] )?(?:\[[^\]\n]{1,40}\]:? {1,3}){0,2}"
    r"(?:[\w./-]{1,60} {0,12}\| ?)?(?:(?:NVRM|kernel): {0,40}){0,2}(?:[>#|] {0,8})? {0,40}"
)
"""A line break, and what stands before the next line: containerd's ``2026-11-24T12:00:00Z stderr F``, Compose's
``vllm-1  |``, the kernel's ``[  12.3] NVRM:``, and quoting.
"""


def ends(text: str) -> str:
    """Return the first and the last :data:`HALF` characters of a text."""
    return text if len(text) <= 2 * HALF else f"{text[:HALF]}\n{text[-HALF:]}"


def clean(text: str) -> str:
    """Return a text without colours, emphasis and entities, cut to twice :data:`HALF` characters."""
    text = ends(text)
    for spelling, plain in _SPELLINGS:
        if spelling in text:
            text = text.replace(spelling, plain)
    return _EMPTY_LINES.sub("\n\n", _NOISE.sub("", text))


def unwrapped(text: str) -> str:
    """Return a text on one line, as it was before a terminal wrapped it or a log collector put prefixes in it."""
    return _LINE_START.sub(" ", text)


def lower(text: str) -> str:
    """Return a text in lower case, with every character at its old position.

    Some letters become two in lower case. A text with such letters keeps all that are not ASCII.
    """
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(char.lower() if char.isascii() else char for char in text)
