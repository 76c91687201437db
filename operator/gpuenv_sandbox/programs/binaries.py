"""Finds, downloads or builds the programs that the sandbox and the tests run.

A program is taken from the first of these places that has it: the directory ``$KUBEBUILDER_ASSETS``, PATH, gpuenv's
cache, the official release of its project, and last a build from source. On this machine, only programs of a supported
version are used. For Kubernetes this is one minor version, because the versions of a control plane's components may
differ only within limits (https://kubernetes.io/releases/version-skew-policy/).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from gpuenv_sandbox.programs import downloads
from gpuenv_sandbox.programs.cache import cache_root, exclusive
from gpuenv_sandbox.programs.catalogue import COMPONENTS, BinaryError, Component, architecture
from gpuenv_sandbox.programs.progress import say
from gpuenv_sandbox.programs.source_builds import SourceBuilds

VERSION_SECONDS: Final = 60.0
_VERSION_ARGUMENTS: Final = {
    "kubectl": ["version", "--client"],
    "containerd-shim-runc-v2": ["-v"],
    "helm": ["version", "--short"],
}
_VERSION: Final = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")

Obtain: TypeAlias = Callable[[Component, Sequence[str], Path], str | None]
"""A function that downloads or builds programs of a component into a directory.

It returns None if it has succeeded, or the reason why that was not possible.
"""


def ensure(programs: Sequence[str], components: Sequence[Component] = COMPONENTS) -> dict[str, Path]:
    """Find, download or build programs, and return the path of each. Slow actions are shown on stderr.

    Request all programs in one call, because builds of several components share downloaded and compiled files. A
    program is that of the last of ``components`` that has it. Raises :class:`BinaryError` if a program cannot be found,
    downloaded or built, and ``KeyError`` if ``components`` does not list it.
    """
    found, missing = _search(programs, components)
    with SourceBuilds([component for component, _ in missing]) as builds:
        return _complete(programs, found, missing, [downloads.Downloader().obtain, builds.obtain])


def ensure_with(programs: Sequence[str], sources: Sequence[Obtain]) -> dict[str, Path]:
    """Find programs on this machine or get them from ``sources``, and return the path of each.

    The sources are tried in their order. Exceptions are those of :func:`ensure`.
    """
    return _complete(programs, *_search(programs, COMPONENTS), sources)


def _search(
    programs: Sequence[str], components: Sequence[Component]
) -> tuple[dict[str, Path], list[tuple[Component, list[str]]]]:
    """Return the paths of those programs that are on this machine, and the missing ones by component."""
    by_program = _by_program(components)
    found = {program: find(program, components) for program in programs}
    missing = []
    for component in components:
        lacking = [one for one in programs if by_program[one] is component and found[one] is None]
        if lacking:
            missing.append((component, lacking))
    return {program: path for program, path in found.items() if path is not None}, missing


def _complete(
    programs: Sequence[str],
    found: Mapping[str, Path],
    missing: Sequence[tuple[Component, Sequence[str]]],
    sources: Sequence[Obtain],
) -> dict[str, Path]:
    paths = dict(found)
    for component, lacking in missing:
        paths |= _obtain(component, lacking, sources)
    return {program: paths[program] for program in programs}


def _by_program(components: Sequence[Component]) -> dict[str, Component]:
    return {program: component for component in components for program in component.packages}


def find(program: str, components: Sequence[Component] = COMPONENTS) -> Path | None:
    """Return the path of a program on this machine that has a supported version, or None.

    The directory ``$KUBEBUILDER_ASSETS``, PATH and gpuenv's cache are searched.
    """
    component = _by_program(components)[program]
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        asset = Path(assets) / program
        if _is_usable(asset, component):
            return asset
        if asset.exists():
            say(f"{asset} is not used: not {component.name} {component.version.rpartition('.')[0]}")
    on_path = shutil.which(program)
    if on_path and _is_usable(Path(on_path), component):
        return Path(on_path)
    cached = cache_directory(component) / program
    return cached if cached.is_file() else None


def cache_directory(component: Component) -> Path:
    return cache_root() / "bin" / f"{component.name}-{component.version}-linux-{architecture()}"


def _is_usable(path: Path, component: Component) -> bool:
    if not (path.is_file() and os.access(path, os.X_OK)):
        return False
    try:
        result = subprocess.run(
            [path, *_VERSION_ARGUMENTS.get(path.name, ["--version"])],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = _VERSION.search(result.stdout)
    return match is not None and component.oldest <= (int(match[1]), int(match[2])) <= component.newest


def _obtain(component: Component, missing: Sequence[str], sources: Sequence[Obtain]) -> dict[str, Path]:
    target = cache_directory(component)
    with exclusive(component.name):
        # Another process may have got the programs while this one waited for the lock.
        missing_now = [program for program in missing if not (target / program).is_file()]
        if missing_now:
            _fill(component, missing_now, target, sources)
    return {program: target / program for program in missing}


def _fill(component: Component, missing: Sequence[str], target: Path, sources: Sequence[Obtain]) -> None:
    """Get the missing programs of a component and put them into ``target``, its directory in the cache.

    The sources are tried in their order. Only complete programs are moved into ``target``, so that a killed process
    leaves no incomplete program there. Raises BinaryError if no source can provide the programs.
    """
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(".new-*"):  # left by a killed process, because a running one would hold the lock
        shutil.rmtree(left, ignore_errors=True)
    reasons = []
    for obtain in sources:
        with tempfile.TemporaryDirectory(dir=target, prefix=".new-", ignore_cleanup_errors=True) as scratch:
            reason = obtain(component, missing, Path(scratch))
            if reason is None:
                for program in missing:
                    (Path(scratch) / program).chmod(0o755)
                    (Path(scratch) / program).replace(target / program)
                return
            reasons.append(reason)
    raise BinaryError(
        f"cannot get {', '.join(missing)} ({component.name} {component.version}): {'; '.join(reasons)}. "
        "Put them on PATH or into the directory that KUBEBUILDER_ASSETS names."
    )
