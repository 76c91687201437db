"""Builds real Dockerfiles with buildah, without a registry: base images and Python wheels are local."""

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
"""Version of Python in the image that :func:`local_base` returns."""
SECONDS = 1200
"""Time limit of one buildah command, and of a download."""
WHEELS = "/wheels"
OUTPUT = "/output"
TO_FILES = f'exec "$@" > {OUTPUT}/stdout 2> {OUTPUT}/stderr'
LAST_LINES = 15


class BuildError(Exception):
    """A buildah command failed. The message contains the last lines of its output."""


def why_not() -> str | None:
    """Return why images cannot be built on this machine, or None if they can."""
    if os.geteuid() != 0:
        return "needs root"
    return None if shutil.which("buildah") else "missing: buildah; run tests/e2e/install-packages.sh"


def local_base() -> Image:
    """Return the base image for the Dockerfiles of the repository: Debian 12 with Python, venv and pip.

    Raises LayerError and BinaryError.
    """
    return Image((python_layer(), packages_layer("python3-venv", "python3-pip")))


class Buildah:
    """A store of images in a directory, and buildah's commands on it. Tests get one from :func:`store`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._flags = ["--root", str(directory / "store"), "--runroot", str(directory / "run")]
        self._mounts: list[str] = []

    def __call__(self, *arguments: str) -> str:
        """Run a buildah command, and return its standard output. Raises BuildError."""
        command = ["buildah", *self._flags, *arguments]
        result = finished(command, timeout=SECONDS, cwd=ROOT, env=self._env())
        if result.returncode != 0:
            lines = (result.stdout + result.stderr).strip().splitlines()
            raise BuildError(f"buildah {arguments[0]}: " + "\n".join(lines[-LAST_LINES:]))
        return result.stdout

    def _env(self) -> dict[str, str]:
        # The isolation chroot needs no container runtime, no cgroups and no network namespace.
        own = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        return own | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}

    def mount(self, source: Path, target: str) -> None:
        """Show a directory of this machine, read-only, to every build and every container from now on."""
        self._mounts += ["--volume", f"{source}:{target}:ro"]

    def base(self, name: str, image: Image) -> str:
        """Import ``image`` into the store under ``name``, for use in ``FROM``. Return ``name``."""
        layout = self._directory / "base"
        write_layout(layout, name, image)
        found = self("pull", f"oci:{layout}").strip().splitlines()[-1]
        self("tag", found, name)
        shutil.rmtree(layout)
        return name

    def build(self, dockerfile: str, name: str, arguments: Mapping[str, str], wheels: Path) -> str:
        """Build a Dockerfile of the repository as image ``name``, and return ``name``. Raises BuildError.

        ``arguments`` are its build arguments. Python packages are installed from the directory ``wheels``.
        """
        given = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS} | dict(arguments)
        flags = [flag for pair in given.items() for flag in ("--build-arg", "=".join(pair))]
        self("build", "--pull=never", *self._mounts, "--volume", f"{wheels}:{WHEELS}:ro", *flags,
             "--file", dockerfile, "--tag", name, ".")  # fmt: skip
        return name

    def config(self, name: str) -> dict[str, Any]:
        """Return the ``config`` of an image, in the format of OCI."""
        return dict(json.loads(self("inspect", "--type", "image", name))["OCIv1"]["config"])

    def run(self, name: str, *command: str) -> str:
        """Run a command inside an image, as the image's user, and return its standard output. Raises BuildError.

        The command writes to files, because on a busy machine buildah can lose the last lines of a short process.
        """
        container = self("from", "--pull=never", name).strip()
        output = self._directory / unique("output")
        output.mkdir()
        output.chmod(0o777)
        try:
            mounts = [*self._mounts, "--volume", f"{output}:{OUTPUT}"]
            self("run", *mounts, container, "--", "sh", "-c", TO_FILES, "sh", *command)
        except BuildError as error:
            raise BuildError("\n".join([str(error), *_last_lines(output)])) from None
        finally:
            self("rm", container)
        return (output / "stdout").read_text(encoding="utf-8")

    @contextmanager
    def running(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Iterator[Path]:
        """Run a command in the background with the image's user and environment, and yield the path of its log."""
        container = self("from", "--pull=never", name).strip()
        flags = [flag for pair in (env or {}).items() for flag in ("--env", "=".join(pair))]
        log = self._directory / f"{container}.log"
        with log.open("w") as file:
            # It gets its own process namespace, because buildah's children would otherwise outlive it.
            start = ["unshare", "--pid", "--fork", "--kill-child", "buildah", *self._flags, "run"]
            child = subprocess.Popen(
                [*start, *self._mounts, *flags, container, "--", *command],
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
        """Write an image into a docker archive, in which it is named ``reference``, and return the archive's path."""
        archive = self._directory / "image.tar"
        archive.unlink(missing_ok=True)
        self("push", name, f"docker-archive:{archive}:{reference}")
        return archive


def _last_lines(output: Path) -> list[str]:
    """Return the last lines of the files in ``output``, to which a command has written."""
    files = [output / "stdout", output / "stderr"]
    return [line for file in files if file.exists() for line in file.read_text().splitlines()[-LAST_LINES:]]


@contextmanager
def store() -> Iterator[Buildah]:
    """Yield an empty store of images, and delete it at the end.

    buildah derives the name of a local image from its path, so the directory's name must be valid in an image's name.
    """
    with unique_directory("gpuenv-buildah") as directory:
        yield Buildah(directory)
        # The directory could not be deleted while an overlay is mounted there, which buildah sometimes leaves behind.
        subprocess.run(
            ["umount", "--quiet", f"{directory}/store/overlay"], check=False, stderr=subprocess.DEVNULL
        )


def wheels(*requirements: str) -> Path:
    """Return a directory with the wheels that these requirements, contents of requirements files, pin.

    The wheels are for the Python of :func:`local_base`. They are downloaded once and cached.
    """
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
    """Return the text of a requirements file, or only its entry for the package ``only``."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if not only:
        return text
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{only}=="))
    end = next(number for number, line in enumerate(lines) if number > start and not line.endswith("\\"))
    return "\n".join(lines[start : end + 1])
