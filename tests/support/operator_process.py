"""Runs the operator for tests, in its own process with its own permissions, on simulated nodes."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.unique import unique
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv_sandbox.control_plane.admin_client import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.control_plane.ports import free_ports
from gpuenv_sandbox.fleet.simulation import Fleet, fleet_client
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.scenario.read import parse_scenario, read_scenario
from gpuenv_sandbox.session import Session

ENVIRONMENTS = f"/apis/{names.API_VERSION}/{names.ENVIRONMENT_PLURAL}"
REPORTS = f"/apis/{names.API_VERSION}/{names.REPORT_PLURAL}"
PROBES = "/api/v1/namespaces/gpuenv-probes/pods"
PACE = {"setup": 0.05, "pull": 0.1, "facts": 0.05, "kernels": 0.1}
T4 = {"product": "Tesla T4", "driver": "570.124.06"}
QUICK = ("--retry-seconds", "1", "--writes-per-second", "0")


def started(*, install: bool = True) -> Iterator[ControlPlane]:
    """Yield a new control plane, in which no operator of another test runs. It is the body of a fixture.

    ``install``: whether gpuenv's manifests are applied to it.
    """
    try:
        cluster = ControlPlane().start()
    except BinaryError as error:
        pytest.skip(str(error))
    with cluster:
        if install:
            Session(cluster, read_scenario(), print).install()
        yield cluster


class OperatorProcess:
    """A process of ``gpuenv operator`` with the service account of the manifests. The constructor starts it.

    ``server`` is the URL that it uses instead of the API server's own, for example that of a proxy. ``python`` are the
    arguments with which Python runs ``gpuenv``.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        *flags: str,
        server: str = "",
        python: Sequence[str] = ("-m", "gpuenv"),
    ) -> None:
        self.cluster = cluster
        self.name = unique("operator")
        self.health_port, self.metrics_port = free_ports(2)
        account = cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
        path = self.kubeconfig = account.with_name(f"{self.name}.kubeconfig")
        path.write_text(account.read_text().replace(cluster.server, server or cluster.server))
        health, metrics = f"127.0.0.1:{self.health_port}", f"127.0.0.1:{self.metrics_port}"
        ports = ["--health-probe-bind-address", health, "--metrics-bind-address", metrics]
        command = [sys.executable, *python, "operator", "--kubeconfig", str(path), *ports]
        self.pid = cluster.spawn(self.name, [*command, *(flags or QUICK)])

    @property
    def log(self) -> str:
        """Everything that the operator has logged."""
        return self.cluster.log(self.name).read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process; None while it runs."""
        return self.cluster.processes.exit_code(self.name)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """End the process with SIGTERM, as a kubelet would, and return its exit code."""
        if self.exit_code is None:
            self.signal()
        return wait_until(lambda: self.exit_code is not None and [self.exit_code], self.tail)[0]

    def tail(self) -> str:
        """Return the end of the log, to be shown when a test fails."""
        return self.log[-3000:]

    def page(self, path: str) -> tuple[int, str]:
        """Return the HTTP status and the text of a page; the status is 0 if the operator does not answer."""
        port = self.metrics_port if path == "metrics" else self.health_port
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def is_ready(self) -> bool:
        """Return whether the operator is ready. Fail the test if it has ended."""
        assert self.exit_code is None, self.tail()
        return self.page("readyz")[0] == 200


@contextmanager
def operator(cluster: ControlPlane, *flags: str, **options: Any) -> Iterator[OperatorProcess]:
    """Run an operator, and stop it at the end. ``options`` are those of :class:`OperatorProcess`.

    It must then exit with code 0, and its log must contain no traceback and no "fault of our own".
    """
    one = OperatorProcess(cluster, *flags, **options)
    try:
        yield one
        assert one.stop() == 0, one.tail()
        assert "fault of our own" not in one.log, one.log
        assert "Traceback" not in one.log, one.log
    finally:
        cluster.processes.end(one.name)


@asynccontextmanager
async def nodes(cluster: ControlPlane, *fields: dict[str, Any]) -> AsyncIterator[tuple[Fleet, list[str]]]:
    """Yield a fleet of simulated nodes and their unique names. The nodes are deleted at the end.

    Each of ``fields`` describes one node, as in a scenario.
    """
    group = unique("sim")
    found = [f"{group}-{number}" for number in range(len(fields))]
    described = [{"name": name, **one} for name, one in zip(found, fields, strict=True)]
    fleet = parse_scenario({"pace": PACE, "nodes": described}, Path("test.yaml"))
    async with await fleet_client(str(cluster.admin_kubeconfig)) as kube, Fleet(kube, fleet) as running:
        yield running, found
        running.check()
    for name in found:
        remove(cluster, f"/api/v1/nodes/{name}")


def apply(cluster: ControlPlane, nodes: list[str], **fields: Any) -> str:
    """Create an environment that selects exactly these nodes, and return its name."""
    name = unique("e")
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}
    fields = {"nodes__selector": {"matchExpressions": [expression]}} | fields
    cluster.admin.create(ENVIRONMENTS, builders.environment(name, **fields))
    return name


def find(cluster: ControlPlane, path: str) -> Any:
    """Return the object at an API path, or None if it does not exist."""
    try:
        return cluster.admin.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def remove(cluster: ControlPlane, path: str) -> None:
    """Delete the object at an API path, if it exists."""
    try:
        cluster.admin.delete(path)
    except ApiError as error:
        if error.status != 404:
            raise


def label(cluster: ControlPlane, node: str, environment: str) -> str | None:
    """Return a node's label for an environment, or None."""
    found = find(cluster, f"/api/v1/nodes/{node}") or {"metadata": {}}
    value = (found["metadata"].get("labels") or {}).get(names.node_label(environment))
    return None if value is None else str(value)


