"""What the chart renders to: the manifests' rights and schemas, restricted pods, and nothing that was not asked for.

After a wanted change, write the golden files anew: GPUENV_UPDATE_GOLDEN=1 pytest tests/chart/test_render.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.helm import CHART, Helm

from gpuenv import manifests

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EVERYTHING = ("--values", str(HERE / "everything.yaml"))
OFF = (
    "serviceAccount.create=false,rbac.create=false,crds.install=false,probes.createNamespace=false,"
    "probes.networkPolicy=false,probes.priorityClass.create=false,admissionPolicy.enabled=false,"
    "networkPolicy.enabled=false,metrics.port=0,uninstallHook.enabled=false"
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
    for path in sorted((ROOT / "crds").iterdir()):
        copy = CHART / "schemas" / path.name
        assert copy.read_bytes() == path.read_bytes(), "run make schemas"
    rendered = of_release(by_kind(helm.documents(), "CustomResourceDefinition"))
    assert [one["metadata"].pop("annotations") for one in rendered] == [
        {"helm.sh/resource-policy": "keep"}
    ] * 2
    assert rendered == by_kind(manifests.crds(), "CustomResourceDefinition")


def test_the_admission_policy_is_that_of_the_manifests(helm: Helm) -> None:
    source = ROOT / "operator/gpuenv/manifests/admission.yaml"
    assert (CHART / "admission.yaml").read_bytes() == source.read_bytes(), "run make schemas"
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)
    assert "system:serviceaccount:elsewhere:gpuenv-operator" in helm.template(namespace="elsewhere")


def test_rights_are_those_of_the_manifests(helm: Helm) -> None:
    kinds = ("ClusterRole", "Role")
    assert rights(of_release(by_kind(helm.documents(), *kinds))) == rights(by_kind(manifests.load(), *kinds))
    kinds = ("ClusterRoleBinding", "RoleBinding")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)


@pytest.mark.parametrize("namespace", ["default", "gpuenv-probes"])
def test_namespaces_may_be_shared(helm: Helm, namespace: str) -> None:
    """With that of Events, for instance by who forgets ``-n``, or with that of the probes."""
    found = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in helm.documents(namespace=namespace)
    ]
    assert len(found) == len(set(found))


def test_the_rest_is_that_of_the_manifests(helm: Helm) -> None:
    kinds = ("ServiceAccount", "PriorityClass")
    assert of_release(by_kind(helm.documents(), *kinds)) == by_kind(manifests.load(), *kinds)
    (namespace,) = of_release(by_kind(helm.documents(), "Namespace"))
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
    kinds = [one["kind"] for one in helm.documents("--set", OFF)]
    assert sorted(kinds) == ["Deployment", "Pod"]


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert known(schema) - {"global"} == set(values) | {
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
        ("probes.podSecurity=privileged", "at '/probes/podSecurity': value must be one of"),
        ("probes.namespace=kube-system", "at '/probes/namespace'"),
        ("probes.namespace=Not.A.Name", "at '/probes/namespace'"),
        ("probes.priorityClass.value=0", "at '/probes/priorityClass/value': maximum: got 0, want -11"),
        ("metrics.port=99999", "at '/metrics/port'"),
        ("metrics.podMonitor.interval=soon", "at '/metrics/podMonitor/interval'"),
        ("networkPolicy.apiServerCIDRs={everywhere}", "at '/networkPolicy/apiServerCIDRs/0'"),
        ("crds.keep=maybe", "at '/crds/keep': got string, want boolean"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, setting: str, words: str) -> None:
    result = helm.run("template", "gpuenv", str(CHART), "--kube-version", "1.30.0", "--set", setting)
    assert result.returncode != 0
    assert words in result.stderr


def test_an_old_kubernetes_is_refused(helm: Helm) -> None:
    result = helm.run("template", "gpuenv", str(CHART), "--kube-version", "1.29.9")
    assert "chart requires kubeVersion: >=1.30.0-0" in result.stderr


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
