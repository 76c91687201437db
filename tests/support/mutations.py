"""Valid documents with some of their parts replaced, for tests of what reads files of others."""

import copy
from typing import Any, Final

from hypothesis import strategies as st

ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 2**63, 10**39, 1e300, -0.5, "", " ", "x", "x" * 5000, "a\nb", "\x1b[31m", "\u202e", "\ud800",
    "NaN", "2026-99-99", "1e400", "[", "-", "٣", [], {}, [[]], [{}], [1], [None], ["a", 1], {"a": 1}, {"": None},
)  # fmt: skip
"""Values that are wrong, or extreme, in most places."""


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Return the document with up to three parts replaced, removed, added or doubled."""
    document = copy.deepcopy(document)
    odd = st.sampled_from(ODD).map(copy.deepcopy)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            return draw(odd)
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "double"]))
        if change == "replace":
            container[key] = draw(odd)
        elif change == "remove":
            del container[key]
        elif isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif change == "add":
            container[draw(st.sampled_from(["", "x", "name", "spec", "stage", "\n"]))] = draw(odd)
        else:
            container[f"{key}2"] = copy.deepcopy(container[key])
    return document


def _places(value: Any) -> Any:
    """Yield (container, key) of every value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)
