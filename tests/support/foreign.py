"""Foreign texts for tests: what images, nodes and files may contain, and whether nothing of it has an effect."""

import unicodedata
from typing import Final

from hypothesis import strategies as st

ATTACKS: Final = (
    "L4 Compatible\nnode-7 NVIDIA H100",
    "a\n✓ kernels",
    "2.9.1\nAll nodes are fine and \x1b[2K\r",
    "\x1b]52;c;cm0gLXJmIH4=\x07\x1b]0;title\x07\x9b31m\x1b[10A",
    "\x9d52;c;eA==\x9c\x90q\x9c\x1bOA\x1b(0\x1bc",
    "evil\u202etxt\u2066.exe\u200b\ufeff\U000e0041\ufe0f",
    "Z" + "\u0335" * 40 + "\ud800\udfff\ue000",
    "x | <img src=https://evil/> [click](https://evil/) \\| `@everyone`",
    "\u2028\u2029\x85\x0b\x0c\x1c\r\n\t",
    "  two  columns  Compatible  ",
    "[bold red]x[/] [link=https://evil/]y[/link]",
)
"""Texts that had an effect once, or that might have one in some place."""

_PIECES: Final = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["\n", "\r", "\t", "\x1b", "\x1b[", "\x1b]", "\x07", "\x9b", "\x9d", "\x9c", "\x00", "|", "\\", "`"]),
    st.sampled_from(["\u202e", "\u200b", "\u0335", "\ufe0f", "\U000e0041", "\ud800", "\u2028", "\x85", "<b>", "](x)"]),
    st.characters(),
)  # fmt: skip

FOREIGN: Final = st.one_of(st.sampled_from(ATTACKS), st.lists(_PIECES, max_size=12).map("".join))
"""Any text, made more often of characters with a meaning somewhere."""


def is_plain(line: str) -> bool:
    """Return whether a line has only characters that can be seen, and spaces."""
    hidden = ("\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", "\u2800")
    return line.isprintable() and not any(
        char in hidden
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0000" <= char <= "\U000e0fff"
        or unicodedata.category(char)[0] == "C"
        for char in line
    )
