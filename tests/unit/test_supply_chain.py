"""What gpuenv is built from is named by its content, and known holes in it are looked for."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["operator/Dockerfile", "probe_image/Dockerfile"])
def test_every_base_image_is_named_by_its_digest(path: str) -> None:
    """A tag can be moved to other content; an argument of the build overrides the base."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE_IMAGE=[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE_IMAGE}"}


@pytest.mark.parametrize(
    ("says", "code", "expected", "words"),
    [
        ("No known vulnerabilities found", 0, 0, "No known vulnerabilities found"),
        ("aiohttp 3.9.0 GHSA-xxxx", 1, 1, "GHSA-xxxx"),
        ("Retrying after connection broken\nFound 1 known vulnerability in 1 package", 1, 1, "Found 1 known"),
        (
            "aiohttp: Dependency not found on PyPI and could not be audited",
            1,
            0,
            "audit: skipped: the database",
        ),
        (
            "requests.exceptions.ConnectionError: Failed to resolve 'pypi.org'",
            1,
            0,
            "audit: skipped: the database",
        ),
    ],
)
def test_the_audit_fails_for_a_known_hole_and_says_when_it_could_not_look(
    tmp_path: Path, says: str, code: int, expected: int, words: str
) -> None:
    stand_in = tmp_path / "pip-audit"
    stand_in.write_text(f'#!/bin/sh\necho "{says}"\nexit {code}\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        [ROOT / "hack/audit.sh", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == expected, done.stdout + done.stderr
    assert words in done.stdout
