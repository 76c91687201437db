"""The operator's account may change nothing of a node but its own labels and conditions, and only few of them.

tests/integration/test_operator_token.py has the rows about other kinds of objects.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.unique import unique

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

CONDITION = {"type": "compat.gpuenv.dev/pytorch-2-9", "status": "True", "reason": "Test", "message": ""}
READY = {"type": "Ready", "status": "True", "reason": "Test", "message": ""}


@pytest.fixture(params=[OPERATOR, "gpuenv"], ids=["operator", "uninstall"])
async def operator(policed: ControlPlane, request: pytest.FixtureRequest) -> AsyncIterator[Kube]:
    """The client of the operator or of ``gpuenv uninstall``, which differ in their agent, with the operator's rights."""
    kubeconfig = policed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    async with await Kube.from_environment(str(kubeconfig), agent=request.param) as kube:
        yield kube


@pytest.fixture
def admin(policed: ControlPlane) -> RestClient:
    return policed.admin


@pytest.fixture
def node(admin: RestClient) -> Iterator[str]:
    """A node as kubelets, operators and people leave it."""
    name = unique("policy")
    admin.create(
        "/api/v1/nodes",
        {
            "metadata": {
                "name": name,
                "labels": {
                    "theirs": "1",
                    "gpuenv.dev/skip": "true",
                    "compat.gpuenv.dev/old": "Compatible",
                    "compat.gpuenv.dev/odd": "x",
                },
                "annotations": {"theirs": "1"},
                "finalizers": ["example.com/theirs"],
            },
            "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}], "podCIDR": "10.1.0.0/24"},
        },
    )
    quantities = {"cpu": "8", "nvidia.com/gpu": "8"}
    images = [{"names": [f"registry.example.com/image-{number}:1"], "sizeBytes": 1} for number in range(50)]
    status = {"capacity": quantities, "allocatable": quantities, "conditions": [READY], "images": images}
    admin.merge(f"/api/v1/nodes/{name}/status", {"status": status})
    yield name
    admin.merge(f"/api/v1/nodes/{name}", {"metadata": {"finalizers": None}})
    admin.delete(f"/api/v1/nodes/{name}")


ALLOWED = {
    "a new label": {"labels": {"compat.gpuenv.dev/pytorch-2-9": "Incompatible"}},
    "another verdict": {"labels": {"compat.gpuenv.dev/old": "Unknown"}},
    "no label": {"labels": {"compat.gpuenv.dev/old": None}},
    "an odd label removed": {"labels": {"compat.gpuenv.dev/odd": None}},
}


@pytest.mark.parametrize("metadata", ALLOWED.values(), ids=ALLOWED.keys())
async def test_its_own_labels(operator: Kube, node: str, metadata: dict[str, Any]) -> None:
    after = await operator.merge_patch(f"/api/v1/nodes/{node}", {"metadata": metadata})
    for key, value in metadata["labels"].items():
        assert after["metadata"]["labels"].get(key) == value


REMOVED = {"type": CONDITION["type"], "$patch": "delete"}


@pytest.mark.parametrize("change", [CONDITION, CONDITION | {"status": "False"}, REMOVED], ids=str)
async def test_its_own_condition(
    operator: Kube, admin: RestClient, node: str, change: dict[str, str]
) -> None:
    path = f"/api/v1/nodes/{node}/status"
    admin.merge(path, {"status": {"conditions": [CONDITION, READY]}})
    after = await operator.strategic_patch(path, {"status": {"conditions": [change]}})
    statuses = {one["type"]: one["status"] for one in after["status"]["conditions"]}
    assert statuses.get(CONDITION["type"]) == change.get("status")
    assert statuses["Ready"] == "True"


