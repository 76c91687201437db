"""A value fitted to a schema: the API server stores it as it is, and what it stored fits already."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import stored_status
from tests.support.world import World

from gpuenv.api import names
from gpuenv.api.schema import statuses
from gpuenv.api.schema.fit import ANYTHING, KEYWORDS, MAX_DEPTH, fit
from gpuenv.manifests.status_schemas import status_schemas

ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
NAMED = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 3}}}
MAP = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "maxItems": 2,
    "items": NAMED,
}


@pytest.mark.parametrize(
    ("schema", "value", "fitted"),
    [
        # Texts are shortened, by characters.
        ({"type": "string", "maxLength": 3}, "abc", "abc"),
        ({"type": "string", "maxLength": 3}, "abcd", "ab…"),
        ({"type": "string", "maxLength": 3}, "😀😀😀", "😀😀😀"),
        ({"type": "string", "maxLength": 3}, "😀😀😀😀", "😀😀…"),
        ({"type": "string", "maxLength": 0}, "a", ""),
        ({"type": "string", "minLength": 1}, "", None),
        ({"type": "string"}, "a\ud800b", "a?b"),
        ({"type": "string"}, 1, None),
        # A word that is not allowed would say something else if it were changed.
        ({"type": "string", "enum": ["A", "B"]}, "A", "A"),
        ({"type": "string", "enum": ["A", "B"]}, "C", None),
        ({"type": "string", "pattern": "^[A-Z]+$"}, "AB", "AB"),
        ({"type": "string", "pattern": "^[A-Z]+$"}, "Ab", None),
        ({"type": "string", "pattern": "^[A-Z]+$"}, "AB\n", None),
        ({"type": "string", "pattern": r"^\d$"}, "٣", None),
        ({"type": "string", "pattern": r"\$"}, "1$", "1$"),
        ({"type": "string", "format": "date-time"}, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ({"type": "string", "format": "date-time"}, "2026-01-31T12:00:00.5+01:00", "2026-01-31T12:00:00.5+01:00"),
        ({"type": "string", "format": "date-time"}, "2026-02-30T12:00:00Z", None),
        ({"type": "string", "format": "date-time"}, "2026-01-31", None),
        ({"type": "string", "format": "date-time"}, "yesterday", None),
        # Numbers.
        ({"type": "integer", "format": "int32"}, 2**31 - 1, 2**31 - 1),
        ({"type": "integer", "format": "int32"}, 2**31, None),
        ({"type": "integer", "format": "int64"}, -(2**63), -(2**63)),
        ({"type": "integer", "format": "int64"}, 2**63, None),
        ({"type": "integer"}, 10**400, None),
        ({"type": "integer"}, True, None),
        ({"type": "integer"}, 1.0, None),
        ({"type": "integer", "minimum": 0}, -1, None),
        ({"type": "integer", "maximum": 9}, 10, None),
        ({"type": "number"}, 1.5, 1.5),
        ({"type": "number"}, math.nan, None),
        ({"type": "number"}, math.inf, None),
        ({"type": "number"}, 10**400, None),
        ({"type": "boolean"}, False, False),
        ({"type": "boolean"}, 0, None),
        ({"x-kubernetes-int-or-string": True}, "10%", "10%"),
        ({"x-kubernetes-int-or-string": True}, 10, 10),
        ({"x-kubernetes-int-or-string": True}, 10.5, None),
        ({"x-kubernetes-int-or-string": True}, [10], None),
        # Lists.
        ({"type": "array", "maxItems": 2, "items": {"type": "integer"}}, [1, "x", 2, 3], [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "12", None),
        ({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}, ["a", "b", "a"], ["a", "b"]),
        (MAP, [{"name": "a", "x": 1}, {"name": "a"}, {"x": 1}, {"name": "b"}, {"name": "c"}], [{"name": "a"}, {"name": "b"}]),
        # Shortened keys can become equal.
        (MAP, [{"name": "aaaa"}, {"name": "aaab"}], [{"name": "aa…"}]),
        # Objects.
        (NAMED, {"name": "a", "unknown": 1}, {"name": "a"}),
        (NAMED, {"name": 1}, None),
        (NAMED, {}, None),
        (NAMED, [], None),
        ({"type": "object", "properties": {"a": NAMED, "b": {"type": "string"}}}, {"a": {}, "b": "x"}, {"b": "x"}),
        (WORDS | {"maxProperties": 1}, {"a": 1, "b": "x", "c": "y"}, {"b": "x"}),
        (NAMED | ANY_OBJECT | {"maxProperties": 1}, {"x": 1, "name": "n"}, {"name": "n"}),
        (NAMED | ANY_OBJECT, {"name": "n", "x": {"y": [1, "z"]}}, {"name": "n", "x": {"y": [1, "z"]}}),
        ({"type": "object", "additionalProperties": True}, {"x": 1}, {"x": 1}),
        ({"type": "object"}, {"x": 1}, {}),
        # What JSON has and the API server would change.
        (ANY_OBJECT, {"a": None, 1: 2, "b": [None, math.nan, {"c": 2**64, "d": 12.0}]}, {"b": [{"d": 12}]}),
        (ANY_OBJECT, {"\udfff": "\ud800"}, {"?": "?"}),
        (ANYTHING, None, None),
        (ANYTHING, {1, 2}, None),
    ],
)  # fmt: skip
def test_a_value_is_fitted(schema: dict[str, Any], value: Any, fitted: Any) -> None:
    found = fit(schema, value)
    assert found == fitted
    assert json.dumps(found) == json.dumps(fitted)
    assert found is None or fit(schema, found) == found


def test_what_lies_too_deep_is_left_out() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    found, depth = fit(ANYTHING, deep), 0
    while found:
        (found,) = found
        depth += 1
    assert depth == MAX_DEPTH - 1


def test_a_long_list_is_read_no_further_than_it_is_kept() -> None:
    class Counted(list[int]):
        looked_at = 0

        def __iter__(self) -> Any:
            for item in super().__iter__():
                self.looked_at += 1
                yield item

    many = Counted(range(100_000))
    assert len(fit({"type": "array", "maxItems": 20, "items": {"type": "integer"}}, many)) == 20
    assert many.looked_at == 20


# ---- the two statuses ------------------------------------------------------------------------------------

PLURALS = {names.REPORT_PLURAL: statuses.REPORT, names.ENVIRONMENT_PLURAL: statuses.ENVIRONMENT}


def test_the_module_is_made_from_the_schemas() -> None:
    made = {names.REPORT_KIND: statuses.REPORT, names.ENVIRONMENT_KIND: statuses.ENVIRONMENT}
    assert made == status_schemas(), "run make schemas"


def test_no_keyword_of_a_status_is_passed_over() -> None:
    """Words for people, and the default, which the API server gives to new objects."""
    harmless = {"description", "default"}

    def keywords(schema: dict[str, Any]) -> set[str]:
        found = set(schema)
        for inner in (
            *schema.get("properties", {}).values(),
            schema.get("items"),
            schema.get("additionalProperties"),
        ):
            found |= keywords(inner) if isinstance(inner, dict) else set()
        return found

    for plural in PLURALS:
        assert keywords(stored_status.schema_of(plural)) <= KEYWORDS | harmless


texts = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "Fail",
        "Unknown",
        "True",
        "Ready",
        "2027-01-15T08:00:00Z",
        "x" * 5000,
        "😀" * 400,
        "a\x00\ud800\n",
        "A\n",
    ]
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def near(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that have the form of the schema in most places, and something else in others."""
    words = schema.get("enum", [])
    match schema.get("type"):
        case "object" if "properties" in schema or isinstance(schema.get("additionalProperties"), dict):
            named = {name: near(inner) for name, inner in schema.get("properties", {}).items()}
            others = schema.get("additionalProperties")
            form: Any = st.fixed_dictionaries({}, optional=named | {"unknown": anything})
            if isinstance(others, dict):
                form = st.dictionaries(texts, near(others), max_size=20)
        case "array":
            form = st.lists(near(schema.get("items", {})), max_size=5)
        case "string":
            form = texts | st.sampled_from(words or ["x"])
        case "integer":
            form = st.integers()
        case _:
            form = anything
    return st.one_of(form, form, form, anything)


@pytest.mark.parametrize("plural", PLURALS)
def test_whatever_is_fitted_is_stored_as_it_is(plural: str) -> None:
    schema = stored_status.schema_of(plural)

    @settings(max_examples=300)
    @given(near(schema))
    def check(value: Any) -> None:
        fitted = fit(PLURALS[plural], value)
        if fitted is not None:
            assert stored_status.stored(plural, fitted) == fitted
            assert fit(PLURALS[plural], fitted) == fitted

    check()


def test_a_status_that_is_allowed_stays_as_it_is() -> None:
    world = World()
    world.environment(publish={"nodeCondition": "Measured"}, expect={"pytorch": "==2.9.*"})
    for name in ("n1", "n2", "n3"):
        world.node(name)
    world.settle()
    world.finish()
    world.finish(node="n2", kernels="garbage")
    world.crash()
    for kind, plural in (("reports", names.REPORT_PLURAL), ("environments", names.ENVIRONMENT_PLURAL)):
        for raw in world.objects(kind).values():
            assert fit(PLURALS[plural], raw["status"]) == raw["status"]
