"""Values that the chart refuses, and those that may be missing."""

import pytest
from tests.support.helm import CHART, KUBE_VERSION, Helm


def test_a_release_does_not_create_the_namespace_it_is_in(helm: Helm) -> None:
    words = "the release cannot create namespace shared, in which it is installed itself"
    assert words in refusal(helm, "probes.namespace.name=shared", namespace="shared")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("operator.maxProbes=0", "at '/operator/maxProbes': minimum: got 0, want 1"),
        ("operator.maxProbs=5", "additional properties 'maxProbs' not allowed"),
        ("replicas=2", "additional properties 'replicas' not allowed"),
        ("operator.logLevel=loud", "at '/operator/logLevel': value must be one of"),
        ("image.tag=latest", "at '/image/tag'"),
        ("image.digest=abc", "at '/image/digest'"),
        ("image.repository=gpuenv:1", "at '/image/repository'"),
        (
            "probes.namespace.podSecurity=privileged",
            "at '/probes/namespace/podSecurity': value must be one of",
        ),
        ("probes.namespace.name=kube-system", "at '/probes/namespace/name'"),
        ("probes.namespace.name=Not.A.Name", "at '/probes/namespace/name'"),
        ("probes.priorityClass.value=0", "at '/probes/priorityClass/value': maximum: got 0, want -11"),
        ("metrics.bindAddress=:99999", "at '/metrics/bindAddress'"),
        ("metrics.bindAddress=8080", "at '/metrics/bindAddress'"),
        ("metrics.allowFrom[0]=everybody", "at '/metrics/allowFrom/0': got string, want object"),
        (
            "metrics.allowFrom[0].namespaceSelecter.a=b",
            "additional properties 'namespaceSelecter' not allowed",
        ),
        (
            "metrics.allowFrom[0].namespaceSelector=null",
            "at '/metrics/allowFrom/0/namespaceSelector': got null",
        ),
        ("metrics.allowFrom[0].ipBlock.cidr=all", "at '/metrics/allowFrom/0/ipBlock/cidr'"),
        (
            "metrics.allowFrom[0].ipBlock.cidr=10.0.0.0/8,metrics.allowFrom[0].podSelector.matchLabels.a=b",
            "at '/metrics/allowFrom/0': maxProperties: got 2, want 1",
        ),
        ("metrics.allowFrom=null", "at '/metrics': missing property 'allowFrom'"),
        ("health.bindAddress=127.0.0.1:8081", "at '/health/bindAddress'"),
        ("metrics.podMonitor.interval=soon", "at '/metrics/podMonitor/interval'"),
        ("networkPolicy.apiServerCIDRs={everywhere}", "at '/networkPolicy/apiServerCIDRs/0'"),
        ("crds.keep=maybe", "at '/crds/keep': got string, want boolean"),
        (r"pod.labels.app\.kubernetes\.io/name=x", "at '/pod/labels/app.kubernetes.io~1name'"),
        (r"pod.labels.app\.kubernetes\.io/component=x", "at '/pod/labels/app.kubernetes.io~1component'"),
        (r"metrics.podMonitor.labels.helm\.sh/chart=x", "at '/metrics/podMonitor/labels/helm.sh~1chart'"),
        ("pod.nodeSelector.a=true", "at '/pod/nodeSelector/a': got boolean, want string"),
        ("pod.priorityClassName=Not_A_Name", "at '/pod/priorityClassName'"),
        ("operator.knowledgeConfigMap=Not_A_Name", "at '/operator/knowledgeConfigMap'"),
        ("networkPolicy=null", "missing property 'networkPolicy'"),
        ("networkPolicy.apiServerPorts=null", "at '/networkPolicy': missing property 'apiServerPorts'"),
        ("metrics.podMonitor=null", "at '/metrics': missing property 'podMonitor'"),
        ("probes=null", "missing property 'probes'"),
        ("operator.maxProbes=null", "at '/operator': missing property 'maxProbes'"),
        ("crds.keep=null", "at '/crds': missing property 'keep'"),
        ("admissionPolicy.enabled=null", "at '/admissionPolicy': missing property 'enabled'"),
        ("metrics.bindAddress=:8081", "have the same port, 8081"),
        ("limits.maxEnvironments=0", "at '/limits/maxEnvironments': minimum: got 0, want 1"),
        ("limits=null", "missing property 'limits'"),
        (
            "limits.pullSecrets[0].secretName=a,limits.pullSecrets[0].environments={b},"
            "limits.pullSecrets[1].secretName=a,limits.pullSecrets[1].environments={c}",
            "limits.pullSecrets lists the Secret a twice",
        ),
        (
            "limits.groups[0].name=a,limits.groups[0].environments={b},"
            "limits.groups[1].name=a,limits.groups[1].environments={c}",
            "limits.groups lists the group a twice",
        ),
    ],
)
def test_wrong_values_are_refused(helm: Helm, setting: str, words: str) -> None:
    assert words in refusal(helm, setting)


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
def test_no_monitor_without_metrics(helm: Helm, monitor: str) -> None:
    flags = ("--set-string", "metrics.bindAddress=0", "--set", f"metrics.{monitor}.enabled=true")
    result = helm.run("template", "gpuenv", str(CHART), "--kube-version", KUBE_VERSION, *flags)
    assert "metrics.bindAddress is 0, so there is nothing" in result.stderr


@pytest.mark.parametrize("name", ["imagePullSecrets", "pod.resources.limits", "pod.affinity", "image.tag"])
def test_null_removes_what_may_be_missing(helm: Helm, name: str) -> None:
    kinds = {one["kind"] for one in helm.documents("--set", f"{name}=null")}
    assert "Deployment" in kinds


def refusal(helm: Helm, setting: str, namespace: str = "gpuenv-system") -> str:
    """What Helm says to this setting."""
    command = ("template", "gpuenv", str(CHART), "-n", namespace, "--kube-version", KUBE_VERSION)
    result = helm.run(*command, "--set", setting)
    assert result.returncode != 0
    assert "nil pointer" not in result.stderr
    return result.stderr


def test_an_old_kubernetes_is_refused(helm: Helm) -> None:
    result = helm.run("template", "gpuenv", str(CHART), "--kube-version", "1.31.9")
    assert "chart requires kubeVersion: >=1.32.0-0" in result.stderr
