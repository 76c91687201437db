"""Container images with stand-ins for PyTorch and CUDA, for tests of what is read from an image."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.images import File, Image, Layer, file_layer

SITE_PACKAGES = "/usr/local/lib/python3.12/site-packages"
ENV = {
    "CUDA_VERSION": "12.8.1",
    "NVIDIA_REQUIRE_CUDA": "cuda>=12.8 brand=unknown,driver>=470,driver<471",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
}


def version_file(version: str, cuda: str | None) -> File:
    """Return ``torch/version.py`` as PyTorch's build writes it."""
    quoted = f"'{cuda}'" if cuda else "None"
    text = (
        "from typing import Optional\n\n"
        "__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']\n"
        f"__version__ = '{version}'\ndebug = False\ncuda: Optional[str] = {quoted}\n"
        "git_version = '5811a8d7da873dd699ff6687092c225caffcf1bb'\n"
        "hip: Optional[str] = None\nxpu: Optional[str] = None\n"
    )
    return File(text.encode())


def package(name: str, version: str, packages: str = SITE_PACKAGES) -> dict[str, File]:
    """Return the metadata of an installed package, as a path and a file."""
    directory = f"{name.replace('-', '_')}-{version}.dist-info"
    return {
        f"{packages}/{directory}/METADATA": File(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        )
    }


def layers(scratch: Path) -> tuple[Layer, Layer]:
    """Make two layers. The upper one replaces PyTorch and cuDNN of the lower one."""
    torch = f"{SITE_PACKAGES}/torch/version.py"
    old = package("nvidia-cudnn-cu12", "9.5.1.17")
    lower = file_layer(
        scratch / "lower.tar",
        {
            torch: version_file("2.7.0+cu126", "12.6"),
            **old,
            **package("nvidia-nccl-cu12", "2.27.5"),
            "/usr/local/cuda-12.8/compat/libcuda.so.570.124.06": File(b"no library"),
            "/etc/os-release": File(b"ID=debian\n"),
        },
    )
    upper = file_layer(
        scratch / "upper.tar",
        {torch: version_file("2.9.1+cu128", "12.8"), **package("nvidia-cudnn-cu12", "9.10.2.21")},
        removed=[str(Path(next(iter(old))).parent)],
    )
    return lower, upper


def gpu_image(scratch: Path) -> Image:
    """Make an image with a stand-in for PyTorch 2.9.1+cu128."""
    return Image(layers(scratch), env=ENV, user="1000")


def unpack(image: Image, target: Path) -> None:
    """Unpack the layers of an image into a directory, as a container runtime does."""
    for layer in image.layers:
        with tarfile.open(layer.path) as tar:
            members = tar.getmembers()
            for member in members:
                path = Path(member.name)
                if path.name.startswith(".wh."):
                    hidden = target / path.with_name(path.name.removeprefix(".wh."))
                    for file in hidden.iterdir():
                        file.unlink()
                    hidden.rmdir()
            tar.extractall(target, [one for one in members if ".wh." not in one.name], filter="tar")


def blob(content: bytes) -> tuple[str, bytes]:
    """Return the name of a blob in a layout, and its content."""
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}", content


def descriptor(content: bytes, **fields: Any) -> dict[str, Any]:
    """Return the descriptor of a content in a manifest or an index."""
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content), **fields}


def write_blobs(directory: Path, stored_layers: Iterable[bytes], **changes: Any) -> Path:
    """Write a layout with layers as they are given, compressed or damaged. ``changes`` replace fields of its manifest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]}}).encode()
    contents = list(stored_layers)
    fields = {
        "schemaVersion": 2,
        "config": descriptor(config),
        "layers": [descriptor(one) for one in contents],
    }
    manifest = json.dumps({**fields, **changes}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [descriptor(manifest)]}).encode()
    files = dict([blob(config), blob(manifest), *map(blob, contents)])
    files |= {"index.json": index, "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def tar_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return a tar archive with files, or with entries of any kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write_docker_archive(path: Path, image: Image, *, compressed: bool = False) -> None:
    """Write an archive as ``docker save`` did before Docker 25: manifest.json, configuration and uncompressed layers."""
    config = image.config()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{layer.digest}/layer.tar" for layer in image.layers]
    listed = [{"Config": name, "RepoTags": ["a:1"], "Layers": names}]
    members: dict[str, bytes | tarfile.TarInfo] = {
        layer_name: layer.path.read_bytes() for layer_name, layer in zip(names, image.layers, strict=True)
    }
    content = tar_of({**members, name: config, "manifest.json": json.dumps(listed).encode()})
    path.write_bytes(gzip.compress(content) if compressed else content)
