"""The command lines of the control plane's components, all of which listen only on loopback.

The flags are documented in https://kubernetes.io/docs/reference/command-line-tools-reference/ and
https://etcd.io/docs/v3.6/op-guide/configuration/.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuenv_sandbox.control_plane.certificates import KeyPair

LOOPBACK: Final = "127.0.0.1"
SERVICE_RANGE: Final = "10.96.0.0/24"
SERVICE_ADDRESS: Final = "10.96.0.1"
"""The IP address of the Service ``kubernetes``, which is always the first one of ``SERVICE_RANGE``."""

NODE_GRACE_SECONDS: Final = 150
"""Seconds without a Lease renewal after which a node counts as not ready.

Kubernetes' default of 50 is too short: in a large fleet, simulated nodes renew their Leases less often than real ones.
"""
CLIENT_QPS: Final = 500
CLIENT_BURST: Final = 1000
"""The number of requests to the API server that the controller manager or scheduler may send in one burst.

The controller manager's default of 30 slows down work on a large fleet.
"""


@dataclass(frozen=True)
class ComponentKeys:
    """The keys and certificates with which the components of one control plane authenticate to each other.

    ``server`` is the API server's certificate, ``kubelet_client`` the certificate with which the API server connects to
    kubelets, and ``service_accounts`` the key pair that signs the tokens of service accounts.
    """

    authority: KeyPair
    etcd: KeyPair
    server: KeyPair
    kubelet_client: KeyPair
    service_accounts: KeyPair


@dataclass(frozen=True)
class Ports:
    server: int
    etcd: int
    etcd_peer: int


def etcd(binary: Path, data: Path, ports: Ports, credentials: ComponentKeys) -> list[str]:
    """Return etcd's command line. It switches fsync off, because the data need not survive a crash."""
    client, peer = f"https://{LOOPBACK}:{ports.etcd}", f"https://{LOOPBACK}:{ports.etcd_peer}"
    return [
        str(binary),
        "--name=sandbox",
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sandbox={peer}",
        # Other users of this machine can reach loopback too, and etcd holds every secret.
        "--client-cert-auth",
        f"--trusted-ca-file={credentials.authority.certificate}",
        f"--cert-file={credentials.etcd.certificate}",
        f"--key-file={credentials.etcd.key}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={credentials.authority.certificate}",
        f"--peer-cert-file={credentials.etcd.certificate}",
        f"--peer-key-file={credentials.etcd.key}",
        "--log-level=warn",
    ]


def kube_apiserver(binary: Path, ports: Ports, credentials: ComponentKeys) -> list[str]:
    """Return the API server's command line. It enables Node and RBAC authorization, as in ordinary clusters."""
    return [
        str(binary),
        f"--etcd-servers=https://{LOOPBACK}:{ports.etcd}",
        f"--etcd-cafile={credentials.authority.certificate}",
        f"--etcd-certfile={credentials.etcd.certificate}",
        f"--etcd-keyfile={credentials.etcd.key}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        # A loopback address is refused in the Endpoints of the Service `kubernetes`.
        "--endpoint-reconciler-type=none",
        f"--secure-port={ports.server}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={credentials.authority.certificate}",
        f"--tls-cert-file={credentials.server.certificate}",
        f"--tls-private-key-file={credentials.server.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials.service_accounts.certificate}",
        f"--service-account-signing-key-file={credentials.service_accounts.key}",
        f"--kubelet-certificate-authority={credentials.authority.certificate}",
        f"--kubelet-client-certificate={credentials.kubelet_client.certificate}",
        f"--kubelet-client-key={credentials.kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]


def kube_controller_manager(
    binary: Path, kubeconfig: Path, plugins: Path, credentials: ComponentKeys
) -> list[str]:
    """Return the controller manager's command line.

    All default controllers run, without leader election. No port is opened.
    """
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        # As root, the controller manager would create the default directory under /usr.
        f"--flex-volume-plugin-dir={plugins}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.service_accounts.key}",
        f"--root-ca-file={credentials.authority.certificate}",
        f"--cluster-signing-cert-file={credentials.authority.certificate}",
        f"--cluster-signing-key-file={credentials.authority.key}",
        # Thousands of simulated kubelets in one process renew their Leases less often than real ones.
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={CLIENT_BURST}",
        "--profiling=false",
    ]


def kube_scheduler(binary: Path, configuration: Path) -> list[str]:
    return [str(binary), f"--config={configuration}", "--secure-port=0"]


def scheduler_configuration(kubeconfig: Path) -> dict[str, object]:
    """Return the content of the scheduler's configuration file.

    It switches leader election off and raises the limits on requests. The format is documented in
    https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/.
    """
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": CLIENT_QPS, "burst": CLIENT_BURST},
        "enableProfiling": False,
    }
