"""The roles for people on the real API server: who may read the cluster, and who writes environments."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support.builders import environment
from tests.support.cluster import Kubectl
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
REPORTS = "/apis/gpuenv.dev/v1alpha1/gpunodereports"
ENVIRONMENT = "of-an-author"
REPORT = names.report_name(ENVIRONMENT, "n1")
REVALIDATE = f"{names.ANNOTATION_REVALIDATE}=1"


class User:
    """A person whom one ClusterRole is bound to, with kubectl."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self.name = name
        self._kubectl = kubectl

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self._kubectl(*arguments, f"--as={self.name}", stdin=stdin)

    def refused(self, *arguments: str, stdin: str | None = None) -> bool:
        """Return whether the API server refuses a command because the user may not do it."""
        result = self._kubectl.run(*arguments, f"--as={self.name}", stdin=stdin)
        return result.returncode != 0 and "(Forbidden)" in result.stderr

    def can(self, *arguments: str) -> bool:
        return self._kubectl.run("auth", "can-i", *arguments, f"--as={self.name}").returncode == 0


def bound(installed: ControlPlane, role: str) -> Iterator[User]:
    user = User(Kubectl(installed), unique("person"))
    subject = {"kind": "User", "name": user.name, "apiGroup": "rbac.authorization.k8s.io"}
    body = {
        "metadata": {"name": user.name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    installed.admin.create(BINDINGS, body)
    # A controller of Kubernetes adds the rules of aggregated roles.
    wait_until(lambda: user.can("list", "gpunodereports.gpuenv.dev"))
    yield user
    installed.admin.delete(f"{BINDINGS}/{user.name}")


@pytest.fixture(scope="module")
def viewer(installed: ControlPlane) -> Iterator[User]:
    """Somebody with Kubernetes' own role ``view``, of whom gpuenv knows nothing."""
    yield from bound(installed, "view")


@pytest.fixture(scope="module")
def author(installed: ControlPlane) -> Iterator[User]:
    yield from bound(installed, "gpuenv-author")


@pytest.fixture
def report(admin: RestClient) -> Iterator[str]:
    spec = {"environmentName": ENVIRONMENT, "nodeName": "n1", "nodeUID": "1"}
    kind = {"apiVersion": names.API_VERSION, "kind": names.REPORT_KIND}
    admin.create(REPORTS, {**kind, "metadata": {"name": REPORT}, "spec": spec})
    admin.merge(f"{REPORTS}/{REPORT}/status", {"status": {"verdict": "Incompatible"}})
    yield REPORT
    admin.delete(f"{REPORTS}/{REPORT}")


def test_who_may_view_the_cluster_reads_environments_and_reports(viewer: User, report: str) -> None:
    assert "Incompatible" in viewer("get", "gnr", report)
    viewer("get", "genv")
    for verb in ("create", "update", "patch", "delete", "deletecollection"):
        for kind in ("gpuenvironments", "gpunodereports"):
            assert not viewer.can(verb, f"{kind}.gpuenv.dev")
            assert not viewer.can(verb, f"{kind}.gpuenv.dev", "--subresource=status")
    assert viewer.refused("annotate", "gnr", report, REVALIDATE)


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_nobody_becomes_an_author_by_aggregation(installed: ControlPlane, viewer: User, role: str) -> None:
    rules: list[dict[str, Any]] = Kubectl(installed).get("clusterrole", role)["rules"]
    ours = {
        (verb, *one["apiGroups"])
        for one in rules
        for verb in one["verbs"]
        if "gpuenv.dev" in one["apiGroups"]
    }
    assert {verb for verb, *_ in ours} == {"get", "list", "watch"}


def test_an_author_writes_environments_and_asks_for_runs(author: User, report: str) -> None:
    author("apply", "-f", "-", stdin=yaml.safe_dump(environment(ENVIRONMENT)))
    try:
        author("annotate", "genv", ENVIRONMENT, REVALIDATE)
        author("annotate", "gnr", report, REVALIDATE)
        author("patch", "genv", ENVIRONMENT, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    finally:
        author("delete", "genv", ENVIRONMENT)


def test_an_author_forges_no_verdict(author: User, report: str) -> None:
    forged = '{"status": {"verdict": "Compatible"}}'
    for kind, name in (("gnr", report), ("genv", ENVIRONMENT)):
        assert author.refused("patch", kind, name, "--subresource=status", "--type=merge", "-p", forged)
    author("patch", "gnr", report, "--type=merge", "-p", forged)
    assert "Incompatible" in author("get", "gnr", report), (
        "a patch of the report itself leaves its status alone"
    )


@pytest.mark.parametrize(
    ("verb", "resource", "namespace"),
    [
        ("create", "gpunodereports.gpuenv.dev", ""),
        ("delete", "gpunodereports.gpuenv.dev", ""),
        ("create", "pods", "gpuenv-probes"),
        ("get", "pods", "gpuenv-probes"),
        ("get", "secrets", "gpuenv-probes"),
        ("create", "secrets", "gpuenv-probes"),
        ("get", "secrets", "gpuenv-system"),
        ("patch", "nodes", ""),
        ("get", "nodes", ""),
        ("patch", "configmaps", "gpuenv-system"),
        ("bind", "clusterroles.rbac.authorization.k8s.io", ""),
    ],
)
def test_an_author_has_no_other_right(author: User, verb: str, resource: str, namespace: str) -> None:
    where = ("-n", namespace) if namespace else ("--all-namespaces",)
    assert not author.can(verb, resource, *where)
