"""The chart in a real control plane: installed, upgraded, uninstalled, taken over. No kubelet, so no pod runs here."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support.cluster import Kubectl
from tests.support.environments import environment
from tests.support.helm import CHART, NAMESPACE, Helm
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.manifests.permissions import OPERATOR
from gpuenv.sandbox.binaries import BinaryError
from gpuenv.sandbox.controlplane import ControlPlane

ENVIRONMENT = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gpuenvironments.gpuenv.dev"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane of its own: a cluster has one gpuenv, and the shared one has it already."""
    try:
        started = ControlPlane().start()
    except BinaryError as error:
        pytest.skip(str(error))
    with started:
        # The strictest level, so that the API server itself judges the chart's pods.
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        started.admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
        yield started


@pytest.fixture(scope="module")
def helm(helm: Helm, cluster: ControlPlane) -> Helm:
    """Helm with that cluster."""
    return Helm(helm.program, cluster.admin_kubeconfig)


@pytest.fixture(scope="module")
def kubectl(cluster: ControlPlane) -> Kubectl:
    return Kubectl(cluster)


@pytest.fixture
def release(helm: Helm, kubectl: Kubectl) -> Iterator[str]:
    """The chart, installed as people install it."""
    # The namespace of a former release may still be on its way out.
    wait_until(lambda: kubectl.run("get", "namespace", "gpuenv-probes").returncode != 0, 60)
    helm("install", "gpuenv", str(CHART), "-n", NAMESPACE)
    yield "gpuenv"
    for name in helm("list", "-n", NAMESPACE, "--short").split():
        helm("uninstall", name, "-n", NAMESPACE, "--no-hooks")


def test_the_operator_is_admitted_under_restricted_pod_security(release: str, kubectl: Kubectl) -> None:
    pods = wait_until(lambda: kubectl.get("pods", "-n", NAMESPACE)["items"], 30)
    assert [one["spec"]["serviceAccountName"] for one in pods] == [OPERATOR]


def test_the_account_passes_the_operators_own_check(release: str, cluster: ControlPlane) -> None:
    """The operator asks at start for everything it needs, and waits while something is missing."""
    rights = cluster.kubeconfig_for_service_account(NAMESPACE, OPERATOR)
    command = [
        sys.executable,
        "-m",
        "gpuenv",
        "operator",
        "--kubeconfig",
        str(rights),
        "--metrics-port=0",
        "--health-port=0",
    ]
    cluster.spawn("operator", command)
    try:
        wait_until(
            lambda: "holding lease" in cluster.log("operator").read_text(),
            30,
            lambda: cluster.log("operator").read_text(),
        )
    finally:
        cluster.processes.end("operator")
    assert "missing permission" not in cluster.log("operator").read_text()


def test_an_upgrade_upgrades_the_schemas(release: str, helm: Helm, cluster: ControlPlane) -> None:
    old = {"spec": {"names": {"shortNames": ["old"]}}, "metadata": {"annotations": {"old": "1"}}}
    cluster.admin.merge(CRD, old)
    helm("upgrade", release, str(CHART), "-n", NAMESPACE, "--set", "operator.maxProbes=3")
    assert cluster.admin.get(CRD)["spec"]["names"]["shortNames"] == ["genv"]


def test_an_uninstall_cleans_nodes_and_keeps_environments(
    release: str, helm: Helm, cluster: ControlPlane, kubectl: Kubectl
) -> None:
    given = environment("kept")
    given["metadata"]["finalizers"] = [names.FINALIZER]
    cluster.admin.create(ENVIRONMENT, given)
    labels = {names.node_label("kept"): "Compatible", "theirs": "1"}
    cluster.admin.create("/api/v1/nodes", {"metadata": {"name": "node", "labels": labels}})
    assert run_hook(helm, cluster, release).startswith(
        "0 probe pods deleted, 1 nodes and 1 environments cleaned"
    )
    assert kubectl.get("deployment", OPERATOR, "-n", NAMESPACE)["spec"]["replicas"] == 0
    text = helm("uninstall", release, "-n", NAMESPACE, "--no-hooks")

    assert "gpuenvironments.gpuenv.dev" in text
    assert "gpunodereports.gpuenv.dev" in text
    assert cluster.admin.get("/api/v1/nodes/node")["metadata"]["labels"] == {"theirs": "1"}
    assert not cluster.admin.get(f"{ENVIRONMENT}/kept")["metadata"].get("finalizers")
    left = kubectl("get", "clusterrole,priorityclass,validatingadmissionpolicy,ns", "-o", "name")
    assert "gpuenv" not in left.replace(f"namespace/{NAMESPACE}", "").replace("namespace/gpuenv-probes", "")


def test_another_release_takes_the_kept_schemas_over(
    release: str, helm: Helm, cluster: ControlPlane, kubectl: Kubectl
) -> None:
    cluster.admin.create(ENVIRONMENT, environment("survives"))
    helm("uninstall", release, "-n", NAMESPACE, "--no-hooks")
    wait_until(lambda: kubectl.run("get", "namespace", "gpuenv-probes").returncode != 0, 60)

    refused = helm.run("install", "other", str(CHART), "-n", NAMESPACE)
    assert "invalid ownership metadata" in refused.stderr
    helm("install", "other", str(CHART), "-n", NAMESPACE, "--take-ownership")
    helm("upgrade", "other", str(CHART), "-n", NAMESPACE)
    assert cluster.admin.get(f"{ENVIRONMENT}/survives")
    assert cluster.admin.get(CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == "other"


def run_hook(helm: Helm, cluster: ControlPlane, release: str) -> str:
    """What the hook's Job would do, with its rights: Helm makes them before the Job, so they are made by hand here."""
    hooks = helm("get", "hooks", release, "-n", NAMESPACE)
    kubectl = Kubectl(cluster)
    for kind in ("Role", "RoleBinding"):
        (document,) = [part for part in hooks.split("\n---\n") if f"\nkind: {kind}\n" in part]
        kubectl("apply", "-f", "-", stdin=document)
    (job,) = [part for part in hooks.split("\n---\n") if "\nkind: Job\n" in part]
    assert f"--deployment={OPERATOR}" in job
    rights = cluster.kubeconfig_for_service_account(NAMESPACE, OPERATOR)
    command = [
        sys.executable,
        "-m",
        "gpuenv",
        "uninstall",
        "--kubeconfig",
        str(rights),
        f"--deployment={OPERATOR}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    kubectl("delete", "role,rolebinding", "gpuenv-uninstall", "-n", NAMESPACE)
    assert result.returncode == 0, result.stderr
    return result.stdout
