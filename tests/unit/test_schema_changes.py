"""The comparison of two schemas finds each kind of change that breaks something, and passes each harmless one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.schema_changes import Break, breaks

from gpuenv import manifests

Raw = dict[str, Any]
Change = Callable[[Raw], object]
RULE = {"rule": "self.a != self.b", "message": "a and b are equal: change one of them"}


def crd() -> Raw:
    """Return a small CustomResourceDefinition with a field of each kind."""
    spec = {
        "type": "object",
        "required": ["name"],
        "x-kubernetes-validations": [RULE],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z]+$"},
            "count": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 64, "default": 1},
            "mode": {"type": "string", "enum": ["None", "Quick"], "default": "Quick"},
            "list": {"type": "array", "maxItems": 8, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 63}},
            "raw": {"type": "object", "nullable": True, "x-kubernetes-preserve-unknown-fields": True},
            "group": {"type": "object", "properties": {"inner": {"type": "boolean"}}},
        },
    }  # fmt: skip
    version = {
        "name": "v1alpha1",
        "served": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.name"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"kind": "Thing", "plural": "things", "shortNames": ["th"], "categories": ["all"]}
    return {"spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}}


def changed(change: Change) -> list[Break]:
    """Return the breaks that are found after a change of the definition's ``spec``."""
    after = crd()
    change(after["spec"])
    return breaks(crd(), after)


def at(*path: str) -> Callable[[Raw], Raw]:
    """Return a function that finds the schema of a field in a definition's ``spec``."""

    def found(spec: Raw) -> Raw:
        node: Raw = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for name in path:
            node = node[name] if name in ("items", "additionalProperties") else node["properties"][name]
        return node

    return found


def put(*path: str, **keywords: Any) -> Change:
    """Return a change that sets keywords of one field; ``None`` removes one. Dashes are written as underscores."""

    def change(spec: Raw) -> None:
        node = at(*path)(spec)
        for keyword, value in keywords.items():
            name = keyword.replace("_", "-")
            node.pop(name, None) if value is None else node.update({name: value})

    return change


def rename(old: str, new: str) -> Change:
    def change(spec: Raw) -> None:
        fields = at()(spec)["properties"]
        fields[new] = fields.pop(old)

    return change


def add(name: str, **schema: Any) -> Change:
    return lambda spec: at()(spec)["properties"].update({name: schema})


def both(*changes: Change) -> Change:
    return lambda spec: [change(spec) for change in changes]


def version(**fields: Any) -> Change:
    return lambda spec: spec["versions"][0].update(fields)


def named(**names: Any) -> Change:
    return lambda spec: spec["names"].update(names)


BREAKS: dict[str, tuple[Change, str, str]] = {
    "a rename": (rename("count", "number"), "spec.count", "it is gone"),
    "a removal": (lambda spec: at()(spec)["properties"].pop("group"), "spec.group", "it is gone"),
    "an inner removal": (lambda spec: at("group")(spec)["properties"].clear(), "spec.group.inner", "it is gone"),
    "another type": (put("count", type="string"), "spec.count", "its type integer became string"),
    "another format": (put("count", format="int64"), "spec.count", "its format int32 became int64"),
    "int or string": (put("count", type=None, x_kubernetes_int_or_string=True), "spec.count", "became True"),
    "a type of entries": (put("list", "items", type="integer"), "spec.list[]", "its type"),
    "a type of values": (put("map", "additionalProperties", type="integer"), "spec.map{}", "its type"),
    "no longer a map": (put("map", additionalProperties=None), "spec.map", "additionalProperties"),
    "another kind of list": (put("list", x_kubernetes_list_type="atomic"), "spec.list", "set became atomic"),
    "unknown fields dropped": (put("raw", x_kubernetes_preserve_unknown_fields=None), "spec.raw", "is gone"),
    "null refused": (put("raw", nullable=None), "spec.raw", "nullable is gone"),
    "another rule for an object": (
        put(x_kubernetes_validations=[RULE, {"rule": "has(self.a)", "message": "a is missing: write it"}]),
        "spec", "a rule was added: a is missing: write it",
    ),
    "a replaced rule": (
        put(x_kubernetes_validations=[RULE | {"rule": "self.a < self.b"}]), "spec", "a rule was replaced: a and b",
    ),
    "a field required": (put(required=["name", "mode", "group"]), "spec.group", "it is required now"),
    "a new field required": (both(add("new", type="string"), put(required=["name", "new"])), "spec.new", "required"),
    "an enum value removed": (put("mode", enum=["Quick"]), "spec.mode", "the value 'None' is no longer allowed"),
    "an enum value renamed": (put("mode", enum=["Off", "Quick"]), "spec.mode", "the value 'None'"),
    "an enum where there was none": (put("name", enum=["a"]), "spec.name", "only some values"),
    "another default": (put("count", default=2), "spec.count", "its default 1 became 2"),
    "no default": (put("count", default=None), "spec.count", "its default 1 became '(none)'"),
    "a default where there was none": (put("group", default={}), "spec.group", "its default '(none)' became {}"),
    "a lower maximum": (put("count", maximum=63), "spec.count", "its maximum 64 became 63"),
    "a higher minimum": (put("count", minimum=2), "spec.count", "its minimum 1 became 2"),
    "a limit where there was none": (put("list", "items", maxLength=9), "spec.list[]", "its maxLength (none) became 9"),
    "fewer entries": (put("list", maxItems=7), "spec.list", "its maxItems"),
    "fewer keys": (put("map", maxProperties=7), "spec.map", "its maxProperties"),
    "another pattern": (put("name", pattern="^[a-y]+$"), "spec.name", "its pattern"),
    "a version that is not served": (version(served=False), "", "v1alpha1 is no longer served"),
    "a renamed version": (version(name="v1beta1"), "", "v1alpha1 is no longer served"),
    "no field selector": (version(selectableFields=[]), "spec.name", "field selector"),
    "no status": (version(subresources={}), "", "the subresource status is gone"),
    "another scope": (lambda spec: spec.update(scope="Namespaced"), "", "its scope Cluster became Namespaced"),
    "another group": (lambda spec: spec.update(group="example.org"), "", "its group"),
    "another plural": (named(plural="thingies"), "", "its plural things became thingies"),
    "a short name gone": (named(shortNames=["t"]), "", "th is no longer one of its shortNames"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "path", "words"), BREAKS.values(), ids=BREAKS.keys())
