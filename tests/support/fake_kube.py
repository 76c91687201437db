"""A stand-in for the operator's Kubernetes client: an API server's behaviour in memory, with failures on
demand.

It keeps what matters to a controller: uids, resource versions, uid preconditions, immutable uids, status
subresources, finalizers, label and name selectors, and 409 on creating twice. It validates nothing.
"""

import copy
import itertools
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from gpuenv.controller.kube.client import ApiError, Kube

Raw = dict[str, Any]


class FakeKube:
    """Drop-in for ``gpuenv.controller.kube.client.Kube``.

    ``calls`` lists (method, path) of everything that was asked.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Raw] = {}
        self.calls: list[tuple[str, str]] = []
        self.allowed: Callable[[Raw], bool] = lambda attributes: True
        self.answers: dict[str, Any] = {}
        self._numbers = itertools.count(1)
        self._failures: deque[tuple[str, str, ApiError]] = deque()
        self.down: ApiError | None = None

    # ---- for tests -------------------------------------------------------------------------------------

    def add(self, collection: str, raw: Raw) -> Raw:
        """Puts an object in as the API server would store it; returns a copy."""
        raw = copy.deepcopy(raw)
        name = raw["metadata"]["name"]
        raw["metadata"].setdefault("uid", f"uid-{name}")
        raw["metadata"].setdefault("generation", 1)
        self._stamp(raw)
        self.objects[f"{collection}/{name}"] = raw
        return copy.deepcopy(raw)

    def touch(self, path: str, change: Callable[[Raw], None]) -> Raw:
        """Changes an object behind the operator's back."""
        change(self.objects[path])
        self._stamp(self.objects[path])
        return copy.deepcopy(self.objects[path])

    def fail(self, method: str, pattern: str, status: int, reason: str = "", message: str = "") -> None:
        """The next request that matches fails so."""
        self._failures.append((method, pattern, ApiError(status, reason or f"HTTP{status}", message)))

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    # ---- as Kube -----------------------------------------------------------------------------------------

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        self._begin("GET", path)
        if path in self.answers:
            return copy.deepcopy(self.answers[path])
        return copy.deepcopy(self._find(path))

    async def ask(self, path: str, body: Raw) -> Any:
        self._begin("ASK", path)
        return {"status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}}

    async def pages(
        self, path: str, params: Mapping[str, str] | None = None, limit: int = 500
    ) -> AsyncIterator[Raw]:
        items = [
            copy.deepcopy(one)
            for key, one in self.objects.items()
            if key.rpartition("/")[0] == path and _selected(one, params or {})
        ]
        for start in range(0, max(len(items), 1), limit):
            self._begin("GET", path)
            yield {"items": items[start : start + limit], "metadata": {}}

    async def create(self, path: str, body: Raw) -> Any:
        self._begin("POST", path)
        if path.endswith("?dryRun=All"):
            return copy.deepcopy(body)
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            gone = self.objects[key]["metadata"].get("deletionTimestamp")
            words = "object is being deleted: already exists" if gone else "already exists"
            raise ApiError(409, "AlreadyExists", f"{key} {words}")
        return self.add(path, body)

    async def merge_patch(self, path: str, body: Raw) -> Any:
        return self._patch(path, lambda raw: _merge(raw, body), body)

    async def strategic_patch(self, path: str, body: Raw) -> Any:
        def change(raw: Raw) -> None:
            current = raw.setdefault("status", {}).setdefault("conditions", [])
            for condition in body["status"]["conditions"]:
                kept = [one for one in current if one["type"] != condition["type"]]
                old = next((one for one in current if one["type"] == condition["type"]), {})
                current[:] = kept if condition.get("$patch") == "delete" else [*kept, old | condition]

        return self._patch(path, change, body)

    async def json_patch(self, path: str, operations: list[Raw]) -> Any:
        def change(raw: Raw) -> None:
            for operation in operations:
                first, *rest = operation["path"].strip("/").split("/")
                if operation["op"] == "test":
                    if raw[first][rest[0]] != operation["value"]:
                        raise ApiError(422, "Invalid", "the server rejected our request")
                else:
                    assert not rest
                    raw[first] = copy.deepcopy(operation["value"])

        return self._patch(path, change, {})

    async def delete(self, path: str, *, uid: str | None = None, grace: int | None = None) -> Any:
        self._begin("DELETE", path)
        raw = self._find(path)
        if uid is not None and raw["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        if raw["metadata"].get("finalizers"):
            raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self._stamp(raw)
            return copy.deepcopy(raw)
        return self.objects.pop(path)

    delete_if_there: Any = Kube.delete_if_there

    async def delete_collection(self, path: str, selector: str, *, limit: int) -> Any:
        self._begin("DELETE", path)
        for key, one in list(self.objects.items()):
            if limit and key.rpartition("/")[0] == path and _selected(one, {"labelSelector": selector}):
                del self.objects[key]
                limit -= 1
        return {}

    # ---- how ---------------------------------------------------------------------------------------------

    def _begin(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        if self.down is not None:
            raise self.down
        for failure in self._failures:
            if failure[0] == method and re.search(failure[1], path):
                self._failures.remove(failure)
                raise failure[2]

    def _find(self, path: str) -> Raw:
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return self.objects[path]

    def _patch(self, path: str, change: Callable[[Raw], None], body: Raw) -> Raw:
        self._begin("PATCH", path)
        path = path.removesuffix("/status")
        raw = copy.deepcopy(self._find(path))
        metadata = raw["metadata"]
        wanted = body.get("metadata") or {}
        if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
            raise ApiError(422, "Invalid", "metadata.uid: field is immutable")
        if wanted.get("resourceVersion", metadata["resourceVersion"]) != metadata["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        change(raw)
        self._stamp(raw)
        if metadata.get("deletionTimestamp") and not raw["metadata"].get("finalizers"):
            return self.objects.pop(path) and raw
        self.objects[path] = raw
        return copy.deepcopy(raw)

    def _stamp(self, raw: Raw) -> None:
        raw["metadata"]["resourceVersion"] = str(next(self._numbers))


def _merge(target: Raw, patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = copy.deepcopy(value)


def _selected(raw: Raw, params: Mapping[str, str]) -> bool:
    labels = raw["metadata"].get("labels") or {}
    for requirement in filter(None, params.get("labelSelector", "").split(",")):
        key, equals, value = requirement.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    field = params.get("fieldSelector", "")
    return not field or field == f"metadata.name={raw['metadata']['name']}"
