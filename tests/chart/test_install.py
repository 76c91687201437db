"""The chart in a real control plane: installed, upgraded, uninstalled, taken over. No kubelet, so no pod runs here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from tests.support.builders import environment
from tests.support.cluster import Kubectl
from tests.support.helm import CHART, NAMESPACE, Helm
from tests.support.wait import PATIENTLY, finished, wait_until

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, PROBE_NAMESPACE
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.programs.catalogue import BinaryError

ENVIRONMENT = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
ELSEWHERE = "gpuenv-elsewhere"
CRDS = ("gpuenvironments.gpuenv.dev", "gpunodereports.gpuenv.dev")
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


@contextmanager
def installed(helm: Helm, kubectl: Kubectl) -> Iterator[str]:
    """Install the chart as people do, as if for the first time, and yield the release's name; nothing of it is left."""
    helm("install", "gpuenv", str(CHART), "-n", NAMESPACE)
    yield "gpuenv"
    for namespace in (NAMESPACE, ELSEWHERE):
        for name in helm("list", "-n", namespace, "--short").split():
            helm("uninstall", name, "-n", namespace, "--no-hooks")
    namespace = ("namespace", PROBE_NAMESPACE, "--ignore-not-found")
    kubectl("delete", "--wait=false", *namespace)
    kubectl.delete_crds(*CRDS)
    kubectl("delete", PATIENTLY, *namespace)


@pytest.fixture
def release(helm: Helm, kubectl: Kubectl) -> Iterator[str]:
    """A release of the test's own, which may change it."""
    with installed(helm, kubectl) as name:
        yield name


@pytest.fixture(scope="class")
def shared_release(helm: Helm, kubectl: Kubectl) -> Iterator[str]:
    with installed(helm, kubectl) as name:
        yield name


