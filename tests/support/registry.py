"""Runs a real registry on this machine, that of the project distribution, and pushes images to it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.support.go_reader import build

from gpuenv_sandbox.control_plane.certificates import Authority

SOURCE = Path(__file__).parent / "registry_program"
USER, PASSWORD = "somebody", "a long password"


@dataclass(frozen=True)
class Registry:
    """A running registry: ``address`` is its host and port, ``authority`` the file that its certificate is checked with."""

    address: str
    authority: Path | None = None

    def push(self, name: str, tag: str, layout: Path, login: tuple[str, str] | None = None) -> str:
        """Push the image in an OCI layout, and return the digest of its manifest."""
        scheme = "https" if self.authority else "http"
        pool = urllib3.PoolManager(ca_certs=str(self.authority) if self.authority else None)
        headers = urllib3.make_headers(basic_auth=":".join(login)) if login else {}

        def send(method: str, url: str, body: bytes = b"", kind: str = "application/octet-stream") -> Any:
            answer = pool.request(method, url, body=body, headers={**headers, "Content-Type": kind})
            assert answer.status < 300, (method, url, answer.status, answer.data)
            return answer

        base = f"{scheme}://{self.address}/v2/{name}"
        digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
        for path in sorted((layout / "blobs/sha256").iterdir()):
            where = send("POST", f"{base}/blobs/uploads/").headers["Location"]
            send("PUT", f"{where}&digest=sha256:{path.name}", path.read_bytes())
        manifest = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
        kind = json.loads(manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        send("PUT", f"{base}/manifests/{tag}", manifest, kind)
        return str(digest)


def program() -> Path:
    """Build the registry, or take it from the cache, and return its path."""
    return build({path.name: path.read_text(encoding="utf-8") for path in sorted(SOURCE.iterdir())})


@contextmanager
def running(program: Path, scratch: Path, *, secured: bool = False) -> Iterator[Registry]:
    """Run a registry until the end of the block. ``secured``: with TLS, and for one user with a password only."""
    scratch.mkdir(parents=True, exist_ok=True)
    http: dict[str, Any] = {"addr": "127.0.0.1:0", "secret": "x"}
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(scratch / "storage")}},
        "http": http,
    }
    authority = Authority(scratch) if secured else None
    arguments: list[str] = []
    if authority is not None:
        pair = authority.issue("registry", "registry", hosts=["127.0.0.1", "localhost"])
        http["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        config["auth"] = {"htpasswd": {"realm": "registry", "path": str(scratch / "users")}}
        arguments = [USER, PASSWORD]
    path = scratch / "config.yml"
    path.write_text(json.dumps(config))
    with subprocess.Popen([program, path, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the registry did not start"
            yield Registry(address, authority.files.certificate if authority else None)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """The program of the registry. Tests that need it fail if it cannot be built, so that they are never left out."""
    return program()
