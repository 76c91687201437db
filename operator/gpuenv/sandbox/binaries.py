"""Finds, downloads or builds the programs that the sandbox and the tests run.

In this order: the directory ``KUBEBUILDER_ASSETS``, PATH, the cache, the project's official release, and
last a build from source. What is found must be of a version known to do: Kubernetes of the pinned minor
version, because the components of a control plane may differ only in a prescribed way
(https://kubernetes.io/releases/version-skew-policy/).

The cache is ``$GPUENV_CACHE``, else ``$XDG_CACHE_HOME/gpuenv``, else ``~/.cache/gpuenv``; it may be deleted
at any time when no sandbox is running.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from gpuenv.sandbox.progress import say

VERSION_SECONDS: Final = 15.0
GO_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class BinaryError(Exception):
    """A program can neither be found, nor downloaded, nor built; one line that says what to do."""


@dataclass(frozen=True)
class Component:
    """Programs that are released, and built, together.

    A program found on this machine is used when its minor version lies between ``oldest`` and ``newest``.
    ``module`` is the Go module, ``packages`` its main package of each program (relative to the module),
    ``version_variables`` the linker's ``-X`` settings, ``release`` a URL with ``{version}``, ``{number}``
    (without ``v``), ``{arch}`` and, where each program is a file of its own, ``{program}``; its checksum
    (SHA-256, alone or in a list) is at ``checksum``. ``minutes`` is how long a cold build takes on 2 cores.
    """

    name: str
    version: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    module: str
    packages: dict[str, str]
    version_variables: dict[str, str]
    release: str
    checksum: str
    minutes: float


_KUBERNETES_VERSION: Final = "k8s.io/component-base/version"
_ETCD_RELEASES: Final = "https://github.com/etcd-io/etcd/releases/download/{version}"
_CONTAINERD_RELEASES: Final = "https://github.com/containerd/containerd/releases/download/{version}"

COMPONENTS: Final = (
    Component(
        name="etcd",
        version="v3.6.16",
        oldest=(3, 5),
        newest=(3, 6),
        module="go.etcd.io/etcd/server/v3",
        packages={"etcd": ""},
        version_variables={},
        release=f"{_ETCD_RELEASES}/etcd-{{version}}-linux-{{arch}}.tar.gz",
        checksum=f"{_ETCD_RELEASES}/SHA256SUMS",
        minutes=1,
    ),
    Component(
        name="kubernetes",
        version="v1.36.3",
        oldest=(1, 36),
        newest=(1, 36),
        module="k8s.io/kubernetes",
        packages={
            name: f"cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet")
        },
        version_variables={
            f"{_KUBERNETES_VERSION}.gitVersion": "v1.36.3",
            f"{_KUBERNETES_VERSION}.gitMajor": "1",
            f"{_KUBERNETES_VERSION}.gitMinor": "36",
        },
        release="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{program}",
        checksum="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{program}.sha256",
        minutes=5,
    ),
    Component(
        name="containerd",
        version="v2.2.9",
        oldest=(2, 1),
        newest=(2, 99),
        module="github.com/containerd/containerd/v2",
        packages={name: f"cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        version_variables={"github.com/containerd/containerd/v2/version.Version": "v2.2.9"},
        release=f"{_CONTAINERD_RELEASES}/containerd-{{number}}-linux-{{arch}}.tar.gz",
        checksum=f"{_CONTAINERD_RELEASES}/containerd-{{number}}-linux-{{arch}}.tar.gz.sha256sum",
        minutes=1.5,
    ),
    Component(
        name="helm",
        version="v3.21.4",
        oldest=(3, 14),
        newest=(4, 99),
        module="helm.sh/helm/v3",
        packages={"helm": "cmd/helm"},
        version_variables={"helm.sh/helm/v3/internal/version.version": "v3.21.4"},
        release="https://get.helm.sh/helm-{version}-linux-{arch}.tar.gz",
        checksum="https://get.helm.sh/helm-{version}-linux-{arch}.tar.gz.sha256sum",
        minutes=2,
    ),
)

API_SERVER: Final = ("etcd", "kube-apiserver", "kubectl")
CONTROLLERS: Final = ("kube-controller-manager", "kube-scheduler")
NODE: Final = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr")

_BY_PROGRAM: Final = {program: component for component in COMPONENTS for program in component.packages}
_VERSION_ARGUMENTS: Final = {
    "kubectl": ["version", "--client"],
    "containerd-shim-runc-v2": ["-v"],
    "helm": ["version", "--short"],
}
_VERSION: Final = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")

Obtain: TypeAlias = Callable[[Component, Sequence[str], Path], str | None]
"""Puts programs of a component into a directory; answers None, or why that was not possible."""


def ensure(programs: Sequence[str]) -> dict[str, Path]:
    """The path of each program, which is found, downloaded or built. Reports on stderr what takes time.

    Raises :class:`BinaryError`; ``KeyError`` for a program that no component has.
    """
    from gpuenv.sandbox import gobuild, releases  # noqa: PLC0415 - both need this module

    return ensure_with(programs, [releases.Downloader().obtain, gobuild.build])


def ensure_with(programs: Sequence[str], sources: Sequence[Obtain]) -> dict[str, Path]:
    """As :func:`ensure`, with the sources that fill the cache, the first one first."""
    found: dict[str, Path] = {}
    for component in COMPONENTS:
        wanted = [program for program in programs if _BY_PROGRAM[program] is component]
        missing = []
        for program in wanted:
            path = find(program)
            if path is None:
                missing.append(program)
            else:
                found[program] = path
        if missing:
            found |= _obtain(component, missing, sources)
    return {program: found[program] for program in programs}


def find(program: str) -> Path | None:
    """A usable program that is already on this machine, or None."""
    component = _BY_PROGRAM[program]
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


def cache_root() -> Path:
    """Where everything is kept that is expensive to get; see the module's text."""
    if own := os.environ.get("GPUENV_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpuenv"


def cache_directory(component: Component) -> Path:
    return cache_root() / "bin" / f"{component.name}-{component.version}-linux-{architecture()}"


def architecture() -> str:
    """This machine's architecture as Go spells it. Raises BinaryError on any other machine."""
    if platform.system() != "Linux":
        raise BinaryError(
            f"the sandbox runs on Linux, this is {platform.system()}; use a Linux machine or VM"
        )
    try:
        return GO_ARCHITECTURES[platform.machine()]
    except KeyError:
        raise BinaryError(
            f"the sandbox runs on x86_64 and arm64, this is {platform.machine()}; use another machine"
        ) from None


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Holds a lock among all processes that use this cache; the kernel frees it when this one dies."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f"{name}.lock").open("w")
    except OSError as error:
        raise BinaryError(f"cannot write to the cache {root}: {error.strerror}; set GPUENV_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
        # Another process may have done it while this one waited for the lock.
        missing_now = [program for program in missing if not (target / program).is_file()]
        if missing_now:
            _fill(component, missing_now, target, sources)
    return {program: target / program for program in missing}


def _fill(component: Component, missing: Sequence[str], target: Path, sources: Sequence[Obtain]) -> None:
    """Fills the cache by renaming finished files into it, so that a killed run leaves nothing half-done."""
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(".new-*"):  # of a run that was killed: whoever lives holds the lock
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
