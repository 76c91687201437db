"""The manifests as data: complete and minimal."""

from gpuenv import manifests
from gpuenv.manifests.permissions import permissions, roles
from gpuenv.plan.snapshot import Settings


def test_everything_is_there_in_an_order_in_which_it_can_be_created() -> None:
    kinds = [document["kind"] for document in manifests.load()]
    policy = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    people = ["ClusterRole", "ClusterRole"]
    assert kinds[:8] == [*policy, "Namespace", "Namespace", "PriorityClass", *people, "ServiceAccount"]
    assert sorted(kinds[8:]) == ["ClusterRole", "ClusterRoleBinding", *["Role"] * 3, *["RoleBinding"] * 3]


def test_the_policy_is_about_the_service_account() -> None:
    documents = manifests.load()
    (account,) = [one["metadata"] for one in documents if one["kind"] == "ServiceAccount"]
    (policy,) = [one["spec"] for one in documents if one["kind"] == "ValidatingAdmissionPolicy"]
    (condition,) = policy["matchConditions"]
    assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]


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
    names = {document["metadata"]["name"] for document in manifests.crds()}
    assert names == {"gpuenvironments.gpuenv.dev", "gpunodereports.gpuenv.dev"}
