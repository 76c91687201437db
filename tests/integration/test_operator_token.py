"""What the operator's token can do and what it cannot, tried against the real API server with exactly its rights.

RBAC and the policies decide together. tests/integration/test_admission_policy.py has the rows about nodes, and
tests/integration/test_probe_pod_policy.py those about probe pods.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.support import builders
from tests.support.installation import VERSIONS
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.api.names import FINALIZER, OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE
from gpuenv.controller import probe_files
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import EVENTS
from gpuenv.controller.write.events import event_body
from gpuenv.plan.actions import PostEvent
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.programs import catalogue

Raw = dict[str, Any]

ENVIRONMENTS = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
REPORTS = "/apis/gpuenv.dev/v1alpha1/gpunodereports"
CONFIG_MAPS = f"/api/v1/namespaces/{PROBE_NAMESPACE}/configmaps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"
VAP = "/apis/admissionregistration.k8s.io/v1"
DRY = "?dryRun=All"


@pytest.fixture
async def operator(policed: ControlPlane) -> AsyncIterator[Kube]:
    """The operator's own client, with the operator's rights."""
    kubeconfig = policed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    async with await Kube.from_environment(str(kubeconfig)) as kube:
        yield kube


@pytest.fixture
def environment(policed: ControlPlane) -> Iterator[str]:
    """The path of an environment with labels, annotations and finalizers of other programs."""
    name = unique("token")
    metadata = {
        "labels": {"theirs": "1"},
        "annotations": {"theirs": "1"},
        "finalizers": ["example.com/theirs", FINALIZER],
    }
    body = builders.environment(name, metadata=metadata, suspend=True, probe__timeouts={"runSeconds": 60})
    policed.admin.create(ENVIRONMENTS, body)
    yield f"{ENVIRONMENTS}/{name}"
    policed.admin.merge(f"{ENVIRONMENTS}/{name}", {"metadata": {"finalizers": None}})
    policed.admin.delete(f"{ENVIRONMENTS}/{name}")


@pytest.fixture
def config_map(policed: ControlPlane) -> Iterator[str]:
    """The path of a ConfigMap of somebody else's beside the probe pods."""
    name = unique("theirs")
    policed.admin.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"a": "b"}})
    yield f"{CONFIG_MAPS}/{name}"
    policed.admin.delete(f"{CONFIG_MAPS}/{name}")


def event(**changes: Any) -> Raw:
    """An Event as the operator posts it, with other fields."""
    body = event_body(PostEvent("GPUEnvironment", unique("e"), "u1", "Normal", "Test", "a test"), 0, "test")
    return body | changes


FOREIGN_EVENT = {"involvedObject": {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}}


class TestEnvironments:
    """Only gpuenv's finalizer and the status."""

    async def test_its_finalizer_comes_and_goes(self, operator: Kube, environment: str) -> None:
        for finalizers in (["example.com/theirs"], ["example.com/theirs", FINALIZER]):
            after = await operator.merge_patch(environment, {"metadata": {"finalizers": finalizers}})
            assert after["metadata"]["finalizers"] == finalizers

    async def test_the_status(self, operator: Kube, environment: str) -> None:
        patch = [{"op": "add", "path": "/status", "value": {"observedGeneration": 1}}]
        after = await operator.json_patch(f"{environment}/status", patch)
        assert after["status"]["observedGeneration"] == 1

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"spec": {"image": "registry.example.com/evil:1"}}, "nothing of an environment's spec"),
            ({"spec": {"suspend": False}}, "spec"),
            ({"spec": {"probe": {"env": [{"name": "A", "value": "b"}]}}}, "spec"),
            ({"metadata": {"labels": {"theirs": "2"}}}, "labels"),
            ({"metadata": {"annotations": {"gpuenv.dev/revalidate": "1"}}}, "annotations"),
            ({"metadata": {"finalizers": None}}, "finalizers"),
            ({"metadata": {"finalizers": ["example.com/theirs", "example.com/mine"]}}, "finalizers"),
            (
                {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "b"}]}},
                "owners",
            ),
        ],
        ids=str,
    )  # fmt: skip
    async def test_nothing_else(self, operator: Kube, environment: str, body: Raw, words: str) -> None:
        with pytest.raises(ApiError, match="'gpuenv-operator-environments'") as refused:
            await operator.merge_patch(environment, body)
        assert words in refused.value.message

    async def test_neither_created_nor_deleted(self, operator: Kube, environment: str) -> None:
        for attempt in (
            operator.create(ENVIRONMENTS, builders.environment(unique("mine"))),
            operator.delete(environment),
        ):
            with pytest.raises(ApiError, match="forbidden: User") as refused:
                await attempt
            assert refused.value.status == 403


class TestConfigMaps:
    """Only the immutable ones with the probe's program."""

    async def test_its_own_come_and_go(self, operator: Kube) -> None:
        made = await operator.create(CONFIG_MAPS, probe_files.config_map(b"any", PROBE_NAMESPACE))
        await operator.delete(f"{CONFIG_MAPS}/{made['metadata']['name']}")

    @pytest.mark.parametrize("name", ["kube-root-ca.crt", "gpuenv-probe-", "gpuenv-probe-0123456789x", "x"])
    async def test_no_other_is_created(self, operator: Kube, name: str) -> None:
        with pytest.raises(ApiError) as refused:
            await operator.create(CONFIG_MAPS + DRY, {"metadata": {"name": name}})
        assert "gpuenv-probe-<digest>" in refused.value.message or refused.value.status in (409, 422)

    async def test_no_other_is_deleted(self, operator: Kube, policed: ControlPlane, config_map: str) -> None:
        root = f"{CONFIG_MAPS}/kube-root-ca.crt"
        wait_until(lambda: policed.admin.get(CONFIG_MAPS)["items"])
        for path in (config_map, root):
            with pytest.raises(ApiError, match="'gpuenv-operator-configmaps'"):
                await operator.delete(path)


class TestEvents:
    """Only about its own kinds, in its own name."""

    async def test_its_own(self, operator: Kube) -> None:
        for kind in (names.ENVIRONMENT_KIND, names.REPORT_KIND):
            about = {"apiVersion": names.API_VERSION, "kind": kind, "name": "a", "uid": "u"}
            made = await operator.create(EVENTS, event(involvedObject=about))
            after = await operator.merge_patch(f"{EVENTS}/{made['metadata']['name']}", {"count": 2})
            assert after["count"] == 2

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"reportingComponent": "kubelet"}, "only in its own name"),
            ({"source": {"component": "kubelet"}}, "only in its own name"),
            (FOREIGN_EVENT, "only about its own kinds"),
            ({"involvedObject": {"apiVersion": "v1", "kind": "GPUEnvironment", "name": "n"}}, "its own kinds"),
            ({"message": "x" * 5000}, "4096 bytes"),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    async def test_no_others(self, operator: Kube, changes: Raw, words: str) -> None:
        with pytest.raises(ApiError, match="'gpuenv-operator-events'") as refused:
            await operator.create(EVENTS, event(**changes))
        assert words in refused.value.message

    async def test_nobody_elses_is_changed(self, operator: Kube, policed: ControlPlane) -> None:
        body = event(reportingComponent="kubelet", source={"component": "kubelet"}, **FOREIGN_EVENT)
        theirs = f"{EVENTS}/{policed.admin.create(EVENTS, body)['metadata']['name']}"
        own = {"reportingComponent": OPERATOR, "source": {"component": OPERATOR}}
        for patch in ({"message": "forged"}, own | {"message": "forged"}):
            with pytest.raises(ApiError, match="'gpuenv-operator-events'"):
                await operator.merge_patch(theirs, patch)
        policed.admin.delete(theirs)

    async def test_its_own_does_not_move_to_another_object(self, operator: Kube) -> None:
        made = await operator.create(EVENTS, event())
        with pytest.raises(ApiError, match="its own kinds"):
            await operator.merge_patch(f"{EVENTS}/{made['metadata']['name']}", FOREIGN_EVENT)


class TestLeases:
    """Only its own one."""

    async def test_its_own(self, operator: Kube) -> None:
        body = {"metadata": {"name": OPERATOR}, "spec": {"holderIdentity": "a"}}
        try:
            await operator.create(LEASES + DRY, body)
        except ApiError as error:
            assert error.reason == "AlreadyExists", "another test has left it, and no policy refuses it"

    async def test_no_other(self, operator: Kube) -> None:
        body = {"metadata": {"name": "kube-scheduler"}, "spec": {"holderIdentity": "a"}}
        with pytest.raises(ApiError, match="'gpuenv-operator-leases'") as refused:
            await operator.create(LEASES, body)
        assert "only gpuenv-operator in its own namespace" in refused.value.message


class TestReports:
    """Only the operator's account and administrators write node reports: RBAC alone decides."""

    async def test_somebody_else_writes_none(self, policed: ControlPlane) -> None:
        account = unique("somebody")
        accounts = f"/api/v1/namespaces/{PROBE_NAMESPACE}/serviceaccounts"
        policed.admin.create(accounts, {"metadata": {"name": account}})
        kubeconfig = policed.kubeconfig_for_service_account(PROBE_NAMESPACE, account)
        async with await Kube.from_environment(str(kubeconfig)) as kube:
            with pytest.raises(ApiError) as refused:
                await kube.create(REPORTS, {"metadata": {"name": "a.b"}})
            assert refused.value.status == 403
            with pytest.raises(ApiError) as refused:
                await kube.merge_patch(f"{REPORTS}/a.b/status", {"status": {"verdict": "Compatible"}})
            assert refused.value.status == 403


def test_the_oldest_kubernetes_is_tried_as_well() -> None:
    """Where its programs are missing, this is the one test that says so."""
    if "oldest" not in VERSIONS:
        version = catalogue.OLDEST_KUBERNETES[-1].version
        pytest.skip(f"Kubernetes {version} is not in the cache; make test-oldest-kubernetes builds it once")


def test_the_type_checker_finds_nothing(policed: ControlPlane) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking"""
    items = wait_until(lambda: checked(policed))
    assert len(items) >= 6
    assert [one["status"].get("typeChecking", {}).get("expressionWarnings", []) for one in items] == [
        []
    ] * len(items)


def checked(cluster: ControlPlane) -> list[Raw]:
    """All policies, once each of them is checked."""
    items: list[Raw] = cluster.admin.get(f"{VAP}/validatingadmissionpolicies")["items"]
    done = [one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"] for one in items]
    return items if all(done) else []
