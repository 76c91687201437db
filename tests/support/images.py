"""Container images without a registry: layers as tar files, put together as OCI image archives.

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
    """An uncompressed tar file, named by its SHA-256."""

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
    """What an image consists of, from its lowest layer up."""

    layers: tuple[Layer, ...]
    command: tuple[str, ...] = ("python3",)
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> bytes:
        """https://github.com/opencontainers/image-spec/blob/main/config.md"""
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
    """A layer with the files of ``source`` under the absolute path ``at``."""
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
    """A layer of files by absolute path, owned by root. ``removed`` paths of lower layers disappear.

    Missing parents are made with mode 0755; ``directories`` are made with the mode given.
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
    """Streams an OCI image archive. Layers in ``present`` are left out: the reader has them already."""
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for path, content in _documents(name, image).items():
            _add(tar, f"/{path}", tarfile.REGTYPE, 0o644, content)
        for layer in image.layers:
            if layer not in present:
                tar.add(layer.path, _blob(layer.digest))


def write_layout(directory: Path, name: str, image: Image) -> None:
    """Writes an OCI image layout; large layers are linked, not copied, where the file system can."""
    (directory / "blobs/sha256").mkdir(parents=True)
    for path, content in _documents(name, image).items():
        (directory / path).write_bytes(content)
    for layer in image.layers:
        try:
            (directory / _blob(layer.digest)).hardlink_to(layer.path)
        except OSError:
            shutil.copyfile(layer.path, directory / _blob(layer.digest))


def _documents(name: str, image: Image) -> dict[str, bytes]:
    """Everything of a layout but its layers, by path."""
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
