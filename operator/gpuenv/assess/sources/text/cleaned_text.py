"""Functions that prepare pasted text for searching.

They remove colours, HTML entities, curly quotes, quotation marks of Markdown, log prefixes and line breaks, which issue
trackers, terminals and log collectors have added to what a program printed. Every step takes time linear in the length of
the text.
"""

import re
from functools import lru_cache

HALF = 1_000_000
"""Number of characters that are read from each end of a long text.

Logs name versions at their start and errors at their end.
"""

_COLOURS = re.compile(
    r"(?:\x1b|\^\[|\u241b|\\(?:x1[bB]|u001[bB]|033|e))\[[0-9;?]{0,16}[A-Za-z]|\[(?:\d{1,3};){0,5}\d{1,3}m"
    r"|\x1b\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]"
)
"""Matches an escape sequence of a terminal, also where its first character was lost or spelled out (``[0;31m``)."""
_FENCE = re.compile(r"^[ >]{0,12}(?:```|~~~)[\w+-]{0,20} *$", re.MULTILINE)
_QUOTED = re.compile(r"^ {0,3}(?:>(?!>) ?){1,8}", re.MULTILINE)
_NOISE = re.compile(r"[*`\x00\ufeff\u200b]")
_ESCAPED = re.compile(r"""((?:\\{1,2}r)?\\{1,2}n)|(\\{1,2}[rt])|\\(?=["'])""")
_ESCAPED_SURELY = re.compile(r"""(?:\\{1,2}r)?\\{1,2}n(?=[ \\"'\])}]|$)""")
_PATH = re.compile(r"""(?<![A-Za-z])[A-Za-z]:\\|\\[^nrt"'\\u]""")
"""Matches a Windows path: a drive, or a backslash before a character that it does not escape."""
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
_SETTING = re.compile(
    r'"(?!(?:err|error|msg|message|reason|detail)")[\w.$/@-]{1,80}": {0,4}'
    r'(?:true|false|null|-?[\d.]{1,20}|"[^"\s]{0,200}"|[\[{]),?'
    r'|[\[\]{}],?|[\w.-]{1,80} {0,8}= {0,8}(?:true|false|"[^"\s]{0,200}"|[\d.]{1,20}|\[[^\]\n]{0,200}\])|\[[\w."-]{1,100}\]',
)
"""Matches a whole line of a configuration in JSON or TOML, such as ``"failOnInitError": false,``."""


def is_setting(line: str) -> bool:
    """Return whether a line without indentation belongs to a configuration in JSON or TOML, as programs print it.

    Words such as "error" in it are names of settings and report no failure.
    """
    return _SETTING.fullmatch(line) is not None


def ends(text: str) -> str:
    """Return the text, or its first and its last :data:`HALF` characters if it is longer than both together."""
    return text if len(text) <= 2 * HALF else f"{text[:HALF]}\n{text[-HALF:]}"


@lru_cache(maxsize=2)
def clean(text: str) -> str:
    """Return the text without colours, emphasis, quotation marks, HTML entities and log prefixes.

    It is shortened by :func:`ends`. Line breaks that are spelled out (``\\n``) become line breaks.
    """
    from gpuenv.assess.sources.text.log_prefixes import without_prefixes  # noqa: PLC0415 - compiling its pattern takes 6 ms

    return _EMPTY_LINES.sub("\n\n", without_prefixes(plain(text)))


@lru_cache(maxsize=2)
def plain(text: str) -> str:
    """Return the text as :func:`clean` does, with its log prefixes."""
    text = ends(text)
    for spelling, character in _SPELLINGS:
        if spelling in text:
            text = text.replace(spelling, character)
    text = _COLOURS.sub("", text)
    if "\\" in text:
        text = "\n".join(map(_broken, text.split("\n")))
    return _NOISE.sub("", _QUOTED.sub("", _FENCE.sub("", text)))


def _broken(line: str) -> str:
    r"""Return a line with line breaks and tabs instead of their spellings ``\n`` and ``\t``.

    In a line with a Windows path, most backslashes belong to paths such as ``C:\new``. Only those count there that no
    name can follow.
    """
    if "\\n" not in line and '\\"' not in line:
        return line
    if _PATH.search(line):
        return _ESCAPED_SURELY.sub("\n", line)
    return _ESCAPED.sub(lambda found: "\n" if found[1] else " " if found[2] else "", line)


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
