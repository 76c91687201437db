"""The manifests as data: complete and minimal."""

from typing import Any

from gpuenv import manifests
from gpuenv.api import names
from gpuenv.manifests.permissions import permissions, roles
from gpuenv.plan.settings import Settings


def test_everything_is_there_in_an_order_in_which_it_can_be_created() -> None:
    kinds = [document["kind"] for document in manifests.load()]
    policies = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] * 8
    people = ["ClusterRole", "ClusterRole"]
    probes = [*policies[:2], "ResourceQuota", "ResourceQuota"]
    before = [*policies, "Namespace", "Namespace", "PriorityClass", *probes, *people, "ServiceAccount"]
    assert kinds[: len(before)] == before
    assert sorted(kinds[len(before) :]) == [
        "ClusterRole",
        "ClusterRoleBinding",
        *["Role"] * 3,
        *["RoleBinding"] * 3,
    ]


def test_policies_of_the_operator_are_about_its_service_account_alone() -> None:
    documents = manifests.load()
    (account,) = [one["metadata"] for one in documents if one["kind"] == "ServiceAccount"]
    name = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    policies = of_operator(documents)
    assert len(policies) == 7
    for policy in policies:
        (condition,) = policy["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username == '{name}'"


def test_every_policy_is_bound_refuses_and_fails_closed() -> None:
    documents = manifests.load()
    bound = {
        one["spec"]["policyName"]: one["spec"]["validationActions"]
        for one in documents
        if one["kind"] == "ValidatingAdmissionPolicyBinding"
    }
    policies = [one for one in documents if one["kind"] == "ValidatingAdmissionPolicy"]
    assert bound == {one["metadata"]["name"]: ["Deny"] for one in policies}
    for policy in policies:
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert all(one["message"] and one["reason"] == "Forbidden" for one in policy["spec"]["validations"])


def test_policies_name_the_namespaces_that_the_operator_uses() -> None:
    variables = {
        one["name"]: one["expression"]
        for policy in of_operator(manifests.load())
        for one in policy["spec"].get("variables", [])
    }
    assert variables["probeNamespace"] == f"'{names.PROBE_NAMESPACE}'"
    assert variables["operatorNamespace"] == f"'{names.OPERATOR_NAMESPACE}'"


def of_operator(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The policies about the operator's account."""
    return [
        one
        for one in documents
        if one["kind"] == "ValidatingAdmissionPolicy" and one["metadata"]["name"].startswith(names.OPERATOR)
    ]


def test_names_are_those_that_the_operator_uses() -> None:
    by_kind = {document["kind"]: document["metadata"]["name"] for document in manifests.load()}
    namespaces = [d["metadata"]["name"] for d in manifests.load() if d["kind"] == "Namespace"]
    assert Settings().probe_namespace in namespaces
    assert Settings().probe_priority_class == by_kind["PriorityClass"]


def test_pod_security_is_enforced_where_strangers_images_run() -> None:
    labels = {
        d["metadata"]["name"]: d["metadata"]["labels"] for d in manifests.load() if d["kind"] == "Namespace"
    }
    assert {one["pod-security.kubernetes.io/enforce"] for one in labels.values()} == {"restricted"}


def test_probes_preempt_nobody_and_make_no_autoscaler_add_nodes() -> None:
    (priority,) = [document for document in manifests.load() if document["kind"] == "PriorityClass"]
    assert priority["value"] < -10
    assert priority["preemptionPolicy"] == "Never"
    assert priority["globalDefault"] is False


def test_no_rule_uses_a_wildcard_or_touches_secrets() -> None:
    for permission in permissions():
        assert "*" not in (permission.group, permission.resource, *permission.verbs)
        assert not permission.resource.startswith("secrets")


def test_namespaces_follow_the_installation() -> None:
    found = {document["metadata"].get("namespace") for document in roles("ops", "probes")}
    assert found == {None, "ops", "probes", "default"}
    for binding in (document for document in roles("ops", "probes") if "subjects" in document):
        assert [subject["namespace"] for subject in binding["subjects"]] == ["ops"]


def test_purposes_may_share_a_namespace() -> None:
    """For instance where somebody installs everything into `default`."""
    found = [(one["kind"], one["metadata"]["name"]) for one in roles("default", "default")]
    assert len(found) == len(set(found)) == 8


def test_there_is_a_schema_for_each_kind() -> None:
    found = {document["metadata"]["name"] for document in manifests.crds()}
    assert found == {"gpuenvironments.gpuenv.dev", "gpunodereports.gpuenv.dev"}
