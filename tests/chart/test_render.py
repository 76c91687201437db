"""What the chart renders to: the manifests' rights and schemas, restricted pods, and nothing that was not asked for.

After a wanted change, write the golden files anew: GPUENV_UPDATE_GOLDEN=1 pytest tests/chart/test_render.py
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.helm import CHART, KUBE_VERSION, Helm

from gpuenv import __version__, manifests
from gpuenv.api import names
from gpuenv.api.limits.limits import PullSecret
from gpuenv.api.names import OPERATOR
from gpuenv.controller import limits_file

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EVERYTHING = ("--values", str(HERE / "everything.yaml"))
OFF = (
    "serviceAccount.create=false,rbac.create=false,crds.install=false,probes.namespace.create=false,"
    "probes.networkPolicy.enabled=false,probes.priorityClass.create=false,probes.admissionPolicy.enabled=false,"
    "probes.resourceQuota.enabled=false,admissionPolicy.enabled=false,"
    "networkPolicy.enabled=false,uninstallHook.enabled=false"
)


def by_kind(documents: Iterable[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    found = [one for one in documents if one["kind"] in kinds]
    return sorted(
        found, key=lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
    )


def of_release(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without hooks, and without Helm's labels."""
    kept = [one for one in documents if "helm.sh/hook" not in one["metadata"].get("annotations", {})]
    for one in kept:
        labels = one["metadata"].pop("labels", {})
        if security := {key: value for key, value in labels.items() if key.startswith("pod-security")}:
            one["metadata"]["labels"] = security
    return kept


def test_lint_has_nothing_to_say(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), *EVERYTHING)


@pytest.mark.parametrize(("name", "flags"), [("default", ()), ("everything", EVERYTHING)])
def test_golden(helm: Helm, name: str, flags: tuple[str, ...]) -> None:
    # The schemas are compared elsewhere, and would bury the rest.
    rendered = helm.template(*flags, "--set", "crds.install=false")
    golden = HERE / f"golden/{name}.yaml"
    if os.environ.get("GPUENV_UPDATE_GOLDEN"):
        golden.write_text(rendered, encoding="utf-8")
    assert rendered == golden.read_text(encoding="utf-8"), __doc__


def test_schemas_are_those_of_the_repository(helm: Helm) -> None:
    rendered = of_release(by_kind(helm.documents(), "CustomResourceDefinition"))
    assert [one["metadata"].pop("annotations") for one in rendered] == [
        {"helm.sh/resource-policy": "keep"}
    ] * 2
    assert rendered == by_kind(manifests.crds(), "CustomResourceDefinition")


def test_policies_and_quota_are_those_of_the_manifests(helm: Helm) -> None:
    """Their default limits are those of the values, and those of the operator (tests/unit/test_limits.py)."""
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ResourceQuota")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)
    assert "system:serviceaccount:elsewhere:gpuenv-operator" in helm.template(namespace="elsewhere")


def test_policies_name_the_namespaces_of_the_release(helm: Helm) -> None:
    documents = helm.documents("--set", "probes.namespace.name=mine", namespace="elsewhere")
    policies = by_kind(documents, "ValidatingAdmissionPolicy")
    variables = {
        one["name"]: one["expression"] for policy in policies for one in policy["spec"].get("variables", [])
    }
    assert (variables["operatorNamespace"], variables["probeNamespace"]) == ("'elsewhere'", "'mine'")
    selectors = [one["spec"]["matchConstraints"].get("namespaceSelector") for one in policies]
    assert {"matchLabels": {"kubernetes.io/metadata.name": "mine"}} in selectors
    quotas = by_kind(documents, "ResourceQuota")
    assert [one["metadata"]["namespace"] for one in quotas] == ["mine", "mine"]


def test_a_shared_namespace_keeps_its_other_pods(helm: Helm) -> None:
    """The operator's own pod, that of the test and that of the uninstall hook must not be judged as probe pods."""
    documents = helm.documents("--set", "probes.namespace.create=false", namespace="gpuenv-probes")
    policies = by_kind(documents, "ValidatingAdmissionPolicy")
    (policy,) = [one["spec"] for one in policies if one["metadata"]["name"] == "gpuenv-probe-pods"]
    (condition,) = policy["matchConditions"]
    assert "'gpuenv.dev/component'" in condition["expression"]
    assert f"'system:serviceaccount:gpuenv-probes:{OPERATOR}'" in condition["expression"]
    assert not by_kind(documents, "ResourceQuota")


