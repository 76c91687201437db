"""The operator's account may change nothing of a node but its own labels and conditions."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller.kube.client import ApiError, Kube
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

CONDITION = {"type": "compat.gpuenv.dev/pytorch-2-9", "status": "True", "reason": "Test", "message": ""}
READY = {"type": "Ready", "status": "True", "reason": "Test", "message": ""}


@pytest.fixture(scope="module")
def kubeconfig(installed: ControlPlane) -> str:
    """The operator's, once roles and policy are in force."""
    config = installed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    account = Kubectl(installed, config)
    name = unique("policy")
    installed.admin.create("/api/v1/nodes", {"metadata": {"name": name}})

    def in_force() -> bool:
        result = account.run("annotate", "node", name, f"{unique('a')}=1")
        return "ValidatingAdmissionPolicy" in result.stderr

    wait_until(in_force)
    installed.admin.delete(f"/api/v1/nodes/{name}")
    return str(config)


@pytest.fixture
async def operator(kubeconfig: str) -> AsyncIterator[Kube]:
    """The operator's own client, with the operator's rights."""
    async with await Kube.from_environment(kubeconfig) as kube:
        yield kube


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


def test_nobody_else_is_concerned(kubectl: Kubectl, kubeconfig: str, node: str) -> None:
    kubectl("label", "node", node, "theirs=2", "compat.gpuenv.dev/a=anything", "--overwrite")
    kubectl("annotate", "node", node, "theirs=2", "--overwrite")
    kubectl("cordon", node)