def test_a_change_that_breaks_something_is_found_with_its_path(change: Change, path: str, words: str) -> None:
    found = changed(change)
    assert {one.path for one in found} == {f"Thing.{path}".rstrip(".")}
    assert any(words in one.change for one in found), list(map(str, found))


def test_only_a_replaced_rule_may_loosen_something() -> None:
    assert {name for name, row in BREAKS.items() if any(one.may_loosen for one in changed(row[0]))} == {
        "a replaced rule"
    }


HARMLESS: dict[str, Change] = {
    "nothing": lambda spec: None,
    "a new field": add("new", type="string"),
    "a new field with a default": add("new", type="integer", default=3),
    "a new field that is required and has a default": both(
        add("new", type="integer", default=3), put(required=["name", "new"])
    ),
    "a new group that requires something": add("new", type="object", required=["a"], properties={"a": {"type": "string"}}),
    "a field no longer required": put(required=None),
    "an enum value more": put("mode", enum=["None", "Quick", "Standard"]),
    "no enum": put("mode", enum=None),
    "a higher maximum": put("count", maximum=128),
    "no maximum": put("count", maximum=None),
    "a lower minimum": put("count", minimum=0),
    "longer texts": put("map", "additionalProperties", maxLength=64),
    "more entries": put("list", maxItems=9),
    "no pattern": put("name", pattern=None),
    "null allowed": put("group", nullable=True),
    "unknown fields kept": put("group", x_kubernetes_preserve_unknown_fields=True),
    "a rule gone": put(x_kubernetes_validations=None),
    "a rule in other words": put(
        x_kubernetes_validations=[{"rule": "self.a  !=\n self.b", "message": "choose another b: it is a"}]
    ),
    "a description": put("name", description="The name."),
    "a version more": lambda spec: spec["versions"].append({**spec["versions"][0], "name": "v1beta1"}),
    "a version that was never served": lambda spec: spec["versions"].append({"name": "v1", "served": False}),
    "one more field selector": version(selectableFields=[{"jsonPath": ".spec.name"}, {"jsonPath": ".spec.mode"}]),
    "a column": version(additionalPrinterColumns=[{"name": "Mode", "jsonPath": ".spec.mode"}]),
    "one more short name": named(shortNames=["th", "thg"]),
}  # fmt: skip


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_harmless_change_passes(change: Change) -> None:
    assert changed(change) == []


def test_a_keyword_that_is_not_compared_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"Thing.spec.name has oneOf, which schema_changes.py does not compare"
    ):
        changed(put("name", oneOf=[]))


def fields(path: str, node: Raw) -> Iterator[tuple[str, Raw, str]]:
    """Yield each field of a schema: its path, the fields beside it, and its name among them."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", node["properties"], name
        yield from fields(f"{path}.{name}", child)
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in node:
            yield from fields(f"{path}{mark}", node[keyword])


@pytest.mark.parametrize("present", manifests.crds(), ids=lambda one: one["spec"]["names"]["kind"])
def test_every_field_of_our_schemas_would_be_missed(present: Raw) -> None:
    # YAML aliases are one object in several places; a copy by way of text takes them apart.
    before, after = (json.loads(json.dumps(present)) for _ in range(2))
    kind, (version,) = after["spec"]["names"]["kind"], after["spec"]["versions"]
    listed = list(fields(kind, version["schema"]["openAPIV3Schema"]))
    assert len(listed) > 40
    for path, siblings, name in listed:
        removed = siblings.pop(name)
        assert [one.path for one in breaks(before, after)] == [path]
        siblings[name] = removed
    assert breaks(before, after) == []
