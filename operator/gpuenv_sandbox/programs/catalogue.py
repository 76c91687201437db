"""Lists the programs that the sandbox and the tests run: their versions, download addresses and build settings."""

import platform
from collections.abc import Mapping, Sequence
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
    without ``v``), ``{arch}`` and, if each program is a separate file, ``{program}``. ``checksums`` has the file names
    of releases as keys, each with the architecture as Go names it (``amd64/kubectl``), and their SHA-256 as values. They
    stand here and are not asked of the server, because a server that was broken into would also give a wrong checksum.
    A file without one is not downloaded; the program is then built from source. ``minutes`` is the usual duration of a
    build with empty caches on 2 cores, and ``gigabytes`` the disk space that the build needs.
    """

    name: str
    version: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    module: str
    packages: dict[str, str]
    version_variables: dict[str, str]
    release: str
    checksums: Mapping[str, str]
    minutes: float
    gigabytes: float


_KUBERNETES_VERSION: Final = "k8s.io/component-base/version"
_ETCD_RELEASES: Final = "https://github.com/etcd-io/etcd/releases/download/{version}"
_CONTAINERD_RELEASES: Final = "https://github.com/containerd/containerd/releases/download/{version}"

# From https://github.com/kubernetes-sigs/kubespray/blob/master/roles/kubespray_defaults/vars/main/checksums.yml, which
# lists no other program of Kubernetes.
_KUBERNETES_CHECKSUMS: Final = {
    "amd64/kubectl": "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
    "amd64/kubelet": "46707a53209f826ad0f0d62371ac69cd00e78fd9a8176cf5f6f87f18f7f8b718",
    "arm64/kubectl": "3d86f24401c41ae5a46ac50eef8865fe891d3647d324a0836f6c63757a126e62",
    "arm64/kubelet": "57205a5daf5883873d87b4914e1e00bdd7707acd075714788cfb0fc1f60bc414",
}
# From the notes of the release, https://github.com/helm/helm/releases/tag/v3.21.4.
_HELM_CHECKSUMS: Final = {
    "amd64/helm-v3.21.4-linux-amd64.tar.gz": "61f88ab166748cb19604d7884cb100ae9ccb13804ddeb98e08af167eacbb6a14",
    "arm64/helm-v3.21.4-linux-arm64.tar.gz": "b54c04b4e0b2540bbdc08c17a121dab70e9a2ed0de5705528fec68a5fd3b85a7",
}


def _kubernetes(version: str, programs: Sequence[str], checksums: Mapping[str, str]) -> Component:
    """Return Kubernetes ``version`` (``v1.X.Y``) as a component with these programs."""
    major, minor, _ = version.removeprefix("v").split(".")
    own = (int(major), int(minor))
    return Component(
        name="kubernetes",
        version=version,
        oldest=own,
        newest=own,
        module="k8s.io/kubernetes",
        packages={name: f"cmd/{name}" for name in programs},
        version_variables={
            f"{_KUBERNETES_VERSION}.gitVersion": version,
            f"{_KUBERNETES_VERSION}.gitMajor": major,
            f"{_KUBERNETES_VERSION}.gitMinor": minor,
        },
        release="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{program}",
        checksums=checksums,
        minutes=5,
        gigabytes=4.3,
    )


_CONTROL_PLANE: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

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
        checksums={},
        minutes=1,
        gigabytes=1.1,
    ),
    _kubernetes("v1.36.3", (*_CONTROL_PLANE, "kubectl", "kubelet"), _KUBERNETES_CHECKSUMS),
    Component(
        name="containerd",
        version="v2.2.9",
        oldest=(2, 1),
        newest=(2, 99),
        module="github.com/containerd/containerd/v2",
        packages={name: f"cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        version_variables={"github.com/containerd/containerd/v2/version.Version": "v2.2.9"},
        release=f"{_CONTAINERD_RELEASES}/containerd-{{number}}-linux-{{arch}}.tar.gz",
        checksums={},
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
        checksums=_HELM_CHECKSUMS,
        minutes=2,
        gigabytes=2.3,
    ),
)

OLDEST_KUBERNETES: Final = (*COMPONENTS, _kubernetes("v1.32.0", _CONTROL_PLANE, {}))
"""The components with the control plane of the oldest Kubernetes that the chart admits. Only tests run it.

A later component replaces the programs of the same names of an earlier one.
"""

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
