"""The entry point of the image for people, with a stand-in for JupyterLab: what it refuses, and what it hands on."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.wait import finished

ENTRYPOINT = Path(__file__).parents[2] / "probe_image/entrypoint.sh"
JUPYTER = "/opt/jupyter/bin/jupyter"


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The script, with a jupyter that only says what it was asked."""
    stub = tmp_path / "jupyter"
    stub.write_text('#!/bin/sh\necho "asked: $*"\n', encoding="utf-8")
    stub.chmod(0o755)
    text = ENTRYPOINT.read_text(encoding="utf-8")
    assert JUPYTER in text
    script = tmp_path / "entrypoint.sh"
    script.write_text(text.replace(JUPYTER, str(stub)), encoding="utf-8")
    return script


def run(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(script.parent), **env}
    return finished(["sh", script, *arguments], env=variables)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--IdentityProvider.token", ""),
        ("--ServerApp.token", "''"),
        ("--ServerApp.password", ""),
        ("--NotebookApp.token=",),
        ("-ServerApp.token", ""),
        ("-ServerApp.token=",),
        ("--ServerApp.token=''",),
        ('--IdentityProvider.token=""',),
    ],
)
def test_no_argument_takes_the_lock_off(entrypoint: Path, arguments: tuple[str, ...]) -> None:
    result = run(entrypoint, "jupyter", *arguments)
    assert result.returncode == 64
    assert "let everybody in" in result.stderr
    assert arguments[0] in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "words"), [("", "holds no token"), (" \n", "holds no token"), (None, "cannot be read")]
)
def test_a_token_file_holds_a_token(entrypoint: Path, content: str | None, words: str) -> None:
    file = entrypoint.with_name("token")
    if content is not None:
        file.write_text(content, encoding="utf-8")
    result = run(entrypoint, JUPYTER_TOKEN_FILE=str(file))
    assert (result.returncode, result.stdout) == (64, "")
    assert f"{file} {words}" in result.stderr


def test_a_locked_door_is_opened(entrypoint: Path) -> None:
    file = entrypoint.with_name("token")
    file.write_text("secret\n", encoding="utf-8")
    assert run(entrypoint, JUPYTER_TOKEN_FILE=str(file)).stdout.startswith("asked: lab ")
    empty = run(entrypoint, JUPYTER_TOKEN="secret", JUPYTER_TOKEN_FILE=os.devnull)
    assert empty.stdout.startswith("asked: lab "), "the token comes first, as in Jupyter itself"
    for argument in ("--IdentityProvider.token=secret", "--ServerApp.allow_origin=https://example.com"):
        assert run(entrypoint, "jupyter", argument).stdout.strip().endswith(argument)
    assert run(entrypoint, "jupyter", "--notebook-dir", "").returncode == 0
