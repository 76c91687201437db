"""Real Dockerfiles, built by buildah without a registry: bases are local, wheels are at hand."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.images import Image, write_layout
from tests.support.rootfs import packages_layer, python_layer
from tests.support.unique import unique, unique_directory
from tests.support.wait import finished

from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.progress import Progress

ROOT = Path(__file__).parents[2]
PYTHON = "3.11.2"
"""Of the local base."""
SECONDS = 1200
"""For one step of a build, and for a download."""
WHEELS = "/wheels"
OUTPUT = "/output"
TO_FILES = f'exec "$@" > {OUTPUT}/stdout 2> {OUTPUT}/stderr'
LAST_LINES = 15


class BuildError(Exception):
    """A Dockerfile does not build; its last lines."""


def why_not() -> str | None:
    """Why images cannot be built here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    return None if shutil.which("buildah") else "missing: buildah; run tests/e2e/install-packages.sh"


def local_base() -> Image:
    """What Dockerfiles of the repository are built on: Debian 12 with venv and pip. Raises LayerError, BinaryError."""
    return Image((python_layer(), packages_layer("python3-venv", "python3-pip")))


class Buildah:
    """One store of images. Use :func:`store`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._flags = ["--root", str(directory / "store"), "--runroot", str(directory / "run")]

    def __call__(self, *arguments: str) -> str:
        """Return standard output. Raises BuildError."""
        command = ["buildah", *self._flags, *arguments]
        result = finished(command, timeout=SECONDS, cwd=ROOT, env=self._env())
        if result.returncode != 0:
            lines = (result.stdout + result.stderr).strip().splitlines()
            raise BuildError(f"buildah {arguments[0]}: " + "\n".join(lines[-LAST_LINES:]))
        return result.stdout

    def _env(self) -> dict[str, str]:
        # chroot: neither a runtime nor cgroups nor a network of its own is needed.
        own = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        return own | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}

    def base(self, name: str, image: Image) -> str:
        """A local image for ``FROM``."""
        layout = self._directory / "base"
        write_layout(layout, name, image)
        found = self("pull", f"oci:{layout}").strip().splitlines()[-1]
        self("tag", found, name)
        shutil.rmtree(layout)
        return name

    def build(self, dockerfile: str, name: str, arguments: Mapping[str, str], wheels: Path) -> str:
        """Builds a Dockerfile of the repository; Python packages come from ``wheels``. Raises BuildError."""
        given = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS} | dict(arguments)
        flags = [flag for pair in given.items() for flag in ("--build-arg", "=".join(pair))]
        self("build", "--pull=never", "--volume", f"{wheels}:{WHEELS}:ro", *flags,
             "--file", dockerfile, "--tag", name, ".")  # fmt: skip
        return name

    def config(self, name: str) -> dict[str, Any]:
        """The ``config`` of an image, as OCI has it."""
        return dict(json.loads(self("inspect", "--type", "image", name))["OCIv1"]["config"])

    def run(self, name: str, *command: str) -> str:
        """Return what a command prints to standard output inside the image, as its user. Raises BuildError.

        The command writes to files: on a busy machine buildah can lose the last lines of a process that ends at once.
        """
        container = self("from", "--pull=never", name).strip()
        output = self._directory / unique("output")
        output.mkdir()
        output.chmod(0o777)
        try:
            self(
                "run", "--volume", f"{output}:{OUTPUT}", container, "--", "sh", "-c", TO_FILES, "sh", *command
            )
        except BuildError as error:
            raise BuildError("\n".join([str(error), *_last_lines(output)])) from None
        finally:
            self("rm", container)
        return (output / "stdout").read_text(encoding="utf-8")

    @contextmanager
    def running(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Iterator[Path]:
        """Runs a command in the background, with the image's user and environment; yields the path of its log."""
        container = self("from", "--pull=never", name).strip()
        flags = [flag for pair in (env or {}).items() for flag in ("--env", "=".join(pair))]
        log = self._directory / f"{container}.log"
        with log.open("w") as file:
            # In a process namespace of its own: buildah's children would outlive it.
            start = ["unshare", "--pid", "--fork", "--kill-child", "buildah", *self._flags, "run"]
            child = subprocess.Popen(
                [*start, *flags, container, "--", *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._env(),
            )
            try:
                yield log
            finally:
                child.kill()
                child.wait()
                self("rm", container)

    def save(self, name: str, reference: str) -> Path:
        """A docker archive that holds the image under ``reference``."""
        archive = self._directory / "image.tar"
        archive.unlink(missing_ok=True)
        self("push", name, f"docker-archive:{archive}:{reference}")
        return archive


def _last_lines(output: Path) -> list[str]:
    """Return the last lines that a command wrote to its files."""
    files = [output / "stdout", output / "stderr"]
    return [line for file in files if file.exists() for line in file.read_text().splitlines()[-LAST_LINES:]]


@contextmanager
def store() -> Iterator[Buildah]:
    """Yield an empty store of images, and delete it at the end.

    buildah names a local image after its path, so the directory has a name that an image may have.
    """
    with unique_directory("gpuenv-buildah") as directory:
        yield Buildah(directory)
        # Overlays that buildah has left mounted would keep the directory from going.
        subprocess.run(
            ["umount", "--quiet", f"{directory}/store/overlay"], check=False, stderr=subprocess.DEVNULL
        )


def wheels(*requirements: str) -> Path:
    """A directory with the pinned wheels of these texts of requirements, for the local base's Python."""
    pinned = "\n".join(requirements)
    key = hashlib.sha256(pinned.encode()).hexdigest()[:12]
    target = cache_root() / "wheels" / f"{PYTHON}-{key}"
    with exclusive("wheels"), unique_directory("gpuenv-wheels") as scratch:
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            file = scratch / "requirements.txt"
            file.write_text(pinned, encoding="utf-8")
            unfinished = target.with_name(f"{target.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--no-deps"]
            command += ["--only-binary=:all:", f"--python-version={PYTHON}", "-d", str(unfinished)]
            with Progress("downloading wheels for an image", "20 s"):
                subprocess.run([*command, "-r", file], check=True, timeout=SECONDS)
            unfinished.rename(target)
    return target


def requirements(path: str, only: str = "") -> str:
    """The text of a requirements file, or just of the one package ``only``."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if not only:
        return text
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{only}=="))
    end = next(number for number, line in enumerate(lines) if number > start and not line.endswith("\\"))
    return "\n".join(lines[start : end + 1])
