"""The images that probe pods meet in end-to-end tests, each a thin layer above the same Debian."""

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
"""Where the dynamic linker looks without ``ldconfig``."""
PYTHON = "/usr/bin/python3.11"
ROOTS_PYTHON = "/root/.venv/bin/python3"


def stand_in_torch(scratch: Path) -> Image:
    """Python, the stand-in of tests/stub_torch and the driver libraries of tests/fake_cuda: one A100."""
    torch = directory_layer(scratch / "stub-torch.tar", STUB_TORCH, f"{SITE_PACKAGES}/torch")
    if fake_cuda.compiler() is None:
        pytest.skip("no C compiler for the stand-in of the driver's libraries: install gcc")
    libraries = fake_cuda.build(scratch / "fake-cuda")
    driver = directory_layer(scratch / "fake-cuda.tar", libraries, LIBRARIES)
    return Image((python_layer(), torch, driver))


def cpu_torch(_: Path) -> Image:
    """Debian's python3-torch 1.13.1, which calls itself 1.13.0a0: a real PyTorch, built without CUDA."""
    return Image((python_layer(), torch_layer()))


def no_torch(_: Path) -> Image:
    """Python and nothing else."""
    return Image((python_layer(),))


def no_python(scratch: Path) -> Image:
    """No ``python3`` on PATH."""
    links = ["/usr/bin/python3", PYTHON]
    return Image((python_layer(), file_layer(scratch / "no-python.tar", {}, removed=links)), ("/bin/sh",))


def root_only_python(scratch: Path) -> Image:
    """The stand-in, with its interpreter in root's home directory only, as pyenv and uv leave it there."""
    layer = file_layer(
        scratch / "root-only-python.tar",
        {ROOTS_PYTHON: File(_file_of(python_layer().path, PYTHON), 0o755)},
        removed=["/usr/bin/python3", PYTHON],
        directories={"/root": 0o700},
    )
    env = {"PATH": f"{Path(ROOTS_PYTHON).parent}:{IMAGE_PATH}"}
    return Image((*stand_in_torch(scratch).layers, layer), env=env)


def needs_entrypoint(scratch: Path) -> Image:
    """The stand-in where only the image's ENTRYPOINT finds it, as with images that activate an environment."""
    script = b'#!/bin/sh\nexport PYTHONPATH=/opt/env\nexec "$@"\n'
    torch = directory_layer(scratch / "hidden-torch.tar", STUB_TORCH, "/opt/env/torch")
    entry = file_layer(scratch / "entrypoint.tar", {"/entrypoint.sh": File(script, 0o755)})
    base, _, driver = stand_in_torch(scratch).layers
    return Image((base, torch, driver, entry), entrypoint=("/entrypoint.sh",))


def hangs_at_once(scratch: Path) -> Image:
    """Something that Python runs at its start never returns: the probe's first line is not reached."""
    program = b"import threading; threading.Event().wait()\n"
    layer = file_layer(scratch / "hangs.tar", {f"{SITE_PACKAGES}/hangs.pth": File(program)})
    return Image((*stand_in_torch(scratch).layers, layer))


def hangs_in_a_kernel(scratch: Path) -> Image:
    """The stand-in, whose matrix product never ends."""
    emulated = json.dumps({"faults": {"matmul": "hang"}}).encode()
    layer = file_layer(scratch / "faults.tar", {f"{SITE_PACKAGES}/emulated.json": File(emulated)})
    return Image((*stand_in_torch(scratch).layers, layer))


MAKERS = (
    stand_in_torch, cpu_torch, no_torch, no_python, root_only_python, needs_entrypoint, hangs_at_once,
    hangs_in_a_kernel,
)  # fmt: skip


class NodeImages(dict[str, str]):
    """Names of images on a node, by the function that makes them; imported on first use."""

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
