"""Lists the programs that the sandbox and the tests run: their versions, download addresses and build settings."""

import platform
from dataclasses import dataclass
from typing import Final

GO_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class BinaryError(Exception):
    """A program cannot be provided on this machine. The message is one line that says why and what to do."""


@dataclass(frozen=True)
class Component:
    """A group of programs that are released and built together.

    ``version`` is the version that is downloaded or built. A program found on this machine is used if its version lies
    between ``oldest`` and ``newest``, both inclusive and given as (major, minor).

    ``module`` is the Go module of the source. ``packages`` has the name of each program as a key, and the path of its
    main package, relative to the module, as the value. ``version_variables`` has the names of Go variables as keys, and
    the values that the linker sets them to (``-X``).

    ``release`` is the URL of the official release, with the placeholders ``{version}``, ``{number}`` (the version
    without ``v``), ``{arch}`` and, if each program is a separate file, ``{program}``. ``checksum`` is the URL of a file
    that contains the SHA-256 of the release, alone or in a list. ``minutes`` is the usual duration of a build with
    empty caches on 2 cores, and ``gigabytes`` the disk space that the build needs.
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
    gigabytes: float


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
        gigabytes=1.1,
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
        gigabytes=4.3,
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
        gigabytes=1.4,
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
        gigabytes=2.3,
    ),
)

API_SERVER: Final = ("etcd", "kube-apiserver", "kubectl")
CONTROLLERS: Final = ("kube-controller-manager", "kube-scheduler")
NODE: Final = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr")


def architecture() -> str:
    """Return this machine's architecture as Go names it, such as ``amd64``.

    Raises BinaryError if this machine does not run Linux on x86_64 or arm64.
    """
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