def test_an_empty_list_allows_nothing_and_other_classes_get_room(helm: Helm) -> None:
    limits = {"images": [], "priorityClassNames": ["mine"], "tolerationKeys": ["a.b*"]}
    documents = helm.documents(
        *(
            flag
            for item in limits.items()
            for flag in ("--set-json", f"limits.{item[0]}={json.dumps(item[1])}")
        )
    )
    policies = by_kind(documents, "ValidatingAdmissionPolicy")
    (policy,) = [one["spec"] for one in policies if one["metadata"]["name"] == "gpuenv-probe-pods"]
    variables = {one["name"]: one["expression"] for one in policy["variables"]}
    assert json.loads(variables["images"]) == r"[^\x00-\x{10FFFF}]"
    assert json.loads(variables["tolerationKeys"]) == r"(?s)^(?:a\.b.*)$"
    assert json.loads(variables["priorityClassNames"]) == ["mine"]
    (quota,) = [one for one in by_kind(documents, "ResourceQuota") if "scopeSelector" in one["spec"]]
    (scope,) = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["values"] == ["gpuenv-probe", "mine"]


def test_rights_are_those_of_the_manifests(helm: Helm) -> None:
    kinds = ("ClusterRole", "Role")
    assert rights(of_release(by_kind(helm.documents(), *kinds))) == rights(by_kind(manifests.load(), *kinds))
    kinds = ("ClusterRoleBinding", "RoleBinding")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)


def test_the_roles_for_people_are_those_of_the_manifests(helm: Helm) -> None:
    def roles(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        found = [one for one in by_kind(documents, "ClusterRole") if one["metadata"]["name"] != OPERATOR]
        for one in found:
            labels = one["metadata"].pop("labels", {})
            one["metadata"]["labels"] = {
                key: value for key, value in labels.items() if "/aggregate-to-" in key
            }
        return found

    rendered = roles(helm.documents())
    assert [one["metadata"]["name"] for one in rendered] == ["gpuenv-author", "gpuenv-viewer"]
    assert rendered == roles(manifests.load())


@pytest.mark.parametrize("namespace", ["default", "gpuenv-probes"])
def test_namespaces_may_be_shared(helm: Helm, namespace: str) -> None:
    """With that of Events, for instance by who forgets ``-n``, or with that of the probes."""
    documents = helm.documents("--set", "probes.namespace.create=false", namespace=namespace)
    found = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in documents]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("namespace", ["gpuenv-system", "gpuenv-probes"])
def test_each_pod_has_its_network_policy(helm: Helm, namespace: str) -> None:
    """Policies add up: probes must not get what the operator may, nor the operator be cut off, in one namespace."""
    flags = ("--set", "probes.namespace.create=false,networkPolicy.enabled=true")
    documents = helm.documents(*flags, namespace=namespace)
    policies = {one["metadata"]["name"]: one for one in by_kind(documents, "NetworkPolicy")}
    pods = [one["metadata"]["labels"] for one in by_kind(documents, "Pod")]
    pods += [one["spec"]["template"]["metadata"]["labels"] for one in by_kind(documents, "Deployment", "Job")]
    probe = {
        "app.kubernetes.io/name": "gpuenv",
        "app.kubernetes.io/component": names.COMPONENT_PROBE,
        names.LABEL_COMPONENT: names.COMPONENT_PROBE,
    }
    of_operator = policies["gpuenv-operator"]["spec"]["podSelector"]
    of_probes = policies["gpuenv-probes"]["spec"]["podSelector"]
    assert [selects(of_operator, labels) for labels in (*pods, probe)] == [True, True, True, False]
    assert selects(of_probes, probe)
    if namespace == "gpuenv-probes":
        assert not [labels for labels in pods if selects(of_probes, labels)]
    else:
        assert of_probes == {}, "nothing else belongs into the probes' own namespace"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert {one["operator"] for one in expressions} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def test_the_operator_reaches_the_ports_where_api_servers_listen(helm: Helm) -> None:
    (policy,) = [
        one for one in by_kind(helm.documents(), "NetworkPolicy") if one["metadata"]["name"] == OPERATOR
    ]
    (rule,) = policy["spec"]["egress"]
    assert {one["port"] for one in rule["ports"]} == {443, 6443, 8443, 16443}
    assert "to" not in rule