def report(cluster: ControlPlane, environment: str, node: str) -> Any:
    """Return the node report of one environment on one node, or None."""
    return find(cluster, f"{REPORTS}/{names.report_name(environment, node)}")


def probe_pods(cluster: ControlPlane, environment: str) -> list[dict[str, Any]]:
    """Return the probe pods of an environment."""
    listed = cluster.admin.get(f"{PROBES}?labelSelector={names.LABEL_ENVIRONMENT}%3D{environment}")
    return list(listed["items"])


async def until_labelled(
    cluster: ControlPlane, environment: str, nodes: list[str], value: str, running: OperatorProcess
) -> None:
    """Wait until the environment's label has this value on every node.

    If it never has, the error shows the environment's status, its probe pods and the operator's log.
    """

    def show() -> Any:
        status = (find(cluster, f"{ENVIRONMENTS}/{environment}") or {}).get("status")
        pods = [(one["metadata"]["name"], one["status"]) for one in probe_pods(cluster, environment)]
        return {"status": status, "pods": pods, "log": running.log.splitlines()[-30:]}

    await wait_until_async(lambda: all(label(cluster, node, environment) == value for node in nodes), show)


def restart_api_server(cluster: ControlPlane, *, down: Any = lambda: None, flags: Sequence[str] = ()) -> None:
    """Stop the API server, call ``down``, and start it again with the same data and port, and more ``flags``.

    The scheduler and the controllers start again too: by themselves they come back after half a minute or more.
    """
    names = ("kube-apiserver", "kube-scheduler", "kube-controller-manager")
    commands = {name: _command(cluster.processes.pids[name]) for name in names}
    commands["kube-apiserver"] += flags
    cluster.processes.end("kube-apiserver")
    down()
    for name in names:
        cluster.processes.end(name)
        cluster.processes.start(name, commands[name])
        wait_until(lambda: _ready(cluster), "the API server to come back")


def _command(pid: int) -> list[str]:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def _ready(cluster: ControlPlane) -> bool:
    try:
        return bool(cluster.admin.get("/readyz"))
    except Exception:
        return False


def comparable(node: dict[str, Any]) -> str:
    """Return everything on a node that is not gpuenv's, as text: labels, annotations, taints and so on.

    Two such texts are equal if the operator has changed nothing that belongs to others.
    """
    metadata = node["metadata"]
    # The node controller's own taints come and go with the node's Lease.
    taints = [one for one in node["spec"].get("taints") or [] if "node.kubernetes.io/" not in one["key"]]
    kept = {
        "labels": _foreign(metadata.get("labels")),
        "annotations": _foreign(metadata.get("annotations")),
        "finalizers": metadata.get("finalizers"),
        "owners": metadata.get("ownerReferences"),
        "spec": node["spec"] | {"taints": taints},
        "conditions": sorted(
            one["type"] for one in node["status"]["conditions"] if names.GROUP not in one["type"]
        ),
    }
    return json.dumps(kept, indent=1, sort_keys=True)


def _foreign(entries: dict[str, str] | None) -> dict[str, str]:
    # The node controller's own annotation and copies of labels come some time after the node:
    # https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/nodelifecycle/node_lifecycle_controller.go
    passing = (names.COMPAT_PREFIX, "node.alpha.kubernetes.io/ttl", "beta.kubernetes.io/")
    return {key: value for key, value in (entries or {}).items() if not key.startswith(passing)}
