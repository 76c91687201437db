"""Makes container images without a registry: tar files as layers, combined into OCI archives and layouts.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gpuenv_sandbox.programs.catalogue import architecture

IMAGE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Layer:
    """An uncompressed tar file, identified by its SHA-256 ``digest`` in hexadecimal."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> "Layer":
        with path.open("rb") as file:
            return cls(path, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class File:
    """A regular file of a layer."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Image:
    """The layers of an image, the lowest first, and its configuration."""

    layers: tuple[Layer, ...]
    command: tuple[str, ...] = ("python3",)
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> bytes:
        """Return the image's configuration as JSON.

        Format: https://github.com/opencontainers/image-spec/blob/main/config.md
        """
        env = {"PATH": IMAGE_PATH} | dict(self.env)
        return _json(
            {
                "architecture": architecture(),
                "os": "linux",
                "config": {
                    "User": self.user,
                    "Env": [f"{name}={value}" for name, value in env.items()],
                    "Entrypoint": list(self.entrypoint),
                    "Cmd": list(self.command),
                    "WorkingDir": "/",
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            }
        )


def directory_layer(target: Path, source: Path, at: str) -> Layer:
    """Write a layer to ``target`` that contains the files of ``source`` under the absolute path ``at``."""
    files = {
        f"{at}/{path.relative_to(source)}": File(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return file_layer(target, files)


def file_layer(
    target: Path,
    files: Mapping[str, File],
    *,
    removed: Iterable[str] = (),
    directories: Mapping[str, int] | None = None,
) -> Layer:
    """Write a layer to ``target`` that contains ``files``, by absolute path, owned by root.

    The layer hides the paths ``removed`` of lower layers. ``directories`` are created with the given modes, and parents
    of files with mode 0755.
    """
    modes = dict(directories or {})
    for path in files:
        for parent in Path(path).parents:
            modes.setdefault(str(parent), 0o755)
    with tarfile.open(target, "w") as tar:
        for path, mode in sorted(modes.items()):
            if path != "/":
                _add(tar, path, tarfile.DIRTYPE, mode)
        for path, file in files.items():
            _add(tar, path, tarfile.REGTYPE, file.mode, file.content)
        for path in removed:  # whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md
            _add(tar, f"{Path(path).parent}/.wh.{Path(path).name}", tarfile.REGTYPE, 0o600)
    return Layer.of(target)


def write_archive(out: IO[bytes], name: str, image: Image, present: Sequence[Layer] = ()) -> None:
    """Write an OCI image archive to a stream, without the layers in ``present``, which the reader already has."""
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for path, content in _documents(name, image).items():
            _add(tar, f"/{path}", tarfile.REGTYPE, 0o644, content)
        for layer in image.layers:
            if layer not in present:
                tar.add(layer.path, _blob(layer.digest))


def write_layout(directory: Path, name: str, image: Image) -> None:
    """Write an OCI image layout. Layers are hard-linked instead of copied, if the file system allows it."""
    (directory / "blobs/sha256").mkdir(parents=True)
    for path, content in _documents(name, image).items():
        (directory / path).write_bytes(content)
    for layer in image.layers:
        try:
            (directory / _blob(layer.digest)).hardlink_to(layer.path)
        except OSError:
            shutil.copyfile(layer.path, directory / _blob(layer.digest))


def _documents(name: str, image: Image) -> dict[str, bytes]:
    """Return the files of a layout by path, except its layers."""
    config = image.config()
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("config.v1+json", _digest(config), len(config)),
            "layers": [
                _descriptor("layer.v1.tar", layer.digest, layer.path.stat().st_size) for layer in image.layers
            ],
        }
    )
    reference = _descriptor("manifest.v1+json", _digest(manifest), len(manifest))
    reference["annotations"] = {"io.containerd.image.name": name}
    return {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [reference]}),
        _blob(_digest(config)): config,
        _blob(_digest(manifest)): manifest,
    }


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}


def _add(tar: tarfile.TarFile, path: str, kind: bytes, mode: int, content: bytes = b"") -> None:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.type, member.mode, member.size = kind, mode, len(content)
    tar.addfile(member, io.BytesIO(content))


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
