"""The images of probe pods in end-to-end tests, each with a few thin layers above the same Debian."""

import json
import platform
import tarfile
from pathlib import Path

import pytest
from tests.fake_cuda import build as fake_cuda
from tests.support.images import IMAGE_PATH, File, Image, directory_layer, file_layer
from tests.support.node import RealNode
from tests.support.rootfs import python_layer, torch_layer

STUB_TORCH = Path(__file__).parents[1] / "stub_torch" / "torch"
SITE_PACKAGES = "/usr/local/lib/python3.11/dist-packages"
LIBRARIES = f"/usr/lib/{platform.machine()}-linux-gnu"
"""Directory in which the dynamic linker finds libraries without ``ldconfig``."""
PYTHON = "/usr/bin/python3.11"
ROOTS_PYTHON = "/root/.venv/bin/python3"


def stand_in_torch(scratch: Path) -> Image:
    """Return an image with Python, the stand-in torch and the fake driver libraries, which emulate one A100."""
    torch = directory_layer(scratch / "stub-torch.tar", STUB_TORCH, f"{SITE_PACKAGES}/torch")
    if fake_cuda.compiler() is None:
        pytest.skip("no C compiler for the stand-in of the driver's libraries: install gcc")
    libraries = fake_cuda.build(scratch / "fake-cuda")
    driver = directory_layer(scratch / "fake-cuda.tar", libraries, LIBRARIES)
    return Image((python_layer(), torch, driver))


def cpu_torch(_: Path) -> Image:
    """Return an image with Debian's python3-torch 1.13.1, a real PyTorch built without CUDA.

    Its ``torch.__version__`` is 1.13.0a0.
    """
    return Image((python_layer(), torch_layer()))


def no_torch(_: Path) -> Image:
    """Return an image with Python but without torch."""
    return Image((python_layer(),))


def no_python(scratch: Path) -> Image:
    """Return an image without ``python3`` on PATH."""
    links = ["/usr/bin/python3", PYTHON]
    return Image((python_layer(), file_layer(scratch / "no-python.tar", {}, removed=links)), ("/bin/sh",))


def root_only_python(scratch: Path) -> Image:
    """Return an image with the stand-in torch whose only interpreter is in root's home directory.

    pyenv and uv install interpreters there.
    """
    layer = file_layer(
        scratch / "root-only-python.tar",
        {ROOTS_PYTHON: File(_file_of(python_layer().path, PYTHON), 0o755)},
        removed=["/usr/bin/python3", PYTHON],
        directories={"/root": 0o700},
    )
    env = {"PATH": f"{Path(ROOTS_PYTHON).parent}:{IMAGE_PATH}"}
    return Image((*stand_in_torch(scratch).layers, layer), env=env)


def needs_entrypoint(scratch: Path) -> Image:
    """Return an image with the stand-in torch in a directory that only its ENTRYPOINT adds to PYTHONPATH.

    Images that activate a Python environment at start work in this way.
    """
    script = b'#!/bin/sh\nexport PYTHONPATH=/opt/env\nexec "$@"\n'
    torch = directory_layer(scratch / "hidden-torch.tar", STUB_TORCH, "/opt/env/torch")
    entry = file_layer(scratch / "entrypoint.tar", {"/entrypoint.sh": File(script, 0o755)})
    base, _, driver = stand_in_torch(scratch).layers
    return Image((base, torch, driver, entry), entrypoint=("/entrypoint.sh",))


def writes_outside_tmp(scratch: Path) -> Image:
    """Return an image with the stand-in torch whose ENTRYPOINT and whose module ``writes`` write to /var/tmp.

    Any user may write there, so that only a read-only root file system prevents it.
    """
    script = b'#!/bin/sh\nset -e\ntouch /var/tmp/started\nexec "$@"\n'
    module = b"open('/var/tmp/imported', 'w').close()\n"
    files = {"/entrypoint.sh": File(script, 0o755), f"{SITE_PACKAGES}/writes.py": File(module)}
    layer = file_layer(scratch / "writes.tar", files)
    return Image((*stand_in_torch(scratch).layers, layer), entrypoint=("/entrypoint.sh",))


def hangs_at_once(scratch: Path) -> Image:
    """Return an image whose Python hangs at its start, before the first line of the probe."""
    program = b"import threading; threading.Event().wait()\n"
    layer = file_layer(scratch / "hangs.tar", {f"{SITE_PACKAGES}/hangs.pth": File(program)})
    return Image((*stand_in_torch(scratch).layers, layer))


def hangs_in_a_kernel(scratch: Path) -> Image:
    """Return an image with a stand-in torch whose matrix product never ends."""
    emulated = json.dumps({"faults": {"matmul": "hang"}}).encode()
    layer = file_layer(scratch / "faults.tar", {f"{SITE_PACKAGES}/emulated.json": File(emulated)})
    return Image((*stand_in_torch(scratch).layers, layer))


MAKERS = (
    stand_in_torch, cpu_torch, no_torch, no_python, root_only_python, needs_entrypoint, writes_outside_tmp,
    hangs_at_once, hangs_in_a_kernel,
)  # fmt: skip


class NodeImages(dict[str, str]):
    """Full names of images on a node, by the name of the function that makes the image.

    An image is imported when its name is first looked up.
    """

    def __init__(self, node: RealNode, scratch: Path) -> None:
        super().__init__()
        self._node, self._scratch = node, scratch

    def __missing__(self, key: str) -> str:
        make = next(make for make in MAKERS if make.__name__ == key)
        self[key] = self._node.import_image(f"gpuenv.test/{key.replace('_', '-')}:1", make(self._scratch))
        return self[key]


def _file_of(archive: Path, path: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(path.lstrip("/"))
        assert file is not None, f"{archive} has no {path}"
        return file.read()
