"""Images in a real registry: read without and with credentials, over TLS, and the same as from files."""

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import registry
from tests.support.explain import as_json, explain
from tests.support.gpu_images import gpu_image, unpack, write_docker_archive
from tests.support.images import write_layout
from tests.support.registry import PASSWORD, USER, Registry, registry_program

__all__ = ["registry_program"]

NODE = ("--driver", "570.124.06", "--gpu", "NVIDIA L4")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scratch = tmp_path_factory.mktemp("image")
    image = gpu_image(scratch)
    write_layout(scratch / "layout", "a:1", image)
    write_docker_archive(scratch / "docker.tar.gz", image, compressed=True)
    unpack(image, scratch / "root")
    return scratch / "layout"


@pytest.fixture(scope="module")
def public(
    registry_program: Path, tmp_path_factory: pytest.TempPathFactory, layout: Path
) -> Iterator[Registry]:
    with registry.running(registry_program, tmp_path_factory.mktemp("public")) as running:
        running.push("team/torch", "2.9.1", layout)
        yield running


@pytest.fixture(scope="module")
def private(
    registry_program: Path, tmp_path_factory: pytest.TempPathFactory, layout: Path
) -> Iterator[Registry]:
    with registry.running(registry_program, tmp_path_factory.mktemp("private"), secured=True) as running:
        running.push("team/torch", "2.9.1", layout, (USER, PASSWORD))
        yield running


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of Docker's configuration, without credentials so far."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def inspected(place: str) -> dict[str, Any]:
    answer = as_json("--image", place, "--inspect", *NODE)
    del answer["image"]["reference"]
    return answer


def test_the_answer_is_the_same_from_registry_archive_layout_and_directory(
    public: Registry, layout: Path, docker: Path
) -> None:
    found = inspected(f"{public.address}/team/torch:2.9.1")
    assert (found["verdict"], found["facts"]["pytorch"], found["facts"]["cudnn"]) == (
        "Compatible",
        "2.9.1+cu128",
        91002,
    )
    assert inspected(f"oci:{layout}") == found
    assert inspected(f"docker-archive:{layout.parent}/docker.tar.gz") == found
    directory = inspected(f"dir:{layout.parent}/root")
    assert directory["facts"] == found["facts"]
    assert directory["image"]["values"] == found["image"]["values"]


def test_an_image_is_read_by_its_digest(public: Registry, layout: Path, docker: Path) -> None:
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert inspected(f"docker://{public.address}/team/torch@{digest}")["facts"]["pytorch"] == "2.9.1+cu128"


def test_an_environment_is_judged_by_what_its_image_has(public: Registry, docker: Path) -> None:
    path = docker / "environment.yaml"
    path.write_text(
        "apiVersion: gpuenv.dev/v1alpha1\nkind: GPUEnvironment\nmetadata: {name: a}\n"
        f"spec: {{image: '{public.address}/team/torch:2.9.1'}}\n"
    )
    assert as_json("-f", str(path), "--inspect", *NODE)["facts"]["pytorch"] == "2.9.1+cu128"
    assert "use --inspect" in explain("-f", str(path), *NODE).stdout


def test_what_the_registry_does_not_have_is_named(public: Registry, docker: Path) -> None:
    found = explain("--image", f"{public.address}/team/torch:1", "--inspect", *NODE)
    assert found.exit_code == 2
    assert "does not have its manifest (404); see whether name and tag are right" in found.stderr


def test_a_private_image_needs_dockers_credentials(
    private: Registry, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(private.authority))
    place = f"{private.address}/team/torch:2.9.1"
    refused = explain("--image", place, "--inspect", *NODE)
    assert refused.exit_code == 2
    assert f"asks for a login; run docker login {private.address}" in refused.stderr

    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {private.address: {"auth": token}}}))
    assert inspected(place)["facts"]["pytorch"] == "2.9.1+cu128"
    wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {private.address: {"auth": wrong}}}))
    refused = explain("--image", place, "--inspect", *NODE)
    assert "(401); run docker login" in refused.stderr
    assert wrong not in refused.stderr


def test_credential_helpers_are_asked(
    private: Registry, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(private.authority))
    helper = docker / "docker-credential-ours"
    answer = json.dumps({"ServerURL": private.address, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    (docker / "config.json").write_text(json.dumps({"credHelpers": {private.address: "ours"}}))
    assert inspected(f"{private.address}/team/torch:2.9.1")["facts"]["pytorch"] == "2.9.1+cu128"


def test_a_certificate_that_nobody_vouches_for_is_refused(private: Registry, docker: Path) -> None:
    found = explain("--image", f"{private.address}/team/torch:2.9.1", "--inspect", *NODE)
    assert found.exit_code == 2
    assert "cannot be reached" in found.stderr
    assert len(found.stderr.splitlines()) == 1
