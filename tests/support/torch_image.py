"""Puts the real PyTorch into images. It has 7 GB, so it is linked or mounted there instead of packed and unpacked."""

import shutil
import subprocess
from pathlib import Path

from tests.support.images import File, Image, file_layer
from tests.support.node import RealNode
from tests.support.rootfs import LayerError, python_layer
from tests.torch_releases import releases

SITE_PACKAGES = "/usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python 3.11 finds packages. The wheels are for the same version."""
MARK = "pytorch-is-here"
"""An empty file by which the layer is found among the unpacked ones."""
NOT_OF_THE_WHEEL = (
    "pip",
    "pip-*",
    "setuptools",
    "setuptools-*",
    "_distutils_hack",
    "distutils-precedence.pth",
)


def torch_packages() -> Path:
    """Return the directory with PyTorch 2.9.1+cu128 and its CUDA libraries from PyPI. Raises LayerError."""
    try:
        python = releases.ensure(releases.release(releases.DEFAULT))
    except releases.UnavailableError as error:
        raise LayerError(str(error)) from None
    show = "import sys, sysconfig; print(sys.version_info[:2] == (3, 11), sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout
    fits, source = answer.strip().split(" ", 1)
    if fits != "True":
        raise LayerError("the PyTorch at hand is not for Python 3.11, which the local base has")
    return Path(source)


def import_torch_image(node: RealNode, name: str, packages: Path, scratch: Path) -> None:
    """Import an image with these packages into the container runtime of a node."""
    layer = file_layer(scratch / "torch.tar", {f"{SITE_PACKAGES}/{MARK}": File(b"")})
    node.import_image(name, Image((python_layer(), layer)))
    (mark,) = node.unpacked(f"{SITE_PACKAGES}/{MARK}")
    copy_or_link(packages, mark.parent)
    for pattern in NOT_OF_THE_WHEEL:
        for path in mark.parent.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy_or_link(source: Path, target: Path) -> None:
    """Fill a directory with the files of another one: as hard links if both are in one file system, else as copies."""
    same = source.stat().st_dev == target.stat().st_dev
    how = ["--link"] if same else ["--reflink=auto"]
    subprocess.run(["cp", "--archive", *how, f"{source}/.", target], check=True)
