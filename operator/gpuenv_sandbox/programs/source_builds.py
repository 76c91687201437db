"""Builds programs from source with Go.

For each component, a temporary Go module is written that depends on the component's module in the pinned
version. ``go build`` then builds the component's programs inside the temporary module. ``go install module@version``
would be simpler, but refuses modules with replace directives, which Kubernetes and etcd have. Go verifies every module
with the public checksum database (https://go.dev/ref/mod#authenticating).
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
"""The name of the directory in gpuenv's cache where Go keeps downloaded and compiled files during builds."""

_STAGING: Final = re.compile(r"^\s*(\S+) => \./staging/", re.MULTILINE)
_GODEBUG: Final = re.compile(r"^godebug .*$", re.MULTILINE)


class SourceBuilds:
    """Builds several components from source, with one cache for the files that Go downloads and compiles.

    Leaving this context manager removes the cache. ``components`` are all components that may have to be built, in the
    order in which they are built.
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
        """Build programs of a component into the directory ``target``.

        Return None if that has succeeded, or the reason why it was not possible.
        """
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
        """Prepare the shared cache, and print how much time and disk space the builds need.

        The builds are those of ``first`` and of the components after it. The printed disk space is an upper bound,
        because the components share dependencies. Raises OSError if less disk space is free.
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
    """Write a temporary Go module into ``directory``, from which programs of a component can be built.

    Return the import paths of the programs' main packages. ``go_mod`` is the text of the component's own go.mod. That
    of Kubernetes replaces some modules with directories of its repository (``./staging/``), which the written module
    lacks. But Kubernetes ``v1.X.Y`` also publishes each of these modules as ``v0.X.Y``
    (https://github.com/kubernetes/kubernetes/tree/master/staging), so the written module uses these versions.
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
