"""The parser of ``spec.nodes.selector``, a Kubernetes LabelSelector.

It refuses selectors that can match no node at all: keys and values that no label can have, and requirements that
contradict each other."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuenv.api.fields import Fields
from gpuenv.api.label_syntax import LABEL_KEY, LABEL_VALUE

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


def node_selector(selector: Fields) -> dict[str, Any]:
    """Return a LabelSelector as a dict. Raises FieldError if the selector is invalid, so that matching never fails."""
    labels = selector.text_map("matchLabels")
    for key, value in labels.items():
        _require_key(selector, "matchLabels", key)
        _require_value(selector, f"matchLabels[{key}]", value)
    expressions = [_expression(item) for item in selector.children("matchExpressions")]
    for key in (*labels, *(expression["key"] for expression in expressions)):
        if not _is_possible(key, labels, expressions):
            selector.fail("", f"matches no node: its requirements on {key} contradict each other; remove one")
    given = {"matchLabels": labels, "matchExpressions": expressions}
    return {name: requirements for name, requirements in given.items() if requirements}


def _expression(item: Fields) -> dict[str, Any]:
    operator, values = item.required_choice("operator", _OPERATORS), item.texts("values")
    if (operator in ("In", "NotIn")) != bool(values):
        item.fail("values", "must be given with In and NotIn, and left out with Exists and DoesNotExist")
    key = item.required_text("key")
    _require_key(item, "key", key)
    for index, value in enumerate(values):
        _require_value(item, f"values[{index}]", value)
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def _require_key(fields: Fields, name: str, key: str) -> None:
    """Raise FieldError for the field ``name`` if no label can have this key."""
    if not LABEL_KEY.fullmatch(key):
        fields.fail(
            name,
            f"{key[:80]!r} is no label key; write [prefix/]name, such as nvidia.com/gpu.product "
            "(the name has at most 63 letters, digits, -, _ and ., the prefix is a DNS name)",
        )


def _require_value(fields: Fields, name: str, value: str) -> None:
    """Raise FieldError for the field ``name`` if no label can have this value."""
    if not LABEL_VALUE.fullmatch(value):
        fields.fail(
            name,
            f"{value[:80]!r} is no label value; write at most 63 letters, digits, -, _ and ., "
            "with a letter or digit at both ends",
        )


def _is_possible(key: str, labels: Mapping[str, str], expressions: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a node can satisfy all requirements on the label ``key``."""
    about = [expression for expression in expressions if expression["key"] == key]
    operators = {expression["operator"] for expression in about}
    if key not in labels and not operators & {"In", "Exists"}:
        return True  # A node without the label satisfies NotIn and DoesNotExist.
    if "DoesNotExist" in operators:
        return False
    allowed = [{labels[key]}] if key in labels else []
    allowed += [set(expression["values"]) for expression in about if expression["operator"] == "In"]
    excluded = {
        value for expression in about if expression["operator"] == "NotIn" for value in expression["values"]
    }
    return not allowed or bool(set.intersection(*allowed) - excluded)
