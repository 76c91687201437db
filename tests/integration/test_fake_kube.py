"""The fake API server of the unit tests answers as the real one does: each test here runs against both."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.unique import unique

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS

STATUS = {"observedGeneration": 1}


@pytest.fixture(params=["fake", "real"])
async def kube(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """The client of a fake and of a real API server."""
    if request.param == "fake":
        yield FakeKube()
        return
    installed = request.getfixturevalue("installed")
    async with await Kube.from_environment(str(installed.admin_kubeconfig)) as client:
        yield client


@pytest.fixture
async def environment(kube: Any) -> AsyncIterator[str]:
    """The path of an environment that exists."""
    raw = builders.environment(unique("e"))
    path = f"{ENVIRONMENTS}/{raw['metadata']['name']}"
    await kube.create(ENVIRONMENTS, raw | {"status": STATUS})
    yield path
    await kube.delete_if_there(path)


async def refusal(request: Any) -> tuple[int, str]:
    """Return status and reason of the refusal of a request."""
    with pytest.raises(ApiError) as caught:
        await request
    return caught.value.status, caught.value.reason


async def test_a_new_object_has_a_uid_a_version_a_time_and_the_status_of_the_schema(
    kube: Any, environment: str
) -> None:
    raw = await kube.get(environment)
    assert raw["metadata"]["uid"]
    assert int(raw["metadata"]["resourceVersion"]) > 0
    assert raw["metadata"]["generation"] == 1
    assert raw["metadata"]["creationTimestamp"].endswith("Z")
    assert raw["status"]["observedGeneration"] == -1
    (ready,) = raw["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "Pending")


async def test_status_and_the_rest_are_changed_by_requests_of_their_own(kube: Any, environment: str) -> None:
    both = [
        {"op": "add", "path": "/status", "value": STATUS},
        {"op": "add", "path": "/spec", "value": {"image": "a/b:1"}},
    ]
    raw = await kube.json_patch(f"{environment}/status", both)
    assert (raw["status"], raw["spec"]["image"]) == (STATUS, builders.IMAGE)
    assert raw["metadata"]["generation"] == 1
    raw = await kube.merge_patch(environment, {"spec": {"image": "a/b:1"}, "status": None})
    assert (raw["status"], raw["spec"]["image"]) == (STATUS, "a/b:1")
    assert raw["metadata"]["generation"] == 2


READY = {
    "type": "Ready",
    "status": "True",
    "reason": "x",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def problem(**fields: Any) -> dict[str, Any]:
    return {"problems": [{"reason": "x"} | fields]}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        # Characters count, not bytes.
        (problem(reason="\U0001f600" * 256), "stored"),
        (problem(reason="\U0001f600" * 257), 422),
        (problem(verdict="Compatible"), "stored"),
        (problem(verdict="compatible"), 422),
        (problem(reason=None), 422),
        ({"problems": [{"message": "no reason"}]}, 422),
        ({"problems": [{"reason": "x"}] * 50}, "stored"),
        ({"problems": [{"reason": "x"}] * 51}, 422),
        (problem(nodeCount=2**31 - 1), "stored"),
        (problem(nodeCount=2**31), 422),
        (problem(nodeCount="1"), 422),
        ({"observedGeneration": -(2**63)}, "stored"),
        ({"observedGeneration": 2**63}, 422),
        (problem(remedies=[{"action": "Wait", "message": "x"}]), "stored"),
        (problem(remedies=[{"action": "wait", "message": "x"}]), 422),
        (problem(remedies=[{"action": "Wait\n", "message": "x"}]), 422),
        ({"conditions": [READY]}, "stored"),
        ({"conditions": [READY, READY]}, 422),
        ({"conditions": [READY | {"reason": ""}]}, 422),
        ({"conditions": [READY | {"observedGeneration": -1}]}, 422),
        ({"conditions": [READY | {"lastTransitionTime": "yesterday"}]}, 422),
        ({"conditions": [READY | {"lastTransitionTime": "2026-02-30T00:00:00Z"}]}, 422),
        ({"internal": {"a": [1, "x", {"b": -(2**63)}]}, "placement": {"avoid": {"x": [[]]}}}, "stored"),
        ({"internal": {"x": "y" * 1_600_000}}, 500),
        ({"internal": {"x": "y" * 3_200_000}}, 413),
        ([], 422),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_a_status_is_validated(kube: Any, environment: str, status: Any, answer: int | str) -> None:
    write = kube.json_patch(f"{environment}/status", [{"op": "add", "path": "/status", "value": status}])
    if answer == "stored":
        assert (await write)["status"] == status
    else:
        assert (await refusal(write))[0] == answer


async def test_unknown_fields_of_a_status_are_dropped(kube: Any, environment: str) -> None:
    given = {"unknown": 1, "problems": [{"reason": "x", "unknown": {}}], "internal": {"x": {"kept": 12.0}}}
    raw = await kube.json_patch(f"{environment}/status", [{"op": "add", "path": "/status", "value": given}])
    assert raw["status"] == {"problems": [{"reason": "x"}], "internal": {"x": {"kept": 12}}}


async def test_a_patch_that_changes_nothing_makes_no_new_version(kube: Any, environment: str) -> None:
    first = await kube.merge_patch(environment, {"metadata": {"labels": {"a": "b"}}})
    second = await kube.merge_patch(environment, {"metadata": {"labels": {"a": "b"}}})
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = await kube.merge_patch(environment, {"metadata": {"labels": {"a": None, "c": "d"}}})
    assert third["metadata"]["labels"] == {"c": "d"}
    assert int(third["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_preconditions_that_do_not_hold(kube: Any, environment: str) -> None:
    same = {"op": "test", "path": "/metadata/uid", "value": "another"}
    assert (await refusal(kube.json_patch(f"{environment}/status", [same])))[0] == 422
    body: dict[str, Any] = {"metadata": {"uid": "another", "labels": {"a": "b"}}}
    assert (await refusal(kube.merge_patch(environment, body)))[0] in {409, 422}
    version = (await kube.get(environment))["metadata"]["resourceVersion"]
    body = {"metadata": {"resourceVersion": version, "labels": {"a": "b"}}}
    await kube.merge_patch(environment, body)
    body["metadata"]["labels"] = {"a": "c"}
    assert await refusal(kube.merge_patch(environment, body)) == (409, "Conflict")
    assert await refusal(kube.delete(environment, uid="another")) == (409, "Conflict")
    assert await refusal(kube.get(f"{environment}x")) == (404, "NotFound")
    assert await refusal(kube.merge_patch(f"{environment}x", {})) == (404, "NotFound")
    assert await refusal(kube.delete(f"{environment}x")) == (404, "NotFound")


async def test_a_json_patch_changes_only_the_version_and_the_label_that_it_names(
    kube: Any, environment: str
) -> None:
    path = "/metadata/labels/a.b~1c"
    bare = await kube.get(environment)
    absent = {"op": "test", "path": path, "value": None}
    add = {"op": "add", "path": path, "value": "1"}
    assert "labels" not in bare["metadata"]
    assert (await refusal(kube.json_patch(environment, [absent, add])))[0] == 422
    await kube.merge_patch(environment, {"metadata": {"labels": {"x": "y"}}})
    raw = await kube.json_patch(environment, [absent, add])
    assert raw["metadata"]["labels"] == {"a.b/c": "1", "x": "y"}
    assert (await refusal(kube.json_patch(environment, [absent, add])))[0] == 422
    remove = [{"op": "test", "path": path, "value": "1"}, {"op": "remove", "path": path}]
    assert (await kube.json_patch(environment, remove))["metadata"]["labels"] == {"x": "y"}
    assert (await refusal(kube.json_patch(environment, remove)))[0] == 422
    status = {"op": "add", "path": "/status", "value": {"observedGeneration": 1}}
    version = {"op": "add", "path": "/metadata/resourceVersion", "value": raw["metadata"]["resourceVersion"]}
    assert await refusal(kube.json_patch(f"{environment}/status", [version, status])) == (409, "Conflict")
    version["value"] = (await kube.get(environment))["metadata"]["resourceVersion"]
    stored = await kube.json_patch(f"{environment}/status", [version, status])
    assert stored["status"]["observedGeneration"] == 1


async def test_a_finalizer_keeps_an_object(kube: Any, environment: str) -> None:
    name = environment.rpartition("/")[2]
    first = await kube.merge_patch(environment, {"metadata": {"finalizers": [names.FINALIZER]}})
    await kube.delete(environment, uid=first["metadata"]["uid"])
    assert (await kube.get(environment))["metadata"]["deletionTimestamp"]
    assert await refusal(kube.create(ENVIRONMENTS, builders.environment(name))) == (409, "AlreadyExists")
    await kube.merge_patch(environment, {"metadata": {"finalizers": []}})
    assert await refusal(kube.get(environment)) == (404, "NotFound")
    second = await kube.create(ENVIRONMENTS, builders.environment(name))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_conditions_of_a_node_are_merged_by_their_type(kube: Any) -> None:
    name = unique("n")
    path = f"{NODES}/{name}"
    await kube.create(NODES, builders.node(name))
    for one in (
        {"type": "a", "status": "True"},
        {"type": "b", "status": "True"},
        {"type": "a", "status": "False"},
    ):
        raw = await kube.strategic_patch(f"{path}/status", {"status": {"conditions": [one]}})
    found = {one["type"]: one["status"] for one in raw["status"]["conditions"]}
    assert (found["a"], found["b"], found["Ready"]) == ("False", "True", "True")
    gone = {"type": "a", "$patch": "delete"}
    raw = await kube.strategic_patch(f"{path}/status", {"status": {"conditions": [gone]}})
    assert "a" not in {one["type"] for one in raw["status"]["conditions"]}
    await kube.delete(path)


async def test_a_pod_goes_at_once_unless_it_runs(kube: Any, request: pytest.FixtureRequest) -> None:
    namespace = "ns" if isinstance(kube, FakeKube) else request.getfixturevalue("namespace")
    pods, node = f"/api/v1/namespaces/{namespace}/pods", unique("n")
    await kube.create(NODES, builders.node(node))
    for number, fields in enumerate(({}, {"nodeName": node})):
        spec = {"containers": [{"name": "c", "image": "a/b:1"}], "terminationGracePeriodSeconds": 5} | fields
        raw = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec}
        raw["status"] = {"phase": "Failed"}
        assert (await kube.create(pods, raw))["status"]["phase"] == "Pending"
    deleted = await kube.delete(f"{pods}/p0")
    assert (deleted["kind"], deleted["metadata"]["name"]) == ("Pod", "p0")
    assert await refusal(kube.get(f"{pods}/p0")) == (404, "NotFound")
    runs = [{"op": "add", "path": "/status", "value": {"phase": "Running"}}]
    before = await kube.json_patch(f"{pods}/p1/status", runs)
    deleted = await kube.delete(f"{pods}/p1", uid=before["metadata"]["uid"])
    assert deleted["metadata"]["deletionTimestamp"]
    assert (await kube.get(f"{pods}/p1"))["metadata"]["uid"] == before["metadata"]["uid"]
    await kube.delete(f"{NODES}/{node}")


async def test_lists_and_deletions_of_many_go_by_label(kube: Any) -> None:
    environment, found = unique("e"), []
    for number in range(5):
        await kube.create(REPORTS, builders.report(environment, f"n{number}"))
    query = {"labelSelector": f"{names.LABEL_ENVIRONMENT}={environment}"}
    async for page in kube.pages(REPORTS, query, limit=2):
        assert len(page["items"]) <= 2
        found += [one["spec"]["nodeName"] for one in page["items"]]
    assert sorted(found) == ["n0", "n1", "n2", "n3", "n4"]
    name = {"fieldSelector": f"metadata.name={names.report_name(environment, 'n3')}"}
    assert [len(page["items"]) async for page in kube.pages(REPORTS, name)] == [1]
    await kube.delete_collection(REPORTS, query["labelSelector"], limit=3)
    assert sum([len(page["items"]) async for page in kube.pages(REPORTS, query)]) == 2
    await kube.delete_collection(REPORTS, query["labelSelector"], limit=3)
    assert [page["items"] async for page in kube.pages(REPORTS, query)] == [[]]
