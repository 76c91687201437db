"""The entry point of the image for people, with stand-ins for JupyterLab and sshd: what it refuses, and what it hands on."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.wait import finished

ENTRYPOINT = Path(__file__).parents[2] / "probe_image/entrypoint.sh"
JUPYTER = "/opt/jupyter/bin/jupyter"
SSHD = "/usr/sbin/sshd"
SETTINGS = "/etc/gpuenv/sshd_config"
HOST_KEY = "ssh_host_ed25519_key"
LOGIN = {"SSH_AUTHORIZED_KEYS": "ssh-ed25519 AAAA me"}


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The script, with a jupyter that only says what it was asked, and an sshd that says how it was configured."""
    stubs = {JUPYTER: 'echo "asked: $*"', SSHD: 'while [ "$1" != -f ]; do shift; done; cat "$2"'}
    text = ENTRYPOINT.read_text(encoding="utf-8")
    for program, body in stubs.items():
        stub = tmp_path / Path(program).name
        stub.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        stub.chmod(0o755)
        assert program in text
        text = text.replace(program, str(stub))
    assert SETTINGS in text
    script = tmp_path / "entrypoint.sh"
    script.write_text(text.replace(SETTINGS, str(ENTRYPOINT.with_name("sshd_config"))), encoding="utf-8")
    return script


def run(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(script.parent)} | env
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


# ---- SSH ------------------------------------------------------------------------------------------------------


def served_key(result: subprocess.CompletedProcess[str]) -> Path:
    """Return the path of the host key that sshd was started with."""
    assert result.returncode == 0, result.stderr
    (line,) = [one for one in result.stdout.splitlines() if one.startswith("HostKey ")]
    return Path(line.removeprefix("HostKey "))


def test_the_host_key_is_made_once_and_kept_in_the_volume(entrypoint: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    first = run(entrypoint, "ssh", SSH_HOST_KEYS=str(volume), **LOGIN)
    key = served_key(first)
    assert key == volume / HOST_KEY
    assert key.stat().st_mode & 0o777 == 0o600, "sshd refuses a key that others can read"
    made = key.read_bytes()
    home = tmp_path / "a new container"
    home.mkdir()
    second = run(entrypoint, "ssh", SSH_HOST_KEYS=str(volume), **LOGIN, HOME=str(home))
    assert served_key(second).read_bytes() == made
    assert "SSH host key 256 SHA256:" in first.stderr
    assert second.stderr == first.stderr, "people can compare the fingerprint"
    assert [one.name for one in volume.iterdir()] == [HOST_KEY]


def test_without_a_volume_the_key_is_in_the_home_directory(entrypoint: Path) -> None:
    assert served_key(run(entrypoint, "ssh", **LOGIN)) == entrypoint.parent / ".ssh-host" / HOST_KEY


def test_containers_that_start_together_serve_one_key(entrypoint: Path, tmp_path: Path) -> None:
    """They share the volume: the key of the one that was faster is not replaced, so that both show the same."""
    volume = tmp_path / "volume"
    text = entrypoint.read_text(encoding="utf-8")
    making = 'ln "$new/key" "$1"'
    assert making in text
    faster = f"echo faster >{volume / HOST_KEY}; {making}"
    entrypoint.write_text(text.replace(making, faster), encoding="utf-8")
    result = run(entrypoint, "ssh", SSH_HOST_KEYS=str(volume), **LOGIN)
    assert "holds no key" in result.stderr, "the other one's is taken, which this test has made up"
    assert (volume / HOST_KEY).read_text(encoding="utf-8") == "faster\n"


def test_a_place_without_a_key_that_cannot_be_written_is_refused(entrypoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(entrypoint, "ssh", SSH_HOST_KEYS=str(tmp_path / "file"), **LOGIN)
    assert (result.returncode, result.stdout) == (64, "")
    assert "make it writable, or mount one with ssh_host_ed25519_key" in result.stderr
