"""The API stays as the last version had it: manifests, clients and stored objects go on working.

CONTRIBUTING.md has the rules in words. `make record-api` records the schemas of a version.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support import recorded_api
from tests.support.schema_changes import Break, breaks

from gpuenv import manifests

CRDS = {document["spec"]["names"]["kind"]: document for document in manifests.crds()}
CHANGELOG = recorded_api.changelog()
LAST = recorded_api.last_version(CHANGELOG)


def found() -> list[Break]:
    """Return everything that the present schemas break for users of the last version."""
    if LAST is None:
        return []
    recorded = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (recorded_api.FOLDER / LAST).iterdir()
    ]
    return [one for old in recorded for one in breaks(old, CRDS[old["spec"]["names"]["kind"]])]


def test_the_schemas_of_the_last_version_and_of_no_other_are_recorded() -> None:
    folders = {path.name: {one.name for one in path.iterdir()} for path in recorded_api.FOLDER.glob("*")}
    crds = {path.name for path in recorded_api.CRDS.iterdir()}
    assert folders == ({LAST: crds} if LAST else {}), "run make record-api"


def test_what_breaks_the_api_is_listed_in_the_changelog() -> None:
    """A replaced rule that refuses nothing more is listed under "Loosened", everything else under "Breaking"."""
    breaking, loosened = (recorded_api.listed(CHANGELOG, heading) for heading in ("Breaking", "Loosened"))
    unlisted = [
        one for one in found() if one.path not in (breaking | loosened if one.may_loosen else breaking)
    ]
    assert not unlisted, "\n".join(map(str, unlisted))
    assert breaking | loosened <= {one.path for one in found()}, "the changelog lists what breaks nothing"


def test_the_changelog_is_read_as_it_is_written() -> None:
    text = (
        "# Changelog\n## [Unreleased]\n### Added\n- `GPUEnvironment.spec.new`\n"
        "### Breaking\n- `GPUEnvironment.spec.a[].b`: gone,\n  as is `GPUNodeReport.spec.c`; use `spec.d`.\n"
        "### Loosened\n- `GPUEnvironment.spec.e`\n"
        "## [0.9.0]\n### Breaking\n- `GPUEnvironment.spec.old`\n## [0.10.0] - 2026-01-01\n"
    )
    assert recorded_api.last_version(text) == "0.10.0"
    assert recorded_api.last_version("## [Unreleased]\n## [0.1.0]\n") is None
    assert recorded_api.listed(text, "Breaking") == {"GPUEnvironment.spec.a[].b", "GPUNodeReport.spec.c"}
    assert recorded_api.listed(text, "Loosened") == {"GPUEnvironment.spec.e"}
    assert recorded_api.listed("## [0.1.0]\n### Breaking\n- `GPUEnvironment.spec`\n", "Breaking") == set()


def test_a_version_is_recorded_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_api, "ROOT", tmp_path)
    monkeypatch.setattr(recorded_api, "FOLDER", tmp_path / "api")
    log = tmp_path / "CHANGELOG.md"
    log.write_text("## [Unreleased]\n## [0.1.0]\n")
    with pytest.raises(SystemExit, match="no heading of a version"):
        recorded_api.record()
    for version in ("0.2.0", "0.3.0"):
        log.write_text(f"## [Unreleased]\n## [{version}]\n")
        assert recorded_api.record() == f"api/{version} holds the schemas of {version}"
        assert [path.name for path in (tmp_path / "api").iterdir()] == [version]
        copies = {path.name: path.read_bytes() for path in (tmp_path / "api" / version).iterdir()}
        assert copies == {path.name: path.read_bytes() for path in recorded_api.CRDS.iterdir()}
    with pytest.raises(SystemExit, match=r"0.3.0 is recorded; if nobody has it yet, remove api/0.3.0"):
        recorded_api.record()


# ---- rules that hold without a recorded version --------------------------------------------------------------


def nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema within a schema, with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(node.get(keyword), dict):
            yield from nodes(node[keyword], f"{path}{mark}")


def schema(kind: str) -> dict[str, Any]:
    return dict(CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


ALL = [row for kind in CRDS for row in nodes(schema(kind), kind)]


@pytest.mark.parametrize("kind", CRDS)
def test_all_served_versions_have_one_schema(kind: str) -> None:
    """Without a conversion webhook, a write through one version drops the fields that only another one has."""
    parts = ("schema", "selectableFields", "subresources")
    first, *others = (
        {part: version.get(part) for part in parts}
        for version in CRDS[kind]["spec"]["versions"]
        if version["served"]
    )
    assert all(one == first for one in others)


def test_every_word_of_an_enum_can_be_written_without_quotes() -> None:
    """YAML 1.1 reads Off, No and Y as booleans. The status of a condition is Kubernetes' own, and nobody writes it."""
    words = [
        (path, word)
        for path, node in ALL
        if not path.endswith(".conditions[].status")
        for word in node.get("enum", [])
        if word
    ]
    assert len(words) > 20
    assert [row for row in words if yaml.safe_load(f"field: {row[1]}") != {"field": row[1]}] == []
    # PyYAML reads these as texts, other readers of YAML 1.1 do not.
    assert [row for row in words if row[1].lower() in ("y", "n")] == []


def test_a_specification_has_no_floats() -> None:
    """https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md"""
    assert [path for path, node in ALL if ".spec" in path and node.get("type") == "number"] == []


def test_every_count_has_a_width() -> None:
    assert [
        path
        for path, node in ALL
        if node.get("type") == "integer" and node.get("format") not in ("int32", "int64")
    ] == []
