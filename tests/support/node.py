"""Runs a real node for end-to-end tests: containerd, runc, CNI and a kubelet on this machine, as root.

    with RealNode(control_plane) as node:
        node.import_image("gpuenv.test/mine:1", Image((python_layer(),)))

There is one such node on a machine at a time. All its traces are removed at the end, or, if a run was killed, when the
next one starts.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.support.images import Image, Layer, write_archive
from tests.support.node_host import NodeHost
from tests.support.rootfs import python_layer
from tests.support.wait import wait_until

from gpuenv_sandbox.control_plane.admin_client import ApiUnreachableError
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.control_plane.command_lines import SERVICE_ADDRESS
from gpuenv_sandbox.control_plane.ports import free_ports
from gpuenv_sandbox.control_plane.supervised import ProcessError
from gpuenv_sandbox.programs import binaries, catalogue

NODE_NAME = "real-node"
NODE_ADDRESS = "10.244.77.1"
SUBNET = "10.244.77.0/24"
PAUSE_IMAGE = "gpuenv.test/pause:1"
PIDS_LIMIT = 512
"""The number of processes and threads that the kubelet allows in a pod."""
CNI_BINARIES = "/usr/lib/cni"


def why_not() -> str | None:
    """Return in one line why no real node can run on this machine, or None if it can."""
    if sys.platform != "linux":
        return "a real kubelet needs Linux"
    if os.geteuid() != 0:
        return "a real kubelet needs root"
    missing = [name for name in ("runc", "debootstrap", "ip", "unshare") if shutil.which(name) is None]
    if not Path(CNI_BINARIES, "bridge").exists():
        missing.append("the CNI plug-ins")
    if NodeHost().is_node_already():
        return "a kubelet runs on this machine already"
    return f"missing: {', '.join(missing)}; run tests/e2e/install-packages.sh" if missing else None


class RealNode:
    """A context manager that runs one node, joined to a control plane.

    The constructor raises BinaryError or LayerError if the node's programs or its first image are not available.
    """

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self.name = NODE_NAME
        self._host = NodeHost()
        self._programs = binaries.ensure(catalogue.NODE)
        self._base = python_layer()
        self._imported: list[Layer] = []
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._host.alone())
            self._start()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with (
            self._undo,
            suppress(ProcessError, ApiUnreachableError),
        ):  # a control plane that has died was reported before
            for program in ("kubelet", "containerd", "service-address"):
                self.cluster.processes.end(program)
            self.cluster.admin.delete(f"/api/v1/nodes/{self.name}")

    def advertise(self, resources: dict[str, str]) -> None:
        """Set extended resources of the node, such as ``{"nvidia.com/gpu": "1"}``, as a device plug-in would."""
        path = f"/api/v1/nodes/{self.name}"
        status = {"status": {"capacity": resources, "allocatable": resources}}
        self.cluster.admin.merge(f"{path}/status", status)
        wait_until(lambda: resources.items() <= self.cluster.admin.get(path)["status"]["allocatable"].items())

    def leave_and_join_again(self) -> None:
        """Delete the Node object and restart the kubelet, which creates another Node of the same name."""
        self.cluster.admin.delete(f"/api/v1/nodes/{self.name}")
        self.cluster.processes.end("kubelet")
        self._start_kubelet()
        wait_until(self._ready, self._what_is_wrong)

    def import_image(self, name: str, image: Image) -> str:
        """Import an image into the container runtime under a full name, and return that name.

        Layers that were imported with an earlier image are not copied again.
        """
        self._import(lambda pipe: write_archive(pipe, name, image, self._imported))
        self._imported += [layer for layer in image.layers if layer not in self._imported]
        return name

    def import_archive(self, archive: Path) -> None:
        """Import all images of a docker or OCI archive, under the names that it contains."""
        with archive.open("rb") as file:
            self._import(lambda pipe: shutil.copyfileobj(file, pipe))

    def unpacked(self, path: str) -> list[Path]:
        """Return where the file at that absolute path lies on this machine, in each unpacked layer that has it."""
        snapshots = self._host.state / "containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
        return list(snapshots.glob(f"*/fs{path}"))

    def _import(self, write: Callable[[IO[bytes]], None]) -> None:
        command = [*self._ctr(), "images", "import", "--local", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError), closing(child.stdin) as pipe:  # the output of ctr says why
                write(pipe)
            output = child.stdout.read().decode()
        assert child.returncode == 0, f"ctr cannot import: {output.strip()}"

    def _ctr(self) -> list[str]:
        return [
            str(self._programs["ctr"]),
            "--address",
            str(self._host.run / "containerd.sock"),
            "--namespace",
            "k8s.io",
        ]

    def _start(self) -> None:
        self._host.prepare(f"{NODE_ADDRESS}/24", f"{SERVICE_ADDRESS}/32")
        self._start_service_address()
        self._start_containerd()
        self.import_image(PAUSE_IMAGE, Image((self._base,), command=("/bin/sleep", "infinity")))
        self._start_kubelet()
        wait_until(self._ready, self._what_is_wrong)

    def _start_service_address(self) -> None:
        """Make the API server reachable for pods at the address of the Service ``kubernetes``, like kube-proxy."""
        server = self.cluster.server.removeprefix("https://")
        forward = [
            sys.executable,
            str(Path(__file__).with_name("forward.py")),
            f"{SERVICE_ADDRESS}:443",
            server,
        ]
        self.cluster.spawn("service-address", forward, grace=0)

    def _start_containerd(self) -> None:
        network = self._host.state / "cni" / "net.d"
        network.mkdir(parents=True)
        (network / "10-bridge.conflist").write_text(json.dumps(_network(self._host)))
        configuration = self._host.state / "containerd.toml"
        configuration.write_text(_containerd(self._host, network, shutil.which("runc") or "runc"))
        environment = os.environ | {"PATH": f"{self._programs['containerd'].parent}:{os.environ['PATH']}"}
        command = [str(self._programs["containerd"]), "--config", str(configuration), "--log-level", "warn"]
        self.cluster.spawn("containerd", command, env=environment)
        wait_until(
            lambda: (
                subprocess.run([*self._ctr(), "version"], capture_output=True, check=False).returncode == 0
            ),
            lambda: self.cluster.processes.tail("containerd"),
        )

    def _start_kubelet(self) -> None:
        pair = self.cluster.authority.issue("kubelet-serving", self.name, hosts=[NODE_ADDRESS, self.name])
        authority = self.cluster.authority.files.certificate
        (port,) = free_ports(1, NODE_ADDRESS)
        body = _kubelet(self._host) | {
            "port": port,
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority)}},
            "tlsCertFile": str(pair.certificate),
            "tlsPrivateKeyFile": str(pair.key),
        }
        configuration = self._host.state / "kubelet.json"
        configuration.write_text(json.dumps(body))
        command = [
            str(self._programs["kubelet"]),
            f"--config={configuration}",
            f"--kubeconfig={self.cluster.kubeconfig_for_node(self.name)}",
            f"--root-dir={self._host.state / 'kubelet'}",
            f"--hostname-override={self.name}",
            f"--node-ip={NODE_ADDRESS}",
        ]
        self.cluster.spawn("kubelet", command)

    def _ready(self) -> bool:
        self.cluster.processes.check(["kubelet", "containerd", "service-address"])
        nodes = self.cluster.admin.get("/api/v1/nodes")["items"]
        mine = [node for node in nodes if node["metadata"]["name"] == self.name]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in mine
            for condition in node["status"].get("conditions", [])
        )

    def _what_is_wrong(self) -> str:
        return f"kubelet: {self.cluster.processes.tail('kubelet')}"


def _network(host: NodeHost) -> dict[str, Any]:
    """Return the CNI configuration of the pods' network: https://www.cni.dev/plugins/current/main/bridge/."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": SUBNET, "gateway": NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(host.state / "cni" / "addresses"),
    }
    bridge = {"type": "bridge", "bridge": host.bridge, "isGateway": True, "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": host.network, "plugins": [bridge]}


def _containerd(host: NodeHost, network: Path, runc: str) -> str:
    """Return the configuration of containerd, in TOML.

    ``restrict_oom_score_adj`` is set because without CAP_SYS_RESOURCE runc may not lower a score, and would fail
    (https://github.com/containerd/containerd/blob/main/docs/cri/config.md).
    """
    return f"""
version = 3
root = "{host.state}/containerd"
state = "{host.run}/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{host.run}/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_BINARIES}"]
conf_dir = "{network}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{host.run}/runc"
SystemdCgroup = false
"""


def _kubelet(host: NodeHost) -> dict[str, Any]:
    """Return the configuration of the kubelet.

    With it, the kubelet changes nothing outside its own directories but what :class:`NodeHost` undoes
    (https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/).
    """
    runtime = f"unix://{host.run}/containerd.sock"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzPort": 0,
        "containerRuntimeEndpoint": runtime,
        "imageServiceEndpoint": runtime,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{host.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "nodeStatusUpdateFrequency": "5s",
        "podPidsLimit": PIDS_LIMIT,
        "podLogsDir": str(host.state / "logs"),
        "volumePluginDir": str(host.state / "volume-plugins"),
    }
