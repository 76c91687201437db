"""Foreign text stays text: the functions that show it on one line, in Markdown and for programs."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.support.foreign import FOREIGN, is_plain

from gpuenv.api.foreign_text import CUT, MAX_MARKS, escaped_json, in_markdown, one_line, several_lines, width

RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("2 × Müller-Straße 日本語 ✓", "2 × Müller-Straße 日本語 ✓"),
        ("L4 Compatible\nnode-7 NVIDIA H100", "L4 Compatible node-7 NVIDIA H100"),
        ("a\r\n\tb\x0b\x0cc\x85d\u2028e\u2029f\u00a0g", "a b c d e f g"),
        ("  two   columns  ", "two columns"),
        ("\x1b[31mred\x1b[0m \x1b[2J\x1b[10;1Hmoved \x9b31mred", "red moved red"),
        ("\x1b]0;title\x07a\x1b]52;c;cm0gLXJmIH4=\x1b\\b\x9d52;c;eA==\x9cc", "abc"),
        ("\x1b]8;;https://evil/\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1bP1$r q\x1b\\a\x90q\x9cb\x1b^pm\x1b\\c\x1b_apc\x07d\x1bXsos\x1b\\e", "abcde"),
        ("\x1bcreset \x1b(0charset \x1bOPkey \x1b#8test", "reset charset Pkey test"),
        ("\x1b]52;c;no end", "52;c;no end"),
        ("\x1b", ""),
        ("bell\x07 back\x08\x08space del\x7f nul\x00x", "bell back space del nul x"),
        ("evil\u202e\u2066txt.exe\u2069\u200e", "eviltxt.exe"),
        ("z\u200be\u200cr\u200do\u2060w\ufeffi\u00addth\u180e", "zerowidth"),
        ("tag\U000e0041\U000e007f var\ufe0f\U000e0100 cgj\u034f", "tag var cgj"),
        ("half \ud83d of \udc00", "half \ufffd of \ufffd"),
        ("private \ue000 not \U0001fbff\uffff", None),
        ("\u0301starts and \u0301space", "starts and space"),
        ("Z\u0301" + "\u0335" * 50 + "algo", "Z\u0301" + "\u0335" * (MAX_MARKS - 1) + "algo"),
        ("blank\u2800\u3164x", "blank x"),
    ],
)
def test_what_a_line_shows(text: str, line: str | None) -> None:
    shown = one_line(text)
    assert shown == line or line is None
    assert is_plain(shown)


@given(FOREIGN)
def test_a_line_is_printable_and_stays_as_it_is(text: str) -> None:
    shown = one_line(text)
    assert is_plain(shown)
    assert "  " not in shown
    assert one_line(shown) == shown
    assert not unicodedata.category((shown or "x")[0]).startswith("M")


@given(FOREIGN, st.integers(1, 30))
def test_a_line_has_its_limit(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert len(shown) <= limit
    assert one_line(shown, limit) == shown
    if len(one_line(text)) > limit:
        assert shown.endswith(CUT)


def test_invisible_characters_cost_no_time_and_leave_a_sign() -> None:
    assert one_line("\u200b" * 1_000_000 + "x", 100) == CUT


@given(FOREIGN, st.integers(1, 50))
def test_several_lines_are_lines_of_their_own(text: str, limit: int) -> None:
    shown = several_lines(text, limit)
    assert len(shown) <= limit
    assert all(is_plain(line) for line in shown.split("\n"))


def test_several_lines_keep_their_breaks() -> None:
    assert several_lines("one\x1b[31m\r\n two\u202e", 100) == "one\ntwo"


def test_the_width_is_that_on_a_terminal() -> None:
    assert [width(text) for text in ("L4", "Müller", "日本", "Z\u0301x", "한", "\u1112\u1161\u11ab")] == [
        2, 6, 4, 2, 2, 2,
    ]  # fmt: skip


HTML_OF_TEXT = ("p", "table", "thead", "tbody", "tr", "td", "th", "code")
"""Elements that text in a table may become. ``code`` is what an ``@`` becomes."""


def elements(markdown: str) -> set[str]:
    """Return the names of the HTML elements that a Markdown text becomes."""
    tokens = RENDER.parse(markdown)
    found = {token.tag for token in tokens if token.tag}
    for token in tokens:
        for child in token.children or ():
            found |= {child.tag} if child.tag else set()
            assert child.type not in ("html_inline", "link_open", "image"), child
        assert token.type != "html_block", token
    return found


ATTACKS = [
    "x | <img src=https://evil/> [click](https://evil/)",
    "![x](https://evil/)",
    "<script>alert(1)</script>",
    "\\[click](https://evil/)",
    "\\\\| second cell |",
    "back\\",
    "`code` ``x`` ```\nfence",
    "**bold** __bold__ *x* _x_ ~~gone~~",
    "<https://evil/>",
    "[x]: https://evil/",
    "&lt;b&gt; &#x5b; &amp;",
    "# title",
    "- item",
    "1. item",
    "+ item",
    "===",
    "---",
    "> quoted",
    "@everyone",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_on_markdown_stay_text(text: str) -> None:
    cell = in_markdown(text)
    assert elements(f"| a | b |\n| --- | --- |\n| {cell} | last |\n") <= set(HTML_OF_TEXT)
    assert RENDER.render(f"| a | b |\n| --- | --- |\n| {cell} | last |\n").count("<td>") == 2
    assert elements(f"{cell}\n") <= {"p", "code"}


@given(FOREIGN)
def test_every_text_is_one_cell_of_markdown(text: str) -> None:
    cell = in_markdown(text)
    table = f"| a | b |\n| --- | --- |\n| {cell} | last |\n"
    assert elements(table) <= set(HTML_OF_TEXT)
    assert RENDER.render(table).count("<td>") == 2
    assert elements(f"{cell}\n") <= {"p", "code"}


def test_github_finds_no_name_issue_or_address_to_link() -> None:
    assert in_markdown("$x$") == "\\$x\\$"
    shown = in_markdown("@octocat https://evil/x www.evil.com org/repo#12 me@example.com")
    assert shown == "`@`octocat https:\\//evil/x www\\.evil.com org/repo`#`12 me`@`example.com"


def test_plain_text_is_still_easy_to_read_in_markdown() -> None:
    text = "PyTorch 2.9.1+cu128 (CUDA 12.8), driver 535.104.05: too old; use R550-R580."
    assert in_markdown(text) == text


@given(st.dictionaries(FOREIGN, st.lists(FOREIGN, max_size=3), max_size=3))
def test_json_has_the_same_meaning_and_nothing_invisible(value: dict[str, list[str]]) -> None:
    shown = escaped_json(json.dumps(value, indent=1, ensure_ascii=False))
    assert json.loads(shown) == json.loads(json.dumps(value))
    assert is_plain(shown.replace("\n", ""))
