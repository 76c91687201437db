"""``gpuenv uninstall``, with the operator's rights and no more, on the real API server."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.builders import environment
from tests.support.probe_pods import built
from tests.support.unique import unique
from tests.support.wait import PATIENCE, finished

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

ENVIRONMENTS = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
PODS = f"/api/v1/namespaces/{PROBE_NAMESPACE}/pods"
CONFIG_MAPS = f"/api/v1/namespaces/{PROBE_NAMESPACE}/configmaps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"


@pytest.fixture
def name(installed: ControlPlane) -> Iterator[str]:
    """A node, an environment and a probe pod as the operator leaves them, and somebody else's things on them."""
    admin = installed.admin
    name = unique("left")
    labels = {names.node_label(name): "Compatible", "theirs": "1", names.LABEL_SKIP: "true"}
    conditions = [
        {"type": kind, "status": "True", "reason": "Test", "message": ""}
        for kind in ("Ready", names.node_label(name))
    ]
    admin.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
    admin.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": conditions}})
    given = environment(name)
    given["metadata"]["finalizers"] = ["example.com/theirs", names.FINALIZER]
    admin.create(ENVIRONMENTS, given)
    admin.create(PODS, pod(name, {names.LABEL_COMPONENT: names.COMPONENT_PROBE}))
    admin.create(PODS, pod(f"{name}-theirs", {}))
    yield name
    admin.merge(f"{ENVIRONMENTS}/{name}", {"metadata": {"finalizers": None}})
    admin.delete(f"{ENVIRONMENTS}/{name}")
    admin.delete(f"/api/v1/nodes/{name}")
    admin.delete(f"{PODS}/{name}-theirs", {"gracePeriodSeconds": 0})


def pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A pod that the namespace of the probe pods admits."""
    return built() | {"metadata": {"name": name, "labels": labels}}


def uninstall(cluster: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    rights = cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    command = [sys.executable, "-m", "gpuenv", "uninstall", "--kubeconfig", str(rights), *arguments]
    return finished(command)


def test_only_its_own_things_are_removed(installed: ControlPlane, admin: RestClient, name: str) -> None:
    result = uninstall(installed)
    assert result.returncode == 0, result.stderr

    node = admin.get(f"/api/v1/nodes/{name}")
    assert node["metadata"]["labels"] == {"theirs": "1", names.LABEL_SKIP: "true"}
    assert [one["type"] for one in node["status"]["conditions"]] == ["Ready"]
    kept = admin.get(f"{ENVIRONMENTS}/{name}")
    assert kept["metadata"]["finalizers"] == ["example.com/theirs"]
    pods = [
        one["metadata"]["name"]
        for one in admin.get(PODS)["items"]
        if one["metadata"]["name"].startswith(name)
    ]
    assert pods == [f"{name}-theirs"]
    assert uninstall(installed).stdout == "0 probe pods deleted, 0 nodes and 0 environments cleaned\n"


def test_the_probes_program_goes_and_other_config_maps_stay(
    installed: ControlPlane, admin: RestClient
) -> None:
    """Immutable and named after its content: nobody would ever miss it, nor remove it."""
    labels = {names.LABEL_COMPONENT: "probe-bundle"}
    program = "gpuenv-probe-0123456789"
    admin.create(CONFIG_MAPS, {"metadata": {"name": program, "labels": labels}, "immutable": True})
    admin.create(CONFIG_MAPS, {"metadata": {"name": "left-theirs"}})
    try:
        assert uninstall(installed).returncode == 0
        left = {one["metadata"]["name"] for one in admin.get(CONFIG_MAPS)["items"]}
    finally:
        admin.delete(f"{CONFIG_MAPS}/left-theirs")
    assert "left-theirs" in left
    assert program not in left


def test_it_waits_for_a_running_operator_and_says_so(installed: ControlPlane, admin: RestClient) -> None:
    lease = {
        "holderIdentity": "an-operator",
        "leaseDurationSeconds": 3600,
        "renewTime": "2099-01-01T00:00:00.000000Z",
    }
    admin.create(LEASES, {"metadata": {"name": "held"}, "spec": lease})
    try:
        result = uninstall(installed, "--timeout", "2", "--lease-name", "held")
    finally:
        admin.delete(f"{LEASES}/held")
    assert result.returncode == 1
    assert "Lease" in result.stderr.splitlines()[-1] or "leases" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_it_cleans_up_after_a_deleted_namespace(
    installed: ControlPlane, admin: RestClient, name: str
) -> None:
    """Somebody who deletes the operator's namespace leaves finalizers that nobody takes off any more."""
    command = [sys.executable, "-m", "gpuenv", "uninstall", "--kubeconfig", str(installed.admin_kubeconfig)]
    command += ["--lease-namespace", "gone", "--deployment", OPERATOR, "--timeout", str(PATIENCE)]
    result = finished(command)
    assert result.returncode == 0, result.stderr
    assert admin.get(f"{ENVIRONMENTS}/{name}")["metadata"]["finalizers"] == ["example.com/theirs"]


def test_a_missing_kubeconfig_is_one_line(installed: ControlPlane) -> None:
    command = [sys.executable, "-m", "gpuenv", "uninstall", "--kubeconfig", "/nowhere"]
    result = finished(command)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "/nowhere" in result.stderr
