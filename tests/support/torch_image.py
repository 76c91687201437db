"""Makes an image layer of the real PyTorch wheel. It is large, so it is deleted after the test run."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.images import Layer
from tests.support.rootfs import LayerError
from tests.support.unique import unique_directory
from tests.torch_releases import releases

from gpuenv_sandbox.programs.cache import cache_root
from gpuenv_sandbox.programs.progress import Progress

SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python 3.11 finds packages. The wheels are for the same version."""
NEEDED_BYTES = 35 * 10**9
"""Disk space for the layer (6.8 GB), and for its packed and unpacked copies in two container stores."""
NOT_OF_THE_WHEEL = (
    "pip",
    "pip-*",
    "setuptools",
    "setuptools-*",
    "_distutils_hack",
    "distutils-precedence.pth",
)


@contextmanager
def torch_wheel_layer() -> Iterator[Layer]:
    """Yield a layer with PyTorch 2.9.1+cu128 and its CUDA libraries from PyPI. Raises LayerError."""
    try:
        python = releases.ensure(releases.release(releases.DEFAULT))
    except releases.UnavailableError as error:
        raise LayerError(str(error)) from None
    show = "import sys, sysconfig; print(sys.version_info[:2] == (3, 11), sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout
    fits, source = answer.strip().split(" ", 1)
    if fits != "True":
        raise LayerError("the PyTorch at hand is not for Python 3.11, which the local base has")
    with unique_directory("torch-layer", cache_root()) as directory:
        free = shutil.disk_usage(directory).free
        if free < NEEDED_BYTES:
            raise LayerError(
                f"images with PyTorch need {NEEDED_BYTES // 10**9} GB of disk, {free // 10**9} are free"
            )
        target = directory / "layer.tar"
        with Progress("making an image layer of the PyTorch wheel", "1 min"):
            excluded = [f"--exclude=./{pattern}" for pattern in (*NOT_OF_THE_WHEEL, "__pycache__")]
            owner = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]
            rename = f"--transform=flags=rh;s,^\\.,{SITE_PACKAGES},"
            subprocess.run(
                ["tar", "-cf", target, *excluded, *owner, rename, "-C", source, "."], check=True, timeout=1200
            )
            layer = Layer.of(target)
        yield layer