class TestOneRelease:
    """What changes nothing that matters to the others shares a release."""

    def test_the_operator_is_admitted_under_restricted_pod_security(
        self, shared_release: str, kubectl: Kubectl
    ) -> None:
        pods = wait_until(lambda: kubectl.get("pods", "-n", NAMESPACE)["items"])
        assert [one["spec"]["serviceAccountName"] for one in pods] == [OPERATOR]

    def test_the_account_passes_the_operators_own_check(
        self, shared_release: str, cluster: ControlPlane
    ) -> None:
        """The operator asks at start for everything it needs, and waits while something is missing."""
        rights = cluster.kubeconfig_for_service_account(NAMESPACE, OPERATOR)
        command = [
            sys.executable,
            "-m",
            "gpuenv",
            "operator",
            "--kubeconfig",
            str(rights),
            "--metrics-bind-address=0",
            "--health-probe-bind-address=0",
        ]
        cluster.spawn("operator", command)
        try:
            wait_until(
                lambda: "holding lease" in cluster.log("operator").read_text(),
                lambda: cluster.log("operator").read_text(),
            )
        finally:
            cluster.processes.end("operator")
        assert "missing permission" not in cluster.log("operator").read_text()

    def test_the_notes_say_what_to_do_next_and_what_stays(self, helm: Helm, shared_release: str) -> None:
        notes = " ".join(helm("get", "notes", shared_release, "-n", NAMESPACE).split())
        for command in (
            f"kubectl -n {NAMESPACE} rollout status deployment/{OPERATOR}",
            f"helm test -n {NAMESPACE} {shared_release}",
            "kubectl apply -f - <<EOF apiVersion: gpuenv.dev/v1alpha1 kind: GPUEnvironment",
            "kubectl wait --for=condition=Ready genv/pytorch-2-9",
            "kubectl get genv,gnr",
            f"helm uninstall -n {NAMESPACE} {shared_release} --no-hooks",
            "gpuenv uninstall --lease-namespace gpuenv-system --probe-namespace gpuenv-probes",
            "kubectl delete crd gpuenvironments.gpuenv.dev gpunodereports.gpuenv.dev",
            "kubectl delete namespace gpuenv-probes",
        ):
            assert command in notes
        assert "Your environments, their reports and the two CustomResourceDefinitions stay." in notes
        assert "Namespace gpuenv-probes stays, with your pull Secrets" in notes
        assert "after this one is uninstalled and never beside it" in notes
        assert "WARNING" not in notes

    def test_the_notes_warn(self, helm: Helm, shared_release: str) -> None:
        off = "admissionPolicy.enabled=false,uninstallHook.enabled=false,crds.keep=false"
        elsewhere = "probes.namespace.create=false,probes.namespace.name=nowhere"
        text = helm(
            "upgrade",
            shared_release,
            str(CHART),
            "-n",
            NAMESPACE,
            "--dry-run=server",
            "--set",
            f"{off},{elsewhere}",
        )
        notes = " ".join(text.partition("\nNOTES:\n")[2].split())
        assert "WARNING: admissionPolicy.enabled is false" in notes
        assert "namespace nowhere does not exist: create it" in notes
        assert "nothing is cleaned (uninstallHook.enabled is false)" in notes
        assert f"--probe-namespace nowhere --deployment {OPERATOR}" in notes
        assert "the CustomResourceDefinitions go too, and with them every environment" in notes
        assert "stay" not in notes.partition("On `helm uninstall`")[2].partition("The same release")[0]

    @pytest.mark.parametrize(
        ("name", "namespace"), [("other", NAMESPACE), ("gpuenv", ELSEWHERE), ("other", ELSEWHERE)]
    )
    @pytest.mark.parametrize(
        "off", ["", "rbac.create=false", "rbac.create=false,admissionPolicy.enabled=false"]
    )
    def test_a_second_release_beside_it_is_refused(
        self, shared_release: str, helm: Helm, kubectl: Kubectl, name: str, namespace: str, off: str
    ) -> None:
        flags = ("--create-namespace", "--take-ownership", "--set", off)
        refused = helm.run("install", name, str(CHART), "-n", namespace, *flags)
        assert refused.returncode != 0
        words = (
            f"a cluster has one gpuenv, and release gpuenv in namespace {NAMESPACE} is it: upgrade that one"
        )
        assert words in refused.stderr
        assert f"`helm uninstall -n {NAMESPACE} gpuenv`" in refused.stderr
        (subject,) = kubectl.get("clusterrolebinding", OPERATOR)["subjects"]
        assert subject["namespace"] == NAMESPACE, "the operator that runs keeps its rights"

    def test_the_release_itself_may_be_upgraded(self, shared_release: str, helm: Helm) -> None:
        helm("upgrade", "--install", shared_release, str(CHART), "-n", NAMESPACE)
        helm("upgrade", shared_release, str(CHART), "-n", NAMESPACE, "--dry-run=server")

    def test_every_pod_of_the_chart_is_admitted_under_restricted_pod_security(
        self, shared_release: str, helm: Helm, kubectl: Kubectl
    ) -> None:
        """Also those of `helm test` and of the uninstall hook, which no test without a kubelet starts."""
        texts = (helm("get", kind, shared_release, "-n", NAMESPACE) for kind in ("manifest", "hooks"))
        documents = [one for text in texts for one in yaml.safe_load_all(text) if one]
        templates = {one["kind"]: one["spec"].get("template", one) for one in documents if "spec" in one}
        kinds = ("Deployment", "Job", "Pod")
        for number, spec in enumerate(templates[kind]["spec"] for kind in kinds):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"as-{number}"}, "spec": spec}
            create = ("create", "-n", NAMESPACE, "--dry-run=server", "-f", "-")
            assert "created" in kubectl(*create, stdin=yaml.safe_dump(pod))
            del spec["securityContext"]
            refused = kubectl.run(*create, stdin=yaml.safe_dump(pod))
            assert 'violates PodSecurity "restricted' in refused.stderr, "the namespace enforces nothing"

    def test_the_example_of_the_annotations_is_accepted(self, shared_release: str, kubectl: Kubectl) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
        examples = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
        assert kubectl.apply(*examples).count("created") == len(examples) > 0


def test_kubectl_may_install_it(helm: Helm, cluster: ControlPlane, kubectl: Kubectl) -> None:
    """As docs/install.md has it."""
    manifests = helm.template("--no-hooks")
    kubectl("apply", "-f", "-", stdin=manifests)
    try:
        assert wait_until(lambda: kubectl.get("pods", "-n", NAMESPACE)["items"])
        assert kubectl.get("jobs", "-n", NAMESPACE)["items"] == []
        install = ("install", "gpuenv", str(CHART), "--take-ownership", "--dry-run=server")
        beside = helm.run(*install, "-n", ELSEWHERE)
        assert f"it is in namespace {NAMESPACE}, installed without Helm" in beside.stderr
        helm(*install, "-n", NAMESPACE)
    finally:
        kubectl("delete", "-f", "-", "--wait=false", stdin=manifests)
        kubectl.delete_crds(*CRDS)
        kubectl("delete", "-f", "-", "--ignore-not-found", PATIENTLY, stdin=manifests)


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
    assert "gpuenv" not in left.replace(f"namespace/{NAMESPACE}", "").replace(
        f"namespace/{PROBE_NAMESPACE}", ""
    )
    assert kubectl("get", "lease,job,role,rolebinding", "-n", NAMESPACE, "-o", "name") == ""


