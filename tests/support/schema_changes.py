"""Find the changes between two versions of a CustomResourceDefinition that break manifests, clients or stored objects.

There is no conversion webhook. The API server drops a field that a schema does not know, without a message, and stores
the defaults of a schema in each new object. Fields can therefore be added and limits relaxed, and little else. The rule
book in CONTRIBUTING.md says so in words.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Break:
    """One change that may break something.

    ``path`` is the kind and the path of the field, such as ``GPUEnvironment.spec.image``. ``change`` says in a few words
    what was done to it. ``may_loosen``: the change replaces a rule, and whether the new rule refuses more than the old
    one is for a person to say.
    """

    path: str
    change: str
    may_loosen: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.change}"


TYPE = (
    "type", "format", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)  # fmt: skip
"""Keywords that make up the type of a value. Typed clients are built for it, and server-side apply merges by it."""
PERMISSIONS = ("nullable", "x-kubernetes-preserve-unknown-fields")
"""Keywords that accept less if they are taken away."""
LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties"), operator.lt),
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties"), operator.gt),
    **dict.fromkeys(("pattern", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), operator.ne),
}
"""Each limit of a value, and whether a new limit (the first argument) may refuse more than the old one."""
COMPARED = {
    *TYPE, *PERMISSIONS, *LIMITS, "enum", "default", "required", "x-kubernetes-validations",
    "properties", "additionalProperties", "items",
}  # fmt: skip
HARMLESS = {"description", "title", "example", "externalDocs"}


def breaks(old: Schema, new: Schema) -> list[Break]:
    """Return the changes from ``old`` to ``new`` that may break something. Both are CustomResourceDefinitions.

    Raises ValueError if a schema has a keyword that is not compared, so that no change is overlooked.
    """
    kind = old["spec"]["names"]["kind"]
    return [*_names(kind, old["spec"], new["spec"]), *_versions(kind, old["spec"], new["spec"])]


def _names(kind: str, old: Schema, new: Schema) -> Iterator[Break]:
    for field in ("group", "scope"):
        if old[field] != new[field]:
            yield Break(kind, f"its {field} {old[field]} became {new[field]}")
    for field in ("kind", "listKind", "plural", "singular"):
        if old["names"].get(field) != new["names"].get(field):
            yield Break(kind, f"its {field} {old['names'].get(field)} became {new['names'].get(field)}")
    for field in ("shortNames", "categories"):
        for name in _missing(old["names"].get(field, []), new["names"].get(field, [])):
            yield Break(kind, f"{name} is no longer one of its {field}")


def _versions(kind: str, old: Schema, new: Schema) -> Iterator[Break]:
    served = {version["name"]: version for version in new["versions"] if version["served"]}
    for before in (version for version in old["versions"] if version["served"]):
        after = served.get(before["name"])
        if after is None:
            yield Break(kind, f"the version {before['name']} is no longer served")
            continue
        for path in _missing(_selectable(before), _selectable(after)):
            yield Break(f"{kind}{path}", "it can no longer be used in a field selector")
        for part in _missing(before.get("subresources", {}), after.get("subresources", {})):
            yield Break(kind, f"the subresource {part} is gone")
        yield from _schema(kind, before["schema"]["openAPIV3Schema"], after["schema"]["openAPIV3Schema"])


def _selectable(version: Schema) -> list[str]:
    return [field["jsonPath"] for field in version.get("selectableFields", [])]


def _schema(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    unknown = (old.keys() | new.keys()) - COMPARED - HARMLESS
    if unknown:
        raise ValueError(f"{path} has {', '.join(sorted(unknown))}, which schema_changes.py does not compare")
    yield from _value(path, old, new)
    yield from _limits(path, old, new)
    yield from _rules(path, old, new)
    yield from _fields(path, old, new)
    for keyword, mark in (("additionalProperties", "{}"), ("items", "[]")):
        if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
            yield from _schema(f"{path}{mark}", old[keyword], new[keyword])
        elif old.get(keyword) != new.get(keyword):
            yield Break(path, f"its {keyword} have come or gone")


def _value(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    """Yield the changes of a value's type, default and allowed words."""
    for keyword in TYPE:
        if old.get(keyword) != new.get(keyword):
            yield Break(path, f"its {keyword} {old.get(keyword)} became {new.get(keyword)}")
    for keyword in PERMISSIONS:
        if old.get(keyword) and not new.get(keyword):
            yield Break(path, f"{keyword} is gone")
    if ("default" in old, old.get("default")) != ("default" in new, new.get("default")):
        yield Break(
            path, f"its default {old.get('default', '(none)')!r} became {new.get('default', '(none)')!r}"
        )
    if "enum" in new and "enum" not in old:
        yield Break(path, "only some values are allowed now")
    for word in _missing(old.get("enum", []), new.get("enum", old.get("enum", []))):
        yield Break(path, f"the value {word!r} is no longer allowed")


def _limits(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    """Yield the limits that refuse more than before."""
    for keyword, refuses_more in LIMITS.items():
        if keyword in new and (keyword not in old or refuses_more(new[keyword], old[keyword])):
            yield Break(path, f"its {keyword} {old.get(keyword, '(none)')} became {new[keyword]}")


def _rules(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    """Yield the rules that were added or replaced. A rule that was only removed refuses nothing more."""
    before, after = (
        {_one_line(rule["rule"]): rule for rule in one.get("x-kubernetes-validations", [])}
        for one in (old, new)
    )
    gone = _missing(before, after)
    for rule in _missing(after, before):
        done = "replaced" if gone else "added"
        yield Break(path, f"a rule was {done}: {after[rule]['message']}", may_loosen=bool(gone))


def _fields(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in _missing(before, after):
        yield Break(f"{path}.{name}", "it is gone")
    for name in _missing(new.get("required", []), old.get("required", [])):
        # The API server fills in defaults before it looks for required fields.
        if "default" not in after.get(name, {}):
            yield Break(f"{path}.{name}", "it is required now")
    for name in before:
        if name in after:
            yield from _schema(f"{path}.{name}", before[name], after[name])


def _missing(before: Any, after: Any) -> list[Any]:
    """Return what ``before`` contains and ``after`` does not, in the order of ``before``."""
    return [one for one in before if one not in after]


def _one_line(rule: str) -> str:
    return " ".join(rule.split())
