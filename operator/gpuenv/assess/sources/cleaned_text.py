"""Functions that prepare pasted text for searching.

They remove colours, HTML entities, curly quotes and line breaks, which issue trackers, terminals and log collectors
have added to what a program printed. Every step takes time linear in the length of the text.
"""

import re

HALF = 1_000_000
"""Number of characters that are read from each end of a long text.

Logs name versions at their start and errors at their end.
"""

_NOISE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|[*`\x00\ufeff\u200b]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_SPELLINGS = (
    ("\r\n", "\n"), ("\r", "\n"), ("\u00a0", " "), ("\t", " "),
    ("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2011", "-"),
    ("&#39;", "'"), ("&#x27;", "'"), ("&apos;", "'"), ("&rsquo;", "'"), ("&quot;", '"'), ("&#34;", '"'),
    ("&nbsp;", " "), ("&#160;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"),
)  # fmt: skip
"""Pairs of a spelling that editors, browsers or issue trackers insert, and the character it stands for."""

_LINE_START = re.compile(
    r"\n[\n ]{0,80}(?:\d{4}-\d\d-\d\dT[\d:.,Z+-]{6,30} std(?:out|err) [FP] )?(?:\[[^\]\n]{1,40}\]:? {1,3}){0,2}"
    r"(?:[\w./-]{1,60} {0,12}\| ?)?(?:(?:NVRM|kernel): {0,40}){0,2}(?:[>#|] {0,8})? {0,40}"
)
"""Matches a line break and the prefix that a log collector put before the next line.

Examples are containerd's ``2026-11-24T12:00:00Z stderr F``, Docker Compose's ``vllm-1  |``, the kernel's
``[  12.3] NVRM:``, and the ``>`` of quoted text.
"""


def ends(text: str) -> str:
    """Return the text, or its first and its last :data:`HALF` characters if it is longer than both together."""
    return text if len(text) <= 2 * HALF else f"{text[:HALF]}\n{text[-HALF:]}"


def clean(text: str) -> str:
    """Return the text without colours, emphasis and HTML entities, shortened by :func:`ends`."""
    text = ends(text)
    for spelling, plain in _SPELLINGS:
        if spelling in text:
            text = text.replace(spelling, plain)
    return _EMPTY_LINES.sub("\n\n", _NOISE.sub("", text))


def unwrapped(text: str) -> str:
    """Return the text on one line: line breaks, and the prefixes that log collectors add to lines, become spaces."""
    return _LINE_START.sub(" ", text)


def lower(text: str) -> str:
    """Return the text in lower case, with every character at its old position.

    A few letters become two characters in lower case. In a text with such letters, only ASCII letters are converted.
    """
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(char.lower() if char.isascii() else char for char in text)
