"""What the operator's account may do, as the real API server sees it, against a table written by hand."""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from tests.support.cluster import Kubectl
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller import selfcheck
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.options import Options
from gpuenv.manifests.permissions import Permission, permissions, role_name
from gpuenv_sandbox.control_plane.cluster import ControlPlane

GPUENV = "gpuenv.dev"
LEASES = "coordination.k8s.io"

# (API group, resource, name or "" for any): verbs
CLUSTER = {
    ("", "nodes", ""): "get list watch patch",
    ("", "nodes/status", ""): "patch",
    (GPUENV, "gpuenvironments", ""): "get list watch patch",
    (GPUENV, "gpuenvironments/status", ""): "patch",
    (GPUENV, "gpunodereports", ""): "get list watch create delete deletecollection",
    (GPUENV, "gpunodereports/status", ""): "patch",
}
IN_NAMESPACE = {
    "gpuenv-probes": {
        ("", "pods", ""): "get list watch create delete",
        ("", "configmaps", ""): "get list create delete",
    },
    "default": {("", "events", ""): "create patch"},
    "gpuenv-system": {
        (LEASES, "leases", ""): "create",
        (LEASES, "leases", "gpuenv-operator"): "get patch",
    },
    "kube-system": {},
}

REFUSED = [
    ("create", "nodes", ""),
    ("update", "nodes", ""),
    ("delete", "nodes", ""),
    ("get", "secrets", "gpuenv-probes"),
    ("list", "secrets", "gpuenv-system"),
    ("list", "pods", ""),
    ("get", "pods", "default"),
    ("create", "pods", "gpuenv-system"),
    ("get", "pods/log", "gpuenv-probes"),
    ("create", "pods/exec", "gpuenv-probes"),
    ("create", "pods/binding", "gpuenv-probes"),
    ("patch", "pods", "gpuenv-probes"),
    ("list", "configmaps", "gpuenv-system"),
    ("create", "events", "gpuenv-probes"),
    ("create", "gpuenvironments.gpuenv.dev", ""),
    ("delete", "gpuenvironments.gpuenv.dev", ""),
    ("patch", "gpunodereports.gpuenv.dev", ""),
    ("list", "leases.coordination.k8s.io", "kube-system"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io", ""),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io", ""),
    ("create", "serviceaccounts/token", "gpuenv-system"),
    ("impersonate", "users", ""),
]


@pytest.fixture(scope="module")
def operator(installed: ControlPlane) -> Kubectl:
    """kubectl with exactly the operator's rights."""
    config = installed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    account = Kubectl(installed, config)
    wait_until(lambda: account.run("auth", "can-i", "list", "nodes").returncode == 0, "the roles to work")
    return account


@pytest.fixture(scope="module")
def nobody(installed: ControlPlane) -> Kubectl:
    """kubectl with the rights that every account has."""
    admin = Kubectl(installed)
    admin("create", "serviceaccount", "nobody", "-n", OPERATOR_NAMESPACE)
    return Kubectl(installed, installed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, "nobody"))


@pytest.mark.parametrize("namespace", IN_NAMESPACE)
def test_the_account_may_do_this_and_nothing_else(operator: Kubectl, nobody: Kubectl, namespace: str) -> None:
    granted = rights(operator, namespace) - rights(nobody, namespace)
    expected = {
        (*resource, verb)
        for resource, verbs in (CLUSTER | IN_NAMESPACE[namespace]).items()
        for verb in verbs.split()
    }
    assert granted == expected


@pytest.mark.parametrize(("verb", "resource", "namespace"), REFUSED, ids=lambda value: value or "cluster")
def test_refused(operator: Kubectl, verb: str, resource: str, namespace: str) -> None:
    name, _, group = resource.partition(".")
    assert not allows(operator, Permission(group, name, (verb,), "", namespace), verb)


def test_everything_the_operator_checks_at_start_is_granted(operator: Kubectl) -> None:
    missing = [
        permission
        for permission in permissions()
        for verb in permission.verbs
        if not allows(operator, permission, verb)
    ]
    assert not missing


def test_each_permission_says_why() -> None:
    reasons = [permission.why for permission in permissions()]
    assert all(reasons)
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    ("permission", "verb"),
    [(one, verb) for one in permissions() for verb in one.verbs],
    ids=lambda value: value if isinstance(value, str) else value.resource,
)
async def test_a_missing_permission_is_named_with_its_reason(
    installed: ControlPlane, permission: Permission, verb: str
) -> None:
    """What the operator says at start, and waits for, instead of hanging."""
    scope = f"namespaces/{permission.namespace}/roles" if permission.namespace else "clusterroles"
    path = f"/apis/rbac.authorization.k8s.io/v1/{scope}/{role_name(permission)}"
    rules = installed.admin.get(path)["rules"]
    installed.admin.merge(path, {"rules": without(rules, permission, verb)})
    try:
        rights = installed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
        async with await Kube.from_environment(str(rights)) as kube:
            # What the test before gave back may take a moment as well.
            (problem,) = await wait_until_async(lambda: the_one_problem(kube))
    finally:
        installed.admin.merge(path, {"rules": rules})
    assert problem.startswith("missing permission:")
    assert verb in problem
    assert permission.resource in problem
    assert permission.why in problem


async def the_one_problem(kube: Kube) -> list[str]:
    found = await selfcheck.problems(kube, Options())
    assert len(found) == 1, found
    return found


def without(rules: list[dict[str, Any]], permission: Permission, verb: str) -> list[dict[str, Any]]:
    """Rules with one verb less for one resource."""
    about = ([permission.group], [permission.resource], [permission.name] if permission.name else None)
    changed = []
    for rule in rules:
        verbs = rule["verbs"]
        if (rule["apiGroups"], rule["resources"], rule.get("resourceNames")) == about:
            verbs = [one for one in verbs if one != verb]
        if verbs:
            changed.append(rule | {"verbs": verbs})
    assert changed != rules
    return changed


def rights(account: Kubectl, namespace: str) -> set[tuple[str, str, str, str]]:
    """What a SelfSubjectRulesReview answers, as flat facts: group, resource, name ("" for any), verb."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = yaml.safe_load(
        account("create", "--validate=false", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(review))
    )
    assert not answer["status"]["incomplete"]
    return set(flat(answer["status"]["resourceRules"]))


def flat(rules: Iterable[dict[str, Any]]) -> Iterable[tuple[str, str, str, str]]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [""]:
                    for verb in rule["verbs"]:
                        yield group, resource, name, verb


def allows(account: Kubectl, permission: Permission, verb: str) -> bool:
    """What a SelfSubjectAccessReview answers: the question the operator asks at start."""
    resource, _, subresource = permission.resource.partition("/")
    attributes = {
        "verb": verb,
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": permission.namespace,
        "name": permission.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = yaml.safe_load(
        account("create", "--validate=false", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(review))
    )
    return bool(answer["status"]["allowed"])