def test_metrics_are_reached_from_where_the_values_say(helm: Helm) -> None:
    def ingress(*flags: str) -> list[dict[str, Any]] | None:
        policies = by_kind(helm.documents(*flags), "NetworkPolicy")
        (policy,) = [one["spec"] for one in policies if one["metadata"]["name"] == OPERATOR]
        assert "Ingress" in policy["policyTypes"], "without a rule, nothing is let in"
        return policy.get("ingress")

    (rule,) = ingress() or []
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    (peer,) = rule["from"]
    (expression,) = peer["namespaceSelector"]["matchExpressions"]
    assert expression["key"] == "kubernetes.io/metadata.name", "a label that only the API server sets"
    assert "monitoring" in expression["values"]
    (everywhere,) = ingress("--set-json", 'metrics.allowFrom=[{"namespaceSelector": {}}]') or []
    assert everywhere["from"] == [{"namespaceSelector": {}}]
    assert ingress("--set-json", "metrics.allowFrom=[]") is None
    assert ingress("--set-string", "metrics.bindAddress=0") is None


def test_without_rbac_no_role_is_made_not_even_for_the_hook(helm: Helm) -> None:
    kinds = [one["kind"] for one in helm.documents("--set", "rbac.create=false")]
    assert "Job" in kinds
    assert not [kind for kind in kinds if "Role" in kind]


def test_the_hook_may_stop_the_operator_and_no_more(helm: Helm) -> None:
    (role,) = [one for one in by_kind(helm.documents(), "Role") if "helm.sh/hook" in str(one["metadata"])]
    assert rights([role]) == {
        ("Role", "gpuenv-system", "apps", "deployments/scale", OPERATOR, "patch"),
        ("Role", "gpuenv-system", "coordination.k8s.io", "leases", OPERATOR, "delete"),
    }


def test_without_hooks_nothing_is_run_at_once(helm: Helm) -> None:
    """What docs/install.md says to pipe into kubectl."""
    assert "--no-hooks" in (ROOT / "docs/install.md").read_text(encoding="utf-8")
    assert not by_kind(helm.documents("--no-hooks"), "Job", "Pod")


def test_what_looks_like_a_number_stays_text(helm: Helm) -> None:
    settings = "probes.namespace.name=1,operator.knowledgeConfigMap=2,pod.priorityClassName=3,image.tag=4"
    selector = "operator.nodeLabelSelector=a in (b\\,c): #d"
    strings = ("--set-string", settings, "--set", selector, "--set-string", "pod.nodeSelector.a=true")
    documents = helm.documents(*strings, namespace="5")
    assert {one["metadata"].get("namespace", "") for one in documents} == {"", "1", "5", "default"}
    (pod,) = [one["spec"]["template"]["spec"] for one in by_kind(documents, "Deployment")]
    assert pod["priorityClassName"] == "3"
    assert pod["nodeSelector"] == {"a": "true"}
    assert {"name": "knowledge", "configMap": {"name": "2"}} in pod["volumes"]
    assert "--node-label-selector=a in (b,c): #d" in pod["containers"][0]["args"]


def test_the_operator_can_read_its_limits(helm: Helm, tmp_path: Path) -> None:
    documents = helm.documents(*EVERYTHING)
    (config_map,) = by_kind(documents, "ConfigMap")
    (pod,) = [one["spec"]["template"]["spec"] for one in by_kind(documents, "Deployment")]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "limits"]
    ((name, text),) = config_map["data"].items()
    assert f"--limits={mount['mountPath']}/{name}" in pod["containers"][0]["args"]
    assert {"name": "limits", "configMap": {"name": config_map["metadata"]["name"]}} in pod["volumes"]
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = limits_file.read(tmp_path / name)
    assert found.pull_secrets == (PullSecret("team-registry", ("team-a-*",)),)
    assert found.max_environments == 20


def test_all_pods_go_where_the_operator_goes(helm: Helm) -> None:
    documents = helm.documents(*EVERYTHING)
    pods = [one["spec"]["template"]["spec"] for one in by_kind(documents, "Deployment", "Job")]
    pods += [one["spec"] for one in by_kind(documents, "Pod")]
    keys = ("nodeSelector", "tolerations", "affinity", "priorityClassName")
    placements = [{key: pod[key] for key in keys} for pod in pods]
    assert placements == [placements[0]] * 3


