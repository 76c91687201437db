"""A selector that no node can ever match is refused with the field and the cure; every other one is taken as it is."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import environment

from gpuenv.api.spec.environment_parser import SpecError, parse
from gpuenv.plan.validation.selection import matches

LONG = "x" * 63


def parsed(selector: dict[str, Any]) -> dict[str, Any]:
    """Return the selector as the operator understands it."""
    return parse(environment(nodes={"selector": selector})["spec"]).selector


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


KEYS = ["a", "A.b_c-9", "nvidia.com/gpu.product", "a-b.c9/X", LONG, f"{'a' * 253}/{LONG}"]
NO_KEYS = [
    "", "bad key!", "-a", "a.", "/a", "a/", "a/b/c", "Upper.com/a", "a..b/c", "-a/b", "a_b/c", "a\n", "ä", "kelvin-\u212a",
    f"{LONG}x", f"{'a' * 254}/b",
]  # fmt: skip
VALUES = ["", "a", "A.b_c-9", "570.124.06", LONG]
NO_VALUES = ["x y", "-a", "a_", ".", f"{LONG}x", "a/b", "a\n", "ä"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_labels_have(key: str) -> None:
    for selector in ({"matchLabels": {key: "x"}}, {"matchExpressions": [expression(key, "Exists")]}):
        assert parsed(selector) == selector


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_no_label_can_have(key: str) -> None:
    with pytest.raises(
        SpecError, match=r"^spec.nodes.selector.matchLabels: .*no label key; write \[prefix/\]name"
    ):
        parsed({"matchLabels": {key: "x"}})
    with pytest.raises(SpecError, match=r"^spec.nodes.selector.matchExpressions\[0\].key: "):
        parsed({"matchExpressions": [expression(key, "Exists")]})


@pytest.mark.parametrize("value", VALUES)
def test_values_that_labels_have(value: str) -> None:
    for selector in (
        {"matchLabels": {"a": value}},
        {"matchExpressions": [expression("a", "NotIn", "b", value)]},
    ):
        assert parsed(selector) == selector


@pytest.mark.parametrize("value", NO_VALUES)
def test_a_value_that_no_label_can_have(value: str) -> None:
    with pytest.raises(
        SpecError, match=r"^spec.nodes.selector.matchLabels\[a\]: .*no label value; write at most 63"
    ):
        parsed({"matchLabels": {"a": value}})
    with pytest.raises(SpecError, match=r"^spec.nodes.selector.matchExpressions\[0\].values\[1\]: "):
        parsed({"matchExpressions": [expression("a", "In", "b", value)]})


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"a": "b"}, "matchExpressions": [expression("a", "DoesNotExist")]},
        {"matchLabels": {"a": "b"}, "matchExpressions": [expression("a", "In", "c", "d")]},
        {"matchLabels": {"a": "b"}, "matchExpressions": [expression("a", "NotIn", "b")]},
        {"matchExpressions": [expression("a", "Exists"), expression("a", "DoesNotExist")]},
        {"matchExpressions": [expression("a", "In", "b", "c"), expression("a", "In", "d")]},
        {"matchExpressions": [expression("a", "In", "b", "c"), expression("a", "NotIn", "c", "b")]},
    ],
)
def test_requirements_that_contradict_each_other(selector: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        parsed(selector)
    assert str(refused.value) == (
        "spec.nodes.selector: matches no node: its requirements on a contradict each other; remove one"
    )


VALUE = st.sampled_from(["x", "y", ""])
EXPRESSION = st.builds(
    expression, st.sampled_from("ab"), st.sampled_from(["Exists", "DoesNotExist"])
) | st.builds(
    lambda key, operator, values: expression(key, operator, *values),
    st.sampled_from("ab"),
    st.sampled_from(["In", "NotIn"]),
    st.lists(VALUE, min_size=1, max_size=3),
)
SELECTOR = st.fixed_dictionaries(
    {
        "matchLabels": st.dictionaries(st.sampled_from("ab"), VALUE),
        "matchExpressions": st.lists(EXPRESSION, max_size=4),
    }
)
LABELS = [
    {key: value for key, value in zip("ab", pair, strict=True) if value is not None}
    for pair in itertools.product([None, "x", "y", "", "another"], repeat=2)
]


@given(SELECTOR)
def test_exactly_the_selectors_that_match_no_labels_are_refused(selector: dict[str, Any]) -> None:
    try:
        parsed(selector)
    except SpecError:
        possible = False
    else:
        possible = True
    assert possible == any(matches(selector, labels) for labels in LABELS)