REFUSED = {
    "a foreign label": ({"metadata": {"labels": {"theirs": "2"}}}, "compat.gpuenv.dev/<environment>"),
    "a new foreign label": ({"metadata": {"labels": {"nvidia.com/gpu.present": "true"}}}, "labels"),
    "a foreign label removed": ({"metadata": {"labels": {"theirs": None}}}, "labels"),
    "a label that is no verdict": ({"metadata": {"labels": {"compat.gpuenv.dev/a": "Fine"}}}, "only to a verdict"),
    "the label skip, which people set": ({"metadata": {"labels": {"gpuenv.dev/skip": "false"}}}, "labels"),
    "the label skip removed": ({"metadata": {"labels": {"gpuenv.dev/skip": None}}}, "labels"),
    "an annotation": ({"metadata": {"annotations": {"gpuenv.dev/revalidate": "1"}}}, "no annotations"),
    "an annotation removed": ({"metadata": {"annotations": {"theirs": None}}}, "no annotations"),
    "a finalizer": ({"metadata": {"finalizers": ["gpuenv.dev/cleanup"]}}, "finalizers"),
    "no finalizers": ({"metadata": {"finalizers": None}}, "finalizers"),
    "an owner": (
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "b"}]}},
        "owners",
    ),
    "a taint": ({"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}}, "taints"),
    "no taints": ({"spec": {"taints": None}}, "taints"),
    "cordoned": ({"spec": {"unschedulable": True}}, "spec"),
}  # fmt: skip
REFUSED_STATUS = {
    "readiness": ({"status": {"conditions": [READY | {"status": "False"}]}}, "conditions"),
    "a foreign condition": ({"status": {"conditions": [READY | {"type": "Mine"}]}}, "conditions"),
    "a condition removed": ({"status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}}, "conditions"),
    "capacity": ({"status": {"capacity": {"nvidia.com/gpu": "0"}}}, "nothing but its own condition"),
    "allocatable": ({"status": {"allocatable": {"nvidia.com/gpu": "9"}}}, "nothing but its own condition"),
    "address": ({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}, "its own condition"),
    "images": ({"status": {"images": []}}, "its own condition"),
    "a label by way of the status": ({"metadata": {"labels": {"theirs": "2"}}}, "labels"),
    "an annotation by way of the status": ({"metadata": {"annotations": {"a": "b"}}}, "no annotations"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_nothing_else_of_the_node(operator: Kube, node: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy 'gpuenv-operator'") as caught:
        await operator.merge_patch(f"/api/v1/nodes/{node}", body)
    assert words in caught.value.message


@pytest.mark.parametrize(("body", "words"), REFUSED_STATUS.values(), ids=REFUSED_STATUS.keys())
async def test_nothing_else_of_the_status(
    operator: Kube, node: str, body: dict[str, Any], words: str
) -> None:
    merge = "images" in body.get("status", {})  # a strategic patch of a list adds to it
    send = operator.merge_patch if merge else operator.strategic_patch
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy 'gpuenv-operator'") as caught:
        await send(f"/api/v1/nodes/{node}/status", body)
    assert words in caught.value.message


def test_nobody_else_is_concerned(policed: ControlPlane, node: str) -> None:
    kubectl = Kubectl(policed)
    kubectl("label", "node", node, "theirs=2", "compat.gpuenv.dev/a=anything", "--overwrite")
    kubectl("annotate", "node", node, "theirs=2", "--overwrite")
    kubectl("cordon", node)


def many(count: int, start: int = 0) -> dict[str, str]:
    return {f"compat.gpuenv.dev/{number}": "Unknown" for number in range(start, start + count)}


async def test_at_most_256_labels(operator: Kube, admin: RestClient, node: str) -> None:
    path = f"/api/v1/nodes/{node}"
    await operator.merge_patch(path, {"metadata": {"labels": many(254)}})
    with pytest.raises(ApiError, match="at most 256 labels"):
        await operator.merge_patch(path, {"metadata": {"labels": many(1, 254)}})
    admin.merge(path, {"metadata": {"labels": many(50, 254)}})
    await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/0": None}}})
    await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/1": "Degraded"}}})


def conditions(count: int, message: str = "m" * 1024) -> dict[str, Any]:
    return {
        "status": {"conditions": [condition(f"compat.gpuenv.dev/{one}", message) for one in range(count)]}
    }


def condition(kind: str, message: str = "", reason: str = "Test") -> dict[str, str]:
    return {"type": kind, "status": "False", "reason": reason, "message": message}


async def test_at_most_256_conditions(operator: Kube, node: str) -> None:
    """All of them are far from what etcd can store, and the policy can still judge such a node."""
    path = f"/api/v1/nodes/{node}/status"
    await operator.strategic_patch(path, conditions(256))
    await operator.strategic_patch(path, conditions(256, "n" * 1024))
    with pytest.raises(ApiError, match="at most 256 conditions"):
        await operator.strategic_patch(path, {"status": {"conditions": [condition("compat.gpuenv.dev/x")]}})


@pytest.mark.parametrize(
    "changed",
    [
        condition("compat.gpuenv.dev/x", "m" * 1025),
        condition("compat.gpuenv.dev/x", "\N{ROBOT FACE}" * 257),
        condition("compat.gpuenv.dev/x", reason="R" * 129),
        condition("compat.gpuenv.dev/" + "x" * 111),
    ],
    ids=["message", "message in bytes", "reason", "type"],
)
async def test_no_long_texts_in_a_condition(operator: Kube, node: str, changed: dict[str, str]) -> None:
    with pytest.raises(ApiError, match="128 bytes of type and of reason, and 1024 of message"):
        await operator.strategic_patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [changed]}})


class TestManagedFields:
    """Who owns which field decides what server-side apply keeps and removes, so nobody's entry may be lost."""

    @pytest.mark.parametrize(
        "fields",
        [
            [{}],
            [],
            [{"manager": "mine", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}],
            [
                {
                    "manager": "kubelet",
                    "operation": "Apply",
                    "apiVersion": "v1",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}},
                }
            ],
        ],
        ids=["reset", "emptied", "emptied by another", "forged"],
    )  # fmt: skip
    @pytest.mark.parametrize("where", ["", "/status"])
    async def test_they_are_not_wiped(
        self, operator: Kube, admin: RestClient, node: str, fields: list[dict[str, Any]], where: str
    ) -> None:
        before = managers(admin, node)
        answer = operator.merge_patch(f"/api/v1/nodes/{node}{where}", {"metadata": {"managedFields": fields}})
        if where:  # the API server drops this from a change of the status
            await answer
        else:
            with pytest.raises(ApiError, match="managedFields"):
                await answer
        assert managers(admin, node) == before

    async def test_nobody_is_impersonated(self, operator: Kube, node: str) -> None:
        label = {"metadata": {"labels": {"compat.gpuenv.dev/a": "Unknown"}}}
        with pytest.raises(ApiError, match="managedFields"):
            await operator.merge_patch(f"/api/v1/nodes/{node}?fieldManager=kubelet", label)

    async def test_a_label_that_people_have_set_is_taken_over(
        self, operator: Kube, policed: ControlPlane, node: str
    ) -> None:
        """Their entry has nothing else, so the API server removes it."""
        Kubectl(policed)("label", "node", node, "compat.gpuenv.dev/a=anything")
        after = await operator.merge_patch(
            f"/api/v1/nodes/{node}", {"metadata": {"labels": {"compat.gpuenv.dev/a": "Unknown"}}}
        )
        assert "kubectl-label" not in {one["manager"] for one in after["metadata"]["managedFields"]}

    async def test_the_entries_of_many_managers_may_be_merged(
        self, operator: Kube, admin: RestClient, node: str
    ) -> None:
        path = f"/api/v1/nodes/{node}"
        crowd(admin, node)
        after = await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/a": "Unknown"}}})
        assert "ancient-changes" in {one["manager"] for one in after["metadata"]["managedFields"]}
        await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/b": "Unknown"}}})

    @pytest.mark.parametrize(
        "kept",
        [
            lambda fields: [{}],
            lambda fields: fields[3:],
            lambda fields: [one for one in fields if one["manager"] != "manager-8"],
            # Ten entries again, and one that claims to have what was merged.
            lambda fields: [
                *(one for one in fields if one["manager"] not in ("manager-7", "manager-8", "ancient-changes")),
                entry("ancient-changes"),
                entry("gpuenv-operator", subresource="status"),
            ],
        ],
        ids=["all", "three", "one", "the newest as merged"],
    )  # fmt: skip
    async def test_a_full_list_is_not_wiped(
        self,
        operator: Kube,
        admin: RestClient,
        node: str,
        kept: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    ) -> None:
        path = f"/api/v1/nodes/{node}"
        crowd(admin, node)
        await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/a": "Unknown"}}})
        before = managers(admin, node)
        with pytest.raises(ApiError, match="managedFields"):
            await write_fields(operator, admin, path, kept)
        assert managers(admin, node) == before

    @pytest.mark.parametrize(
        "added",
        [
            [{"subresource": f"s{number}"} for number in range(5)],
            [{"operation": "Apply"}],
            [{"labels": 4000}],
        ],
        ids=["invented subresources", "another operation", "fields that nobody has"],
    )
    async def test_its_own_entries_are_few_and_small(
        self, operator: Kube, admin: RestClient, node: str, added: list[dict[str, Any]]
    ) -> None:
        """They count towards the size of a node, which a kubelet must still be able to store."""
        path = f"/api/v1/nodes/{node}"
        own = [entry("gpuenv-operator", **one) for one in added]
        with pytest.raises(ApiError, match="managedFields"):
            await write_fields(operator, admin, path, lambda fields: [*fields, *own])

    async def test_entries_of_others_do_not_grow(self, operator: Kube, admin: RestClient, node: str) -> None:
        """Somebody who has set a label of gpuenv has an entry that may change, but only to less."""
        path = f"/api/v1/nodes/{node}"
        admin.merge(f"{path}?fieldManager=person", {"metadata": {"labels": {"compat.gpuenv.dev/a": "x"}}})
        larger = entry("person", labels=4000)
        with pytest.raises(ApiError, match="managedFields"):
            await write_fields(
                operator,
                admin,
                path,
                lambda fields: [larger if one["manager"] == "person" else one for one in fields],
            )

    async def test_an_entry_with_more_than_a_label_of_gpuenv_stays(
        self, operator: Kube, admin: RestClient, node: str
    ) -> None:
        path = f"/api/v1/nodes/{node}"
        labels = {"compat.gpuenv.dev/a": "x", "theirs": "2"}
        admin.merge(f"{path}?fieldManager=person", {"metadata": {"labels": labels}})
        with pytest.raises(ApiError, match="managedFields"):
            await write_fields(
                operator, admin, path, lambda fields: [one for one in fields if one["manager"] != "person"]
            )
        after = await operator.merge_patch(path, {"metadata": {"labels": {"compat.gpuenv.dev/a": "Unknown"}}})
        assert "person" in {one["manager"] for one in after["metadata"]["managedFields"]}


async def write_fields(
    operator: Kube, admin: RestClient, path: str, change: Callable[[list[dict[str, Any]]], Any]
) -> None:
    """Change a node's managedFields, again while controllers of Kubernetes write to it at the same time."""
    for _ in range(50):
        now = admin.get(path)["metadata"]
        body = {"managedFields": change(now["managedFields"]), "resourceVersion": now["resourceVersion"]}
        try:
            await operator.merge_patch(path, {"metadata": body})
        except ApiError as error:
            if error.status != 409:
                raise
        else:
            return


def entry(manager: str, labels: int = 1, **changes: str) -> dict[str, Any]:
    """Return an entry of managedFields, for this many labels of gpuenv."""
    fields: dict[str, Any] = {f"f:compat.gpuenv.dev/{number:060}": {} for number in range(labels)}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "time": "2020-01-01T00:00:00Z",
        "fieldsV1": {"f:metadata": {"f:labels": fields}},
    } | changes


def crowd(admin: RestClient, node: str) -> None:
    """Give a node as many managers as the API server keeps entries for."""
    for number in range(9):
        body = {"metadata": {"annotations": {f"example.com/{number}": "1"}}}
        admin.merge(f"/api/v1/nodes/{node}?fieldManager=manager-{number}", body)


def managers(admin: RestClient, node: str) -> set[tuple[str, str, str]]:
    """Return whose entries a node's managedFields has: manager, operation and subresource of each.

    The controllers of Kubernetes are left out, and so is what an entry says: they take over fields of a new node at any
    time.
    """
    entries = admin.get(f"/api/v1/nodes/{node}")["metadata"]["managedFields"]
    found = {(one["manager"], one["operation"], one.get("subresource", "")) for one in entries}
    return {one for one in found if one[0] != "kube-controller-manager"}
