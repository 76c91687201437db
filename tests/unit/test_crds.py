"""The schemas as documents: everything bounded, every rule with a cure, names as the code has them."""

from collections.abc import Iterator
from typing import Any

import yaml

from gpuenv import manifests
from gpuenv.api import names
from gpuenv.assess.model import Status, Verdict

CRDS = {document["spec"]["names"]["kind"]: document for document in manifests.crds()}


def schema(kind: str) -> dict[str, Any]:
    (version,) = CRDS[kind]["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sub-schema with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}")


ALL = [(f"{kind}{path}", node) for kind in CRDS for path, node in nodes(schema(kind))]


def test_names_are_those_of_the_code() -> None:
    found = {
        kind: (document["spec"]["group"], document["spec"]["names"]["plural"])
        for kind, document in CRDS.items()
    }
    assert found == {
        names.ENVIRONMENT_KIND: (names.GROUP, names.ENVIRONMENT_PLURAL),
        names.REPORT_KIND: (names.GROUP, names.REPORT_PLURAL),
    }
    for document in CRDS.values():
        assert document["spec"]["scope"] == "Cluster"
        assert [one["name"] for one in document["spec"]["versions"]] == [names.VERSION]
        assert document["spec"]["names"]["categories"] == ["gpuenv"]
    assert CRDS[names.ENVIRONMENT_KIND]["spec"]["names"]["shortNames"] == ["genv"]
    assert CRDS[names.REPORT_KIND]["spec"]["names"]["shortNames"] == ["gnr"]


def test_no_comma_of_a_description_has_begun_a_field() -> None:
    """An unquoted comma in braces ends the text: YAML reads the rest as a field, and the API server refuses that."""
    assert [path for path, node in ALL if any(" " in key for key in node)] == []


def test_everything_is_bounded() -> None:
    """Otherwise the cost of CEL rules cannot be estimated, and an object can grow to etcd's limit."""
    unbounded = []
    for path, node in ALL:
        given_by_kubernetes = path.count(".") == 1 or ".metadata" in path
        if node.get("type") == "string" and not given_by_kubernetes:
            unbounded += [path] if not {"maxLength", "enum", "format"} & node.keys() else []
        if node.get("type") == "array":
            unbounded += [path] if not {"maxItems", "x-kubernetes-list-type"} <= node.keys() else []
        if isinstance(node.get("additionalProperties"), dict):
            unbounded += [path] if "maxProperties" not in node else []
    assert not unbounded


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    messages = [rule["message"] for _, node in ALL for rule in node.get("x-kubernetes-validations", [])]
    assert len(messages) > 30
    assert not [one for one in messages if ": " not in one or "\n" in one or one != one.strip()]


def test_verdicts_and_statuses_are_those_of_the_assessment() -> None:
    status = schema(names.REPORT_KIND)["properties"]["status"]["properties"]
    assert status["verdict"]["enum"] == [verdict.value for verdict in Verdict]
    assert set(status["checks"]["items"]["properties"]["status"]["enum"]) == {one.value for one in Status}


SPEC = [node for path, node in ALL if path.startswith(f"{names.ENVIRONMENT_KIND}.spec")]


def test_every_word_of_an_enum_can_be_written_without_quotes() -> None:
    """YAML 1.1, which many tools read, has booleans such as Off, No and Y. PyYAML knows only those of two letters or more."""
    words = {word for node in SPEC for word in node.get("enum", []) if word}
    assert {"None", "MatMul", "BF16"} <= words
    assert not [word for word in words if yaml.safe_load(word) != word or word.lower() in ("y", "n")]


def test_the_specification_has_no_floats() -> None:
    assert len(SPEC) > 50
    assert not [node for node in SPEC if node.get("type") == "number"]


def test_every_field_of_the_specification_is_described() -> None:
    spec = schema(names.ENVIRONMENT_KIND)["properties"]["spec"]
    missing = [name for name, node in spec["properties"].items() if not node.get("description")]
    assert not missing


def test_the_label_key_fits_the_longest_name() -> None:
    (rule,) = [
        one
        for one in schema(names.ENVIRONMENT_KIND)["x-kubernetes-validations"]
        if "metadata.name" in one["message"]
    ]
    assert str(names.MAX_ENVIRONMENT_NAME) in rule["rule"]
    assert len(f"{'a' * names.MAX_ENVIRONMENT_NAME}") <= 63