def test_an_uninstall_without_the_schemas(
    release: str, helm: Helm, cluster: ControlPlane, kubectl: Kubectl
) -> None:
    """Whoever deletes them first, and then uninstalls, has the rest removed all the same."""
    labels = {names.node_label("gone"): "Compatible"}
    cluster.admin.create("/api/v1/nodes", {"metadata": {"name": "labelled", "labels": labels}})
    kubectl.delete_crds(*CRDS)
    assert run_hook(helm, cluster, release).startswith(
        "0 probe pods deleted, 1 nodes and 0 environments cleaned"
    )
    assert not cluster.admin.get("/api/v1/nodes/labelled")["metadata"].get("labels")


def test_the_probe_namespace_stays_and_is_found_again(release: str, helm: Helm, kubectl: Kubectl) -> None:
    """People keep Secrets for pulling images in it."""
    kubectl("create", "secret", "generic", "pull", "-n", PROBE_NAMESPACE)
    uid = kubectl.get("namespace", PROBE_NAMESPACE)["metadata"]["uid"]
    helm("upgrade", release, str(CHART), "-n", NAMESPACE, "--set", "probes.namespace.create=false")
    helm("upgrade", release, str(CHART), "-n", NAMESPACE, "--set", "probes.namespace.podSecurity=baseline")
    assert PROBE_NAMESPACE in helm("uninstall", release, "-n", NAMESPACE, "--no-hooks")
    helm("install", release, str(CHART), "-n", NAMESPACE)

    kept = kubectl.get("namespace", PROBE_NAMESPACE)["metadata"]
    assert kept["uid"] == uid
    assert "deletionTimestamp" not in kept
    assert kept["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert kubectl.get("secret", "pull", "-n", PROBE_NAMESPACE)
    assert kubectl.get("networkpolicy", "gpuenv-probes", "-n", PROBE_NAMESPACE)


def test_a_changed_priority_is_refused_with_the_cure(release: str, helm: Helm, kubectl: Kubectl) -> None:
    command = ("upgrade", release, str(CHART), "-n", NAMESPACE, "--set", "probes.priorityClass.value=-50")
    refused = helm.run(*command)
    assert refused.returncode != 0
    assert "probes.priorityClass.value cannot become -50" in refused.stderr
    assert "kubectl delete priorityclass gpuenv-probe" in refused.stderr
    assert "immutable" not in refused.stderr
    kubectl("delete", "priorityclass", "gpuenv-probe")
    helm(*command)
    assert kubectl.get("priorityclass", "gpuenv-probe")["value"] == -50


def test_another_release_takes_the_kept_schemas_over(
    release: str, helm: Helm, cluster: ControlPlane, kubectl: Kubectl
) -> None:
    cluster.admin.create(ENVIRONMENT, environment("survives"))
    helm("uninstall", release, "-n", NAMESPACE, "--no-hooks")

    refused = helm.run("install", "other", str(CHART), "-n", NAMESPACE)
    assert "invalid ownership metadata" in refused.stderr
    helm("install", "other", str(CHART), "-n", NAMESPACE, "--take-ownership")
    helm("upgrade", "other", str(CHART), "-n", NAMESPACE)
    assert cluster.admin.get(f"{ENVIRONMENT}/survives")
    assert cluster.admin.get(CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == "other"
    helm("uninstall", "other", "-n", NAMESPACE, "--no-hooks")

    helm("install", "other", str(CHART), "-n", ELSEWHERE, "--create-namespace", "--take-ownership")
    helm("upgrade", "other", str(CHART), "-n", ELSEWHERE)
    assert cluster.admin.get(f"{ENVIRONMENT}/survives")
    probes = kubectl.get("namespace", PROBE_NAMESPACE)["metadata"]["annotations"]
    assert probes["meta.helm.sh/release-namespace"] == ELSEWHERE


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
    result = finished(command)
    kubectl("delete", "role,rolebinding", "gpuenv-uninstall", "-n", NAMESPACE)
    assert result.returncode == 0, result.stderr
    return result.stdout
