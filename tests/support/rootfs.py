"""Makes image layers with Debian's root file system and packages. They are cached, because each takes minutes.

It needs root, Linux and the packages of tests/e2e/install-packages.sh. debootstrap and apt run in their own mount
namespace, so that no mount outlives a killed test run.
"""

import functools
import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.support.images import Layer

from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.catalogue import architecture
from gpuenv_sandbox.programs.progress import Progress

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Debian's public keys. Packages are signed, so debootstrap's default mirror, which uses plain HTTP, is safe."""

BOOTSTRAP = f"""
debootstrap --keyring={KEYRING} --variant=minbase --include=python3 {SUITE} "$1/tree"
cd "$1/tree"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/doc/* usr/share/locale/* dev/*
: > etc/resolv.conf
: > etc/hostname
"""

ADD_PACKAGES = """
mkdir "$1/tree" "$1/work" "$1/root"
root="$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/tree,workdir=$1/work" "$root"
for directory in run tmp var/lib/apt/lists var/cache var/log; do mount -t tmpfs tmpfs "$root/$directory"; done
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y --no-install-recommends install {packages}
cd "$root/usr"
rm -rf share/doc share/locale lib/libtorch-test lib/*-linux-gnu/dri
"""


class LayerError(Exception):
    """A layer cannot be made, for instance without a network. The message is one line with the last output of apt."""


def python_layer() -> Layer:
    """Return a layer with a minimal Debian 12 and its Python 3.11."""
    return _cached("debian-python3", BOOTSTRAP, "1 min")


def torch_layer() -> Layer:
    """Return a layer above :func:`python_layer` with Debian's python3-torch (1.13.1, built without CUDA)."""
    return packages_layer("python3-torch", usual="2 min")


def packages_layer(*packages: str, usual: str = "1 min") -> Layer:
    """Return a layer above :func:`python_layer` with Debian packages and their dependencies.

    ``usual`` is how long that usually takes, as a text that is shown meanwhile.
    """
    name = "debian-" + "-".join(packages)
    return _cached(name, ADD_PACKAGES.format(packages=" ".join(packages)), usual, python_layer())


@functools.cache
def _cached(name: str, script: str, usual: str, base: Layer | None = None) -> Layer:
    """Return the layer that a shell script makes, from the cache if possible.

    The script writes the files into ``$1/tree``. ``$2`` is a directory with the unpacked layer ``base``. The
    key in the cache is a digest of script and base.
    """
    key = hashlib.sha256(f"{script}{base.digest if base else ''}".encode()).hexdigest()[:12]
    directory = cache_root() / "images"
    target = directory / f"{name}-{architecture()}-{key}.tar"
    with exclusive("images"):
        if not target.is_file():
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.glob(".new-*"):  # left behind by a killed run
                shutil.rmtree(left)
            with (
                tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as scratch,
                Progress(f"making the image layer {name}", usual),
            ):
                _make(script, Path(scratch), base)
                (Path(scratch) / "layer.tar").replace(target)
    return Layer.of(target)


def _make(script: str, scratch: Path, base: Layer | None) -> None:
    lower = scratch / "lower"
    if base is not None:
        lower.mkdir()
        subprocess.run(["tar", "-xpf", base.path, "-C", lower, "--numeric-owner"], check=True)
    result = subprocess.run(
        # With its own namespaces, mounts and processes that the script leaves behind end with it.
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "sh", scratch, lower],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )
    if result.returncode != 0:
        raise LayerError(" | ".join(["cannot make an image layer", *result.stdout.splitlines()[-3:]]))
    tree = scratch / "tree"
    with tarfile.open(scratch / "layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            _add(tar, path, str(path.relative_to(tree)))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add one file to a layer. A deletion in an overlay's upper directory becomes a whiteout file.

    https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
    """
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        tar.addfile(tarfile.TarInfo(str(Path(name).parent / f".wh.{path.name}")))
        return
    tar.add(path, name, recursive=False)
    if stat.S_ISDIR(status.st_mode) and "trusted.overlay.opaque" in os.listxattr(path):
        tar.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))
