"""How texts of others are shown, with one function for each target: a line, Markdown, texts for programs.

Others are the programs in an image, the people who name nodes and write files, and the API server. Their texts may
contain anything: line breaks that make up a row of a table, escape sequences that move the cursor or fill the clipboard,
characters that change the order of reading, Markdown, HTML. Nothing of it has an effect after these functions.

:func:`one_line` is for terminals, logs, conditions, Events and stored messages, :func:`in_markdown` for Markdown, and
:func:`escaped_json` for JSON. All take time linear in the length of the text.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

CUT: Final = "…"
"""The last character of a text that was cut."""
MAX_MARKS: Final = 4
"""How many combining marks (accents) one letter may have. More would cover the lines above and below."""
_READ_FACTOR: Final = 4
"""A text is read up to this multiple of the length that is shown, because invisible characters are removed."""

_SEQUENCE: Final = re.compile(
    # CSI, such as colours and moves of the cursor; in 7-bit and in 8-bit form, like all others.
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    # OSC, DCS, SOS, PM and APC with their text: titles, links, the clipboard.
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]{0,4096}(?:\x07|\x1b\\|\x9c)"
    # The rest, such as SS3 and a change of the character set. Of a sequence without its end, only the start is removed.
    r"|\x1b[ -/]{0,8}[0-~]"
)
"""Matches an escape sequence of a terminal (ECMA-48, https://invisible-island.net/xterm/ctlseqs/ctlseqs.html)."""
_BEYOND_ASCII: Final = re.compile(r"[^ -~]+")
_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that look like a space, but are letters or symbols in Unicode."""
_INVISIBLE: Final = re.compile(
    "[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U0001d159\U000e0100-\U000e01ef]"  # joiners, variation selectors
)
"""Matches an invisible character that Unicode lists as a mark. The others have the category Cf."""


def one_line(text: str, limit: int | None = None) -> str:
    """Return the text as one line of printable characters, of at most ``limit`` characters.

    Escape sequences and invisible characters are removed, other control characters become spaces, and several spaces
    become one. Two spaces in a line of ours therefore always separate columns. A text that is too long ends in "…".
    """
    is_cut = False
    if limit is not None and len(text) > limit * _READ_FACTOR:
        text, is_cut = text[: limit * _READ_FACTOR], True
    if "\n" in text:
        text = text.replace("\n", " ")  # many at once, which the pattern would replace one by one
    if not (text.isascii() and text.isprintable()):
        text = _BEYOND_ASCII.sub(_plain, _SEQUENCE.sub("", text))
    text = " ".join(text.split())
    if limit is None or (len(text) <= limit and not is_cut):
        return text
    return text[: limit - 1] + CUT


def several_lines(text: str, limit: int) -> str:
    """Return the text, of at most ``limit`` characters, with its line breaks, and each line shown by :func:`one_line`.

    Whoever prints it indents the lines, so that none can pass for a line of gpuenv.
    """
    lines = "\n".join(map(one_line, text[:limit].splitlines()))
    return lines if len(text) <= limit else lines[: limit - 1] + CUT


def _plain(run: re.Match[str]) -> str:
    """Return the visible characters of a run of characters beyond ASCII, each with at most :data:`MAX_MARKS` marks."""
    before = run.string[run.start() - 1] if run.start() else " "
    shown, marks = [], 0
    for char in map(_visible, run.group()):
        if not char:
            continue
        is_mark = not char.isascii() and unicodedata.category(char).startswith("M")
        marks = marks + 1 if is_mark else 0
        # A mark after a space, or at the start, would be drawn over a character of ours.
        if is_mark and (before == " " or marks > MAX_MARKS):
            continue
        shown.append(char)
        before = char
    return "".join(shown)


@lru_cache(maxsize=4096)
def _visible(char: str) -> str:
    """Return the character itself if it can be seen, else a space, the replacement character, or "" to remove it."""
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp", "Zs") or char in _BLANKS:
        return " "
    if category == "Cf" or _INVISIBLE.match(char):
        return ""
    return char if char.isprintable() else "\ufffd"


def width(text: str) -> int:
    """Return how many columns of a terminal a line takes. Most characters of East Asia and emoji take two."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    # Vowels and final consonants of Hangul are drawn into the block of the consonant before them.
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


_MARKDOWN: Final = re.compile(r"[\\`*_\[\]<>&|~$]|@+|(?<=:)/(?=/)|#(?=\d)|(?<=www)\.", re.IGNORECASE)
_MARKDOWN_START: Final = re.compile(r"[#+=-]|\d{1,9}(?=[.)](?: |$))")
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def in_markdown(text: str, limit: int | None = None) -> str:
    """Return the text as one line of Markdown in which nothing has a meaning: no HTML, link, image, code or table cell.

    ``limit`` is the number of characters of the text before its characters are escaped.
    """
    line = _MARKDOWN.sub(_escaped, one_line(text, limit))
    start = _MARKDOWN_START.match(line)
    if start is None:
        return line
    # The start of a heading, of a list, or of the line below a heading.
    return f"{line[: start.end()]}\\{line[start.end() :]}" if start[0].isdigit() else f"\\{line}"


def _escaped(match: re.Match[str]) -> str:
    found = match[0]
    # GitHub links the name after an @, and the issue after a #, even after a backslash; but not after code.
    return f"`{found}`" if found[0] in "@#" else _ENTITIES.get(found, f"\\{found}")


def escaped_json(document: str) -> str:
    """Return a JSON text with ``\\u`` escapes for all characters that cannot be seen. It has the same meaning.

    Line breaks between the values are kept. Within strings, JSON has none.
    """
    if document.isascii() and document.replace("\n", "").isprintable():
        return document
    return _BEYOND_ASCII.sub(lambda run: "".join(map(_escape, run.group())), document)


@lru_cache(maxsize=4096)
def _escape(char: str) -> str:
    if char == "\n" or _visible(char) == char:
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def is_visible(text: str) -> bool:
    """Return whether all characters of a text can be seen, line breaks apart."""
    return all(char == "\n" or _visible(char) == char for char in text)
