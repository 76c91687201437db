"""Committed files that are made from others say how, and are up to date. Others of this kind: tests/chart/test_render.py."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINNED = [
    ("requirements.in", "requirements.txt"),
    ("requirements-dev.in", "requirements-dev.txt"),
    ("requirements-fuzz.in", "requirements-fuzz.txt"),
    ("requirements-release.in", "requirements-release.txt"),
    ("probe_image/requirements.in", "probe_image/requirements.txt"),
]


def wanted(path: Path) -> list[Requirement]:
    """The requirements in a file that people edit, and in the files that it refers to."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found += wanted(path.parent / line[3:])
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


@pytest.mark.parametrize(("edited", "made"), PINNED)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(edited: str, made: str) -> None:
    text = (ROOT / made).read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", text, re.M))
    for requirement in wanted(ROOT / edited):
        version = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), "run make requirements"


@pytest.mark.parametrize(("edited", "made"), PINNED)
def test_pins_depend_on_no_place_and_all_have_hashes(edited: str, made: str) -> None:
    """pip warns of a folder of wheels that is not there, and takes an index that only its author has."""
    text = (ROOT / made).read_text(encoding="utf-8")
    assert not re.findall(r"^--(?:find-links|index-url|extra-index-url|trusted-host).*", text, re.M)
    assert len(re.findall(r"^\S+==", text, re.M)) == len(re.findall(r"^\S+==\S+ \\\n    --hash=", text, re.M))


def test_the_package_declares_what_the_pinned_files_start_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [Requirement(one) for one in project["dependencies"]]
    assert set(map(str, declared)) == set(map(str, wanted(ROOT / "requirements.in")))
    extra = {str(Requirement(one)) for one in project["optional-dependencies"]["sandbox"]}
    assert extra < set(map(str, wanted(ROOT / "requirements-dev.in")))


def test_the_chart_has_the_schemas_and_the_policies_of_the_repository() -> None:
    chart = ROOT / "helm/gpuenv"
    edited = {f"schemas/{path.name}": path for path in (ROOT / "crds").iterdir()}
    assert {path.name for path in (chart / "schemas").iterdir()} == {path.name for path in edited.values()}
    for name in ("admission.yaml", "probe_pods.yaml"):
        edited[name] = ROOT / "operator/gpuenv/manifests" / name
    for copy, source in edited.items():
        assert (chart / copy).read_bytes() == source.read_bytes(), "run make schemas"


def test_the_makefile_lists_the_made_files_and_has_their_targets() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rows = re.findall(r"^#   (\S+) +make ([a-z]+)$", text, re.M)
    assert {path for path, _ in rows} >= {"docs/reasons.md", "tests/chart/golden/", "requirements.txt"}
    for path, target in rows:
        assert re.search(rf"^{target}:", text, re.M)
        assert (ROOT / path).exists() or f"/{path}" in (ROOT / ".gitignore").read_text(encoding="utf-8")


def test_nothing_is_committed_that_git_is_told_to_ignore() -> None:
    """What every build makes is not committed: a copy in the repository would be out of date sooner or later."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--ignored", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
