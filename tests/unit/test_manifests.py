"""The manifests as data: complete, minimal, and shipped with the package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpuenv import manifests
from gpuenv.manifests.permissions import permissions, roles
from gpuenv.plan.model import Settings

ROOT = Path(__file__).parents[2]


def test_everything_is_there_in_an_order_in_which_it_can_be_created() -> None:
    kinds = [document["kind"] for document in manifests.load()]
    policy = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    assert kinds[:6] == [*policy, "Namespace", "Namespace", "PriorityClass", "ServiceAccount"]
    assert sorted(kinds[6:]) == ["ClusterRole", "ClusterRoleBinding", *["Role"] * 3, *["RoleBinding"] * 3]


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


def test_the_schemas_are_those_of_the_repository() -> None:
    names = {document["metadata"]["name"] for document in manifests.crds()}
    assert names == {"gpuenvironments.gpuenv.dev", "gpunodereports.gpuenv.dev"}
    copies = {path.name: path.read_bytes() for path in (ROOT / "operator/gpuenv/manifests/crds").iterdir()}
    assert copies == {path.name: path.read_bytes() for path in (ROOT / "crds").iterdir()}, "run make schemas"


@pytest.mark.timeout(120)
def test_a_wheel_carries_manifests_and_schemas(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    # A copy, because setuptools leaves its build directory in the source tree.
    source = tmp_path / "source"
    paths = ["operator", "probe_image", "pyproject.toml", "LICENSE", "README.md"]
    source.mkdir()
    subprocess.run(
        ["cp", "-a", *(ROOT / path for path in paths if (ROOT / path).exists()), source], check=True
    )
    (source / "README.md").touch()
    subprocess.run([*command, "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {Path(name).name for name in archive.namelist() if name.startswith("gpuenv/manifests/")}
        schema = archive.read("gpuenv/manifests/crds/gpuenv.dev_gpunodereports.yaml")
    assert {
        "__init__.py",
        "permissions.py",
        "admission.yaml",
        "namespaces.yaml",
        "priorityclass.yaml",
    } < shipped
    assert schema == (ROOT / "crds/gpuenv.dev_gpunodereports.yaml").read_bytes()
