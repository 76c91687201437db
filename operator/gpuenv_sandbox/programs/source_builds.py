"""Builds programs from their Go modules.

For each component, a Go module is written that requires the component's module at its pinned version, and ``go build``
builds the component's main packages. ``go install module@version`` is no alternative: it refuses modules with replace
directives, which Kubernetes and etcd have. Go verifies every module with the public checksum database
(https://go.dev/ref/mod#authenticating).
"""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gpuenv_sandbox.programs.cache import cache_root, shared_while_used
from gpuenv_sandbox.programs.catalogue import Component
from gpuenv_sandbox.programs.go_toolchain import GO_MINIMUM, Go, GoError, find_go, install_go
from gpuenv_sandbox.programs.progress import Progress, say

CACHES: Final = "go-build"
"""The directory in gpuenv's cache where Go keeps downloaded and compiled files during builds."""

_STAGING: Final = re.compile(r"^\s*(\S+) => \./staging/", re.MULTILINE)
_GODEBUG: Final = re.compile(r"^godebug .*$", re.MULTILINE)


class SourceBuilds:
    """Builds components that share the files that Go downloads and compiles. These files are removed at the end.

    ``components`` are those that may have to be built, in the order of building.
    """

    def __init__(self, components: Sequence[Component]) -> None:
        self._components: Final = components
        self._caches: Path | None = None
        self._stack: Final = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._caches is not None:
            with Progress("removing the intermediate files of the build"):
                self._stack.close()

    def obtain(self, component: Component, programs: Sequence[str], target: Path) -> str | None:
        """Build programs of a component into the directory ``target``. Return None, or why that was not possible."""
        try:
            if self._caches is None:
                self._begin(component)
            assert self._caches is not None
            go = find_go() or install_go()
            with (
                Progress(
                    f"building {component.name} {component.version} ({', '.join(programs)})",
                    f"{component.minutes:g} min on 2 cores",
                ) as progress,
                tempfile.TemporaryDirectory(dir=target, prefix="build-") as directory,
            ):
                _build(Go(go, Path(directory), self._caches), component, programs, target, progress)
        except (GoError, OSError) as error:
            return f"no build from source ({error})"
        return None

    def _begin(self, first: Component) -> None:
        """Print how much time and disk space the builds from ``first`` on need, and prepare the shared caches.

        Raises OSError if too little disk space is free. The printed disk space is an upper bound, because components
        share some of their dependencies.
        """
        expected = self._components[self._components.index(first) :]
        gigabytes = sum(component.gigabytes for component in expected)
        free = shutil.disk_usage(cache_root()).free / 1e9
        if free < gigabytes:
            raise OSError(
                f"needs up to {gigabytes:.1f} GB of disk in {cache_root()} while it lasts, and {free:.1f} GB are free: "
                "free some, or set GPUENV_CACHE to a directory on another disk"
            )
        self._caches = self._stack.enter_context(shared_while_used(CACHES))
        say(
            f"building {', '.join(component.name for component in expected)} from source: usually "
            f"{sum(component.minutes for component in expected):g} min on 2 cores; needs up to {gigabytes:.1f} GB of disk "
            f"in {self._caches} while it lasts"
        )


def write_module(component: Component, programs: Sequence[str], go_mod: str, directory: Path) -> list[str]:
    """Write a Go module that depends on the component into ``directory``; return the main packages to build.

    ``go_mod`` is the text of the component's own go.mod. Kubernetes uses it to replace its staging modules with
    directories, which other modules do not have. Kubernetes also publishes each staging module as ``v0.X.Y`` for its
    own ``v1.X.Y`` (https://github.com/kubernetes/kubernetes/tree/master/staging), so the written module requires these
    versions.
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


def _build(go: Go, component: Component, programs: Sequence[str], target: Path, progress: Progress) -> None:
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
