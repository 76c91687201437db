"""The version stands in several files, because each of them is read without the others."""

import re
from pathlib import Path

import pytest
from packaging.version import Version

from gpuenv import __version__

ROOT = Path(__file__).parents[2]
PLACES = [
    ("pyproject.toml", r'^version = "(.*)"$'),
    ("operator/gpuenv/__init__.py", r'^__version__ = "(.*)"$'),
    ("probe_image/gpuenv_probe/__init__.py", r'^__version__ = "(.*)"$'),
    ("operator/Dockerfile", r"^ARG VERSION=(.*)$"),
    ("probe_image/Dockerfile", r"^ARG VERSION=(.*)$"),
    ("helm/gpuenv/Chart.yaml", r"^version: (.*)$"),
    ("helm/gpuenv/Chart.yaml", r"^appVersion: (.*)$"),
    ("docs/install.md", r"gpuenv:(\d[\w.]*)"),
]


@pytest.mark.parametrize(("path", "pattern"), PLACES)
def test_every_file_has_the_same_version(path: str, pattern: str) -> None:
    found = re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), re.M)
    assert set(found) == {__version__}


def test_the_changelog_describes_this_version_or_prepares_it() -> None:
    """What is listed under "Unreleased" belongs to a version that is newer than the last one."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    last = max(map(Version, re.findall(r"^## \[(\d[\w.]*)\]", text, re.M)))
    prepared = re.search(r"^## \[Unreleased\]\s*\n(.*?)(?=^## )", text, re.M | re.S)
    if prepared is not None and prepared[1].strip():
        assert Version(__version__) > last
    else:
        assert Version(__version__) == last
