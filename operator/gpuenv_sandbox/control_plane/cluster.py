"""Runs a Kubernetes control plane on this machine: etcd, API server, controller manager and scheduler.

    with ControlPlane() as cluster:
        subprocess.run([cluster.kubectl, "--kubeconfig", cluster.admin_kubeconfig, "get", "nodes"])

The components are the unchanged programs of Kubernetes and etcd, and they run without root. They listen on free
loopback ports and keep their data in a temporary directory. However this Python process ends, the components end too
and the directory is deleted (see :mod:`gpuenv_sandbox.control_plane.supervisor`).
"""

import json
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from gpuenv_sandbox.control_plane import command_lines
from gpuenv_sandbox.control_plane.admin_client import ApiError, ApiUnreachableError, RestClient
from gpuenv_sandbox.control_plane.certificates import Authority, KeyPair
from gpuenv_sandbox.control_plane.command_lines import LOOPBACK, ComponentKeys, Ports
from gpuenv_sandbox.control_plane.kubeconfig import write_kubeconfig
from gpuenv_sandbox.control_plane.ports import free_ports
from gpuenv_sandbox.control_plane.supervised import ProcessError, Supervised
from gpuenv_sandbox.programs import binaries, catalogue
from gpuenv_sandbox.programs.catalogue import Component

READY_SECONDS: Final = 240.0
"""Seconds that the API server may take to become ready, and the controller manager after it.

The limit is generous for busy machines. If a component dies, the wait ends at once.
"""
POLL_SECONDS: Final = 0.1
PORT_ATTEMPTS: Final = 3
TOKEN_SECONDS: Final = 7 * 24 * 3600
SERVER_NAMES: Final = [LOOPBACK, command_lines.SERVICE_ADDRESS, "localhost", "kubernetes.default.svc"]


class ControlPlaneError(Exception):
    """The control plane cannot be started, or one of its components has died. The message is one line that says why."""


