"""Texts, numbers and JSON values that have broken programs before, and changes that put them anywhere into a document."""

from typing import Any, Final

from tests.fuzz.choices import Choices

from gpuenv.knowledge import load

TEXTS: Final = (
    "",
    "x" * 251,
    "x" * 300,
    "ü" * 600,
    "\U0001f525" * 600,
    "a\nb\nc",
    "L4 Compatible\nnode-7 NVIDIA H100",
    "\x1b]52;c;aGVsbG8=\x07",
    "\x1b[2J\x1b[31mred",
    "\x9b31m\x90q\x9c",
    "\u202etxt.exe\u2066\u2069",
    "\u200b\u200d\ufeff\u2060",
    "\U000e0041\U000e0042",
    "a" + "\u0301" * 80,
    "\x00\x01\x7f\x85\u2028\u2029",
    "x | <img src=x onerror=y> [click](https://example.com/) `code` \\| |",
    "</script><script>",
    "{{ template }} ${HOME} $(id) `id` %s %n {0}",
    "'; --",
    "../../../etc/passwd",
    "2.9.1+cu128\nAll nodes are fine",
    "999999999999999999999.1",
    "1." * 200,
    "9" * 5000,
    ">=" + "9" * 5000,
    "-1",
    "NaN",
    "true",
    "cudaErrorNotSupported cudaErrorNotSupported",
    "out of memory " * 40,
    "\ud800",
    "\udfff\ud800",
)
NUMBERS: Final = (
    0, 1, -1, 2, 7, 255, 1024, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30,
    0.5, -0.0, 1e-320, 1e308, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
ERRORS: Final = tuple(sorted({parts[0].rstrip("$") for rule in load().errors for parts in rule.text}))
"""The words by which the tables know an error. A text that contains many of them is expensive to classify."""
_LONGEST: Final = 20_000
_LONGEST_INSIDE: Final = 600
_DEEP: Final = (3, 10, 60, 400)


def text(choices: Choices) -> str:
    """Return a text: a hostile one, the words of known errors, or random characters."""
    kind = choices.below(8)
    if kind < 4:
        return choices.one_of(TEXTS)
    if kind < 6:
        return " ".join(choices.one_of(ERRORS) for _ in range(1 + choices.below(12)))
    repeated = chr(choices.below(0x2FFF)) if choices.chance(2) else choices.one_of(TEXTS)
    return (repeated * choices.one_of((1, 1, 3, 3, 40, 250, 600, 3000)))[:_LONGEST]


def value(choices: Choices, depth: int = 0) -> Any:
    """Return any JSON value, also ones that JSON itself does not have, such as NaN."""
    kind = choices.below(12)
    if kind < 5:  # a long text in many places would be gigabytes
        return text(choices)[: _LONGEST_INSIDE if depth else _LONGEST]
    if kind < 8:
        return choices.one_of(NUMBERS)
    if kind == 8:
        return choices.one_of((None, True, False, [], {}, "", 0))
    if kind == 9:
        nested: Any = choices.one_of(TEXTS)
        for _ in range(choices.one_of(_DEEP)):
            nested = [nested] if choices.chance(2) else {"k": nested}
        return nested
    if depth > 3:
        return None
    if kind == 10:
        items = [value(choices, depth + 1) for _ in range(choices.below(4 if depth else 8))]
        return items * (1 if depth else choices.one_of((1, 1, 1, 64)))
    return {text(choices)[:300]: value(choices, depth + 1) for _ in range(choices.below(4 if depth else 8))}


def changed(choices: Choices, document: Any, changes: int) -> Any:
    """Return a copy of a JSON document in which up to ``changes`` places are changed."""
    document, budget = copied(document), 1
    for _ in range(changes):
        places = list(_places(document))
        if not places:
            return value(choices)
        parent, key = places[choices.below(len(places))]
        match choices.below(8):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, list) and budget > 0:
                budget -= 1  # one long list in another would be millions of entries
                parent *= choices.one_of((2, 8, 64, 300))
                del parent[1024:]
            case 2 if isinstance(parent, dict):
                parent[text(choices)[:200]] = value(choices)
            case 3 if isinstance(parent, list):
                parent.append(value(choices))
            case _:
                parent[key] = value(choices)
    return document


def copied(document: Any) -> Any:
    """Return a deep copy of a JSON document. ``copy.deepcopy`` takes ten times as long."""
    if isinstance(document, dict):
        return {key: copied(item) for key, item in document.items()}
    return [copied(item) for item in document] if isinstance(document, list) else document


def _places(document: Any) -> Any:
    """Yield (object or list, key or index) for each value in a document, the outermost first."""
    queue = [document]
    for one in queue:
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, item in list(items)[:40]:
            yield one, key
            if isinstance(item, dict | list) and len(queue) < 200:
                queue.append(item)