def test_a_build_number_makes_no_wrong_label(helm: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "gpuenv"
    shutil.copytree(CHART, chart)
    text = (chart / "Chart.yaml").read_text(encoding="utf-8")
    (chart / "Chart.yaml").write_text(
        text.replace(f"ersion: {__version__}", f"ersion: {__version__}+5"), encoding="utf-8"
    )
    documents = yaml.safe_load_all(helm("template", "gpuenv", str(chart), "--kube-version", KUBE_VERSION))
    labels = [one["metadata"]["labels"] for one in documents if one]
    assert {one["helm.sh/chart"] for one in labels} == {f"gpuenv-{__version__}_5"}
    assert {one["app.kubernetes.io/version"] for one in labels} == {f"{__version__}_5"}


def test_it_may_be_part_of_another_chart(helm: Helm, tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "charts/gpuenv")
    chart = {
        "apiVersion": "v2",
        "name": "parent",
        "version": "1.0.0",
        "dependencies": [{"name": "gpuenv", "version": __version__, "condition": "gpuenv.enabled"}],
    }
    values = {"gpuenv": {"enabled": True}, "global": {"imageRegistry": "registry.example.com"}}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart), encoding="utf-8")
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    command = ("template", "parent", str(tmp_path), "--kube-version", KUBE_VERSION)
    assert "kind: Deployment" in helm(*command)
    assert "kind: Deployment" not in helm(*command, "--set", "gpuenv.enabled=false")


def test_artifact_hub_is_told_what_is_true() -> None:
    """https://artifacthub.io/docs/topics/annotations/helm/"""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    given = {
        key.removeprefix("artifacthub.io/"): yaml.safe_load(value)
        for key, value in chart["annotations"].items()
    }
    assert {(one["kind"], one["version"], one["name"]) for one in given["crds"]} == {
        (crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"], crd["metadata"]["name"])
        for crd in manifests.crds()
    }
    assert all(one["displayName"] and one["description"] for one in given["crds"])
    kinds = {one["kind"] for one in given["crds"]}
    assert {one["kind"] for one in given["crdsExamples"]} <= kinds
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert given["license"] == project["license"]
    assert given["prerelease"] is chart["version"].startswith("0.")
    assert given["operator"] is True
    assert given["operatorCapabilities"] in {
        "Basic Install",
        "Seamless Upgrades",
        "Full Lifecycle",
        "Deep Insights",
        "Auto Pilot",
    }
    assert given["category"] in {
        "ai-machine-learning",
        "database",
        "integration-delivery",
        "monitoring-logging",
        "networking",
        "security",
        "storage",
        "streaming-messaging",
        "skip-prediction",
    }
    assert {one["kind"] for one in given["changes"]} <= {
        "added",
        "changed",
        "deprecated",
        "removed",
        "fixed",
        "security",
    }


def test_the_rest_is_that_of_the_manifests(helm: Helm) -> None:
    kinds = ("ServiceAccount", "PriorityClass")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)
    (namespace,) = of_release(by_kind(helm.documents(), "Namespace"))
    assert namespace["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert namespace in manifests.load()


def test_every_pod_is_restricted(helm: Helm) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and OpenShift's uid ranges."""
    pods = [one["spec"]["template"]["spec"] for one in by_kind(helm.documents(), "Deployment", "Job")]
    pods += [one["spec"] for one in by_kind(helm.documents(), "Pod")]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_the_commands_have_these_flags(helm: Helm) -> None:
    """The chart and the program must not drift apart."""
    for document in by_kind(helm.documents(*EVERYTHING), "Deployment", "Job"):
        (container,) = document["spec"]["template"]["spec"]["containers"]
        command, *flags = container["args"]
        text = subprocess.run(
            [sys.executable, "-m", "gpuenv", command, "--help"], capture_output=True, text=True, check=True
        )
        assert not [flag for flag in flags if flag.split("=")[0] not in text.stdout]


def test_all_off_leaves_the_operator_and_the_test(helm: Helm) -> None:
    addresses = ("--set-string", "metrics.bindAddress=0,health.bindAddress=0")
    documents = helm.documents("--set", OFF, *addresses)
    assert sorted(one["kind"] for one in documents) == ["ConfigMap", "Deployment", "Pod"]
    (pod,) = [one["spec"]["template"]["spec"] for one in by_kind(documents, "Deployment")]
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & pod["containers"][0].keys()


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert known(schema) - {"global", "enabled"} == set(values) | {
        f"{section}.{key}" for section, inner in values.items() if isinstance(inner, dict) for key in inner
    }


def known(schema: dict[str, Any]) -> set[str]:
    """The first two levels of names; every object on them is closed."""
    assert schema["additionalProperties"] is False
    found = set(schema["properties"])
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            assert inner["additionalProperties"] is False
            found |= {f"{name}.{key}" for key in inner["properties"]}
    return found


def rights(roles: Iterable[dict[str, Any]]) -> set[tuple[str, ...]]:
    """Rules as flat facts: the chart groups them with a comment each, the manifests with a reason each."""
    return {
        (role["kind"], role["metadata"].get("namespace", ""), group, resource, name, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }
