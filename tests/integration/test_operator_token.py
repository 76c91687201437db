"""What the operator's token can do and what it cannot, tried against the real API server with exactly its rights.

RBAC and the policies decide together. tests/integration/test_admission_policy.py has the rows about nodes, and
tests/integration/test_probe_pod_policy.py those about probe pods.
"""

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from tests.support import actions, builders
from tests.support.cluster import Kubectl
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
from gpuenv.controller.write.writes import report_body
from gpuenv.plan.actions import PostEvent
from gpuenv_sandbox.control_plane.admin_client import ApiError as AdminError
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


def about(**changes: str) -> Raw:
    """The reference of an Event to an environment."""
    kind = {"apiVersion": names.API_VERSION, "kind": names.ENVIRONMENT_KIND}
    return kind | {"name": "a", "uid": "u"} | changes


def bulky_entry(version: str) -> Raw:
    """Return an entry of managedFields about fields that the object does not have."""
    fields: Raw = {f"f:{number:080}": {} for number in range(2000)}
    kind = {"manager": OPERATOR, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1"}
    return kind | {"time": "2020-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": fields}}}


METADATA = {"labels", "annotations", "finalizers", "ownerReferences", "managedFields"}


def with_changes(body: Raw, changes: Raw) -> Raw:
    """Return an object with other fields, of which those of METADATA are in its metadata. None removes a field.

    As the value of managedFields, True is a large entry.
    """
    if "managedFields" in changes:
        changes = {"managedFields": [bulky_entry(body["apiVersion"])]}
    metadata = body["metadata"] | {key: value for key, value in changes.items() if key in METADATA}
    rest = {key: value for key, value in changes.items() if key not in METADATA}
    whole = body | {"metadata": metadata} | rest
    return {key: value for key, value in whole.items() if value is not None}


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

    async def test_managed_fields_of_others_stay(
        self, operator: Kube, policed: ControlPlane, environment: str
    ) -> None:
        before = policed.admin.get(environment)["metadata"]["managedFields"]
        attempts: list[list[Raw]] = [[{}], [*before, bulky_entry(names.API_VERSION)]]
        for fields in attempts:
            with pytest.raises(ApiError, match="managedFields"):
                await operator.merge_patch(environment, {"metadata": {"managedFields": fields}})
        assert policed.admin.get(environment)["metadata"]["managedFields"] == before

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

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"immutable": None}, "immutable"),
            ({"data": {"a": "b"}}, "only gpuenv-probe.pyz"),
            ({"binaryData": {"other": "YQ=="}}, "only gpuenv-probe.pyz"),
            ({"binaryData": {names.PROBE_ARCHIVE: "YWFh" * 200_000}}, "of at most 384 KiB"),
            ({"annotations": {"a": "x" * 200_000}}, "4096 bytes of labels and annotations"),
            ({"managedFields": True}, "4096 bytes of labels and annotations"),
            ({"finalizers": ["example.com/keep"]}, "no finalizers"),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    async def test_its_own_are_small(self, operator: Kube, changes: Raw, words: str) -> None:
        body = probe_files.config_map(b"any", PROBE_NAMESPACE)
        with pytest.raises(ApiError, match="'gpuenv-operator-configmaps'") as refused:
            await operator.create(CONFIG_MAPS + DRY, with_changes(body, changes))
        assert words in refused.value.message

    def test_they_are_few(self, policed: ControlPlane) -> None:
        quotas = f"/api/v1/namespaces/{PROBE_NAMESPACE}/resourcequotas"
        quota = wait_until(lambda: policed.admin.get(f"{quotas}/gpuenv-configmaps")["status"].get("hard"))
        assert quota == {"count/configmaps": "20"}
        made = []
        try:
            with pytest.raises(AdminError, match="exceeded quota: gpuenv-configmaps"):
                for number in range(21):
                    body = probe_files.config_map(f"{number}".encode(), PROBE_NAMESPACE)
                    made.append(policed.admin.create(CONFIG_MAPS, body)["metadata"]["name"])
        finally:
            for name in made:
                policed.admin.delete(f"{CONFIG_MAPS}/{name}")


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
            ({"type": "Alarm"}, "type Normal or Warning"),
            ({"reason": "x" * 254}, "a reason of at most 253 bytes"),
            ({"reportingInstance": "x" * 254}, "253 bytes"),
            ({"involvedObject": about(name="x" * 5000)}, "253 bytes"),
            ({"involvedObject": about(fieldPath="x" * 5000)}, "none of action"),
            ({"action": "x"}, "none of action"),
            ({"source": {"component": OPERATOR, "host": "x" * 5000}}, "none of action"),
            ({"related": {"kind": "Node", "name": "x" * 5000}}, "none of action"),
            ({"annotations": {"a": "x" * 200_000}}, "4096 bytes of labels and annotations"),
            ({"labels": {f"a{number}": "" for number in range(1000)}}, "4096 bytes of labels and annotations"),
            ({"managedFields": True}, "4096 bytes of labels and annotations"),
            ({"finalizers": ["example.com/keep"]}, "no finalizers"),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    async def test_no_others(self, operator: Kube, changes: Raw, words: str) -> None:
        with pytest.raises(ApiError, match="'gpuenv-operator-events'") as refused:
            await operator.create(EVENTS, with_changes(event(), changes))
        assert words in refused.value.message

    async def test_its_own_does_not_grow(self, operator: Kube) -> None:
        made = await operator.create(EVENTS, event())
        with pytest.raises(ApiError, match="4096 bytes of labels and annotations"):
            await operator.merge_patch(
                f"{EVENTS}/{made['metadata']['name']}", {"metadata": {"annotations": {"a": "x" * 5000}}}
            )

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
    """Only the operator's account and administrators write node reports, and the operator's are small."""

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

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"annotations": {"a": "x" * 250_000}}, "4096 bytes of labels and annotations"),
            ({"labels": {f"a{number}": "" for number in range(1000)}}, "4096 bytes of labels and annotations"),
            ({"managedFields": True}, "4096 bytes of labels and annotations"),
            ({"finalizers": ["example.com/keep"]}, "no finalizers"),
            ({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "b"}]}, "The owner"),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    async def test_those_of_the_operator_are_small(self, operator: Kube, changes: Raw, words: str) -> None:
        body = report_body(actions.write("e", "n1"))
        await operator.create(REPORTS + DRY, body)
        with pytest.raises(ApiError, match="'gpuenv-operator-reports'") as refused:
            await operator.create(REPORTS + DRY, with_changes(body, changes))
        assert words in refused.value.message

    async def test_a_status_changes_no_metadata(self, operator: Kube, policed: ControlPlane) -> None:
        """The API server drops this, so that no policy has to."""
        body = {
            "metadata": {"name": "e.n9"},
            "spec": {"environmentName": "e", "nodeName": "n9", "nodeUID": "1"},
        }
        await operator.create(REPORTS, body | {"apiVersion": names.API_VERSION, "kind": names.REPORT_KIND})
        changes = {
            "annotations": {"a": "b"},
            "finalizers": ["example.com/keep"],
            "managedFields": [bulky_entry(names.API_VERSION)],
        }
        after = await operator.merge_patch(f"{REPORTS}/e.n9/status", {"metadata": changes})
        assert "annotations" not in after["metadata"]
        assert "finalizers" not in after["metadata"]
        assert len(str(after["metadata"]["managedFields"])) < 5000
        await operator.delete(f"{REPORTS}/e.n9")


OTHER_OWNER = {"apiVersion": names.API_VERSION, "kind": names.ENVIRONMENT_KIND, "name": "gone", "uid": "gone"}


@pytest.fixture(scope="module")
def kubectl(policed: ControlPlane) -> Iterator[Kubectl]:
    """kubectl for the users ``author`` and ``administrator``, which are bound to the roles of these names."""
    kubectl = Kubectl(policed)
    roles = {"author": "gpuenv-author", "administrator": "cluster-admin"}
    for user, role in roles.items():
        kubectl("create", "clusterrolebinding", f"test-{user}", f"--clusterrole={role}", f"--user={user}")
    for user in roles:
        may = ("auth", "can-i", "patch", "gpunodereports.gpuenv.dev", f"--as={user}")
        wait_until(partial(succeeds, kubectl, *may))
    yield kubectl
    kubectl("delete", "clusterrolebinding", *(f"test-{user}" for user in roles))


class TestReportsAndPeople:
    """Authors of environments may patch node reports, because they ask for new runs with an annotation."""

    @pytest.fixture
    def report(self, policed: ControlPlane) -> Iterator[str]:
        name = names.report_name(unique("people"), "n1")
        spec = {"environmentName": name.partition(".")[0], "nodeName": "n1", "nodeUID": "1"}
        kind = {"apiVersion": names.API_VERSION, "kind": names.REPORT_KIND}
        metadata = {"name": name, "labels": {"theirs": "1"}, "annotations": {"theirs": "1"}}
        policed.admin.create(REPORTS, {**kind, "metadata": metadata, "spec": spec})
        yield name
        policed.admin.merge(f"{REPORTS}/{name}", {"metadata": {"finalizers": None}})
        policed.admin.delete(f"{REPORTS}/{name}")

    @pytest.mark.parametrize("value", ["2026-01-01", None], ids=["asked", "taken back"])
    def test_authors_ask_for_a_new_run(self, kubectl: Kubectl, report: str, value: str | None) -> None:
        for one in ("1", value):
            patch_report(kubectl, "author", report, {"annotations": {names.ANNOTATION_REVALIDATE: one}})

    @pytest.mark.parametrize(
        "metadata",
        [
            {"ownerReferences": [OTHER_OWNER]},
            {"finalizers": ["example.com/keep"]},
            {"labels": {"theirs": None}},
            {"labels": {names.LABEL_ENVIRONMENT: "another"}},
            {"annotations": {"theirs": None}},
            {"annotations": {"another": "1"}},
            {"annotations": {names.ANNOTATION_REVALIDATE: "x" * 4097}},
            {"managedFields": [bulky_entry(names.API_VERSION)]},
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_authors_change_nothing_else(self, kubectl: Kubectl, report: str, metadata: Raw) -> None:
        """With another owner the garbage collector deletes a report, and with a finalizer it is never deleted."""
        with pytest.raises(AssertionError, match="ValidatingAdmissionPolicy 'gpuenv-reports'"):
            patch_report(kubectl, "author", report, metadata)

    def test_administrators_change_everything(self, kubectl: Kubectl, report: str) -> None:
        for user in ("administrator", None):
            for finalizers in (["example.com/keep"], None):
                patch_report(kubectl, user, report, {"finalizers": finalizers, "labels": {"theirs": "2"}})


def succeeds(kubectl: Kubectl, *command: str) -> bool:
    return kubectl.run(*command).returncode == 0


def patch_report(kubectl: Kubectl, user: str | None, report: str, metadata: Raw) -> None:
    """Patch a node report as a user, or as the administrator of the test cluster. Fails with the API server's words."""
    body = json.dumps({"metadata": metadata})
    who = [f"--as={user}"] if user else []
    kubectl("patch", "gpunodereport", report, "--type=merge", "--patch-file=/dev/stdin", *who, stdin=body)


def test_the_oldest_kubernetes_is_tried_as_well() -> None:
    """Where its programs are missing, this is the one test that says so."""
    if "oldest" not in VERSIONS:
        version = catalogue.OLDEST_KUBERNETES[-1].version
        pytest.skip(f"Kubernetes {version} is not in the cache; make test-oldest-kubernetes builds it once")


def test_the_type_checker_finds_nothing(policed: ControlPlane) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking"""
    items = wait_until(lambda: checked(policed))
    assert len(items) >= 9
    assert [one["status"].get("typeChecking", {}).get("expressionWarnings", []) for one in items] == [
        []
    ] * len(items)


def checked(cluster: ControlPlane) -> list[Raw]:
    """All policies, once each of them is checked."""
    items: list[Raw] = cluster.admin.get(f"{VAP}/validatingadmissionpolicies")["items"]
    done = [one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"] for one in items]
    return items if all(done) else []