class ControlPlane:
    """A control plane that runs from :meth:`start` to :meth:`stop`, or as long as it is used as a context manager.

    The methods block and are thread-safe. ``controllers=False`` leaves out the controller manager and the scheduler.
    The API server then only stores and validates objects: no pod is bound to a node, no namespace is emptied, and
    nothing is garbage-collected. ``programs`` are the components whose programs are run, and with them their versions.
    ``api_server_flags`` are added to the command line of the API server.
    """

    def __init__(
        self,
        *,
        controllers: bool = True,
        programs: Sequence[Component] = catalogue.COMPONENTS,
        api_server_flags: Sequence[str] = (),
    ) -> None:
        self._controllers: Final = controllers
        self._api_server_flags: Final = list(api_server_flags)
        self._programs: Final = programs
        self._running: Supervised | None = None
        self._components: list[str] = []
        self._authority: Authority
        self._admin: RestClient
        self.server: str = ""
        """The URL of the API server, or "" before the first start."""
        self.kubectl: Path
        """The path of a kubectl program that matches the API server's version."""
        self.admin_kubeconfig: Path
        """The path of the kubeconfig of a user in the group ``system:masters``, who has all permissions."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Get the programs, start all components, wait until they are ready, and return this control plane.

        If the control plane is already running, return it at once. Raises :class:`ControlPlaneError` if a component
        cannot be started, dies, or does not become ready in time. Raises
        :class:`gpuenv_sandbox.programs.catalogue.BinaryError` if a program can be neither found, nor downloaded, nor
        built.
        """
        if self._running is not None:
            return self
        names = [*catalogue.API_SERVER, *(catalogue.CONTROLLERS if self._controllers else [])]
        found = binaries.ensure(names, self._programs)
        self.kubectl = found["kubectl"]
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._start(found)
            except BaseException as error:
                collision = self._running is not None and _address_in_use(self._running)
                self.stop()
                if not isinstance(error, ProcessError):
                    raise
                if not collision or attempt == PORT_ATTEMPTS:
                    raise ControlPlaneError(f"the control plane did not start: {error}") from error
            else:
                return self
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End all processes and delete their data. Does nothing if the control plane is not running."""
        if self._running is not None:
            self._running.stop()
            self._running = None
            self._components = []

    @property
    def directory(self) -> Path:
        """The temporary directory of this control plane. It is deleted when the control plane stops."""
        return self._supervised.directory

    @property
    def admin(self) -> RestClient:
        """A client that acts as the cluster's administrator, who has all permissions."""
        return self._admin

    @property
    def authority(self) -> Authority:
        """The certificate authority that signed the certificates of the API server and its clients."""
        return self._authority

    def check(self) -> None:
        """Raise :class:`ControlPlaneError` if a component has died. The message contains the end of its log."""
        try:
            self._supervised.check(self._components)
        except ProcessError as error:
            raise ControlPlaneError(str(error)) from error

    def spawn(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        grace: float = 10.0,
    ) -> int:
        """Start another process, which ends when the control plane stops, and return its process id.

        ``argv`` is the command line, and ``env`` the whole environment; None passes on that of this Python process. The
        output goes to the file ``log(name)``. Processes are ended in the reverse order of their start, so the API
        server still works while the new process ends. ``grace`` is the seconds between SIGTERM and SIGKILL. Raises
        :class:`gpuenv_sandbox.control_plane.supervised.ProcessError` if the process cannot be started.
        """
        return self._supervised.start(name, argv, env=env, grace=grace)

    @property
    def processes(self) -> Supervised:
        """The processes of this control plane. Tests use them to end a single component."""
        return self._supervised

    def log(self, name: str) -> Path:
        """Return the path of a process's log.

        ``name`` is that of a component, such as ``kube-apiserver``, or a name that was passed to :meth:`spawn`.
        """
        return self._supervised.log(name)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig with exactly the permissions of an existing service account, and return its path.

        The kubeconfig contains a token of the service account, which is requested from the TokenRequest API.
        """
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(name)}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        token = self._admin.create(path, request | {"spec": {"expirationSeconds": TOKEN_SECONDS}})
        user = f"{namespace}-{name}"
        return self._kubeconfig(user, token["status"]["token"], namespace)

    def kubeconfig_for_node(self, name: str) -> Path:
        """Write a kubeconfig for the kubelet of the node ``name``, and return its path.

        The admission plug-in NodeRestriction lets the kubelet change only its own Node and the pods bound to it.
        """
        user = f"system:node:{name}"
        return self._kubeconfig(
            f"node-{name}", self._authority.issue(f"node-{name}", user, groups=["system:nodes"])
        )

    @property
    def _supervised(self) -> Supervised:
        if self._running is None:
            raise ControlPlaneError("the control plane is not running; call start() first")
        return self._running

    def _start(self, found: Mapping[str, Path]) -> None:
        self._running = Supervised()
        etcd_port, peer_port, server_port = free_ports(3)
        ports = Ports(server=server_port, etcd=etcd_port, etcd_peer=peer_port)
        self.server = f"https://{LOOPBACK}:{server_port}"
        credentials = self._issue()
        self._component(
            "etcd", command_lines.etcd(found["etcd"], self.directory / "etcd", ports, credentials)
        )
        api_server = command_lines.kube_apiserver(found["kube-apiserver"], ports, credentials)
        self._component("kube-apiserver", [*api_server, *self._api_server_flags])
        self._wait(self._api_ready, "the API server to become ready")
        if self._controllers:
            self._start_controllers(found, credentials)

    def _start_controllers(self, found: Mapping[str, Path], credentials: ComponentKeys) -> None:
        user = "system:kube-controller-manager"
        manager = self._kubeconfig("controller-manager", self._authority.issue("controller-manager", user))
        binary = found["kube-controller-manager"]
        command = command_lines.kube_controller_manager(
            binary, manager, self.directory / "volume-plugins", credentials
        )
        self._component("kube-controller-manager", command)

        scheduler = self._kubeconfig("scheduler", self._authority.issue("scheduler", "system:kube-scheduler"))
        configuration = self.directory / "scheduler.json"
        configuration.write_text(
            json.dumps(command_lines.scheduler_configuration(scheduler)), encoding="utf-8"
        )
        self._component(
            "kube-scheduler", command_lines.kube_scheduler(found["kube-scheduler"], configuration)
        )
        self._wait(self._controllers_ready, "the service account `default`, which pods need")

    def _component(self, name: str, argv: list[str]) -> None:
        self._supervised.start(name, argv)
        self._components.append(name)

    def _issue(self) -> ComponentKeys:
        self._authority = Authority(self.directory / "pki")
        issue = self._authority.issue
        admin = issue("admin", "gpuenv-sandbox-admin", groups=["system:masters"])
        self.admin_kubeconfig = self._kubeconfig("admin", admin)
        context = ssl.create_default_context(cafile=str(self._authority.files.certificate))
        context.load_cert_chain(admin.certificate, admin.key)
        self._admin = RestClient(self.server, context)
        return ComponentKeys(
            authority=self._authority.files,
            etcd=issue("etcd", "etcd", hosts=[LOOPBACK]),
            server=issue("apiserver", "kube-apiserver", hosts=SERVER_NAMES),
            # The API server reads container logs from kubelets with this certificate. Each kubelet asks the API server
            # whether its owner may do that (webhook authorization).
            kubelet_client=issue("apiserver-kubelet", "kube-apiserver-kubelet", groups=["system:masters"]),
            service_accounts=self._authority.signing_key("service-accounts"),
        )

    def _kubeconfig(self, user: str, credential: KeyPair | str, namespace: str = "default") -> Path:
        path = self.directory / f"{user}.kubeconfig"
        return write_kubeconfig(
            path,
            server=self.server,
            authority=self._authority.files.certificate,
            user=user,
            credential=credential,
            namespace=namespace,
        )

    def _api_ready(self) -> bool:
        return bool(self._admin.get("/readyz"))

    def _controllers_ready(self) -> bool:
        return bool(self._admin.get("/api/v1/namespaces/default/serviceaccounts/default"))

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                if ready():
                    return
                last = "it is not there"
            except (ApiError, ApiUnreachableError) as error:
                last = str(error)
            self._supervised.check(self._components)
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"waited {READY_SECONDS:.0f} s for {what}; last: {last}; API server: "
                    + self._supervised.tail("kube-apiserver")
                )
            time.sleep(POLL_SECONDS)


def _address_in_use(running: Supervised) -> bool:
    return any("address already in use" in log.read_text(errors="replace") for log in running.logs.iterdir())
