"""A fake API server in memory, at the level of the operator's Kubernetes client.

It has the properties of a real one on which a controller relies: uids, resource versions and generations, preconditions,
status subresources, finalizers, graceful deletion of pods, selectors and watches. It validates nothing but the statuses
of gpuenv's own kinds. ``tests/integration/test_fake_kube.py`` compares it with a real one.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from tests.support import stored_status

from gpuenv.api import names
from gpuenv.controller.kube import sending
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.requests import JSON, METADATA_LIST
from gpuenv.plan.objects.times import show_time

Raw = dict[str, Any]
Hook = Callable[[str, str, Any], None]
Watcher = Callable[[str, str, Raw], None]


class FakeKube:
    """Stands in for ``gpuenv.controller.kube.client.Kube``.

    ``objects`` maps paths to objects, which are replaced by every change and never altered. ``calls`` lists method and
    path of each request. ``hooks`` are called with method, path and body before a request is carried out; they may
    raise an ApiError, let time pass, or change objects. ``watchers`` are called with the type of an event, the path of
    a collection and the object.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.objects: dict[str, Raw] = {}
        self.accepted: list[str] = []
        """The media type that each request for a list has asked for."""
        self.calls: list[tuple[str, str]] = []
        self.hooks: list[Hook] = []
        self.watchers: list[Watcher] = []
        self.allowed: Callable[[Raw], bool] = lambda attributes: True
        """Answers whether a permission is granted."""
        self.answers: dict[str, Any] = {}
        """Answers to requests for paths that are no objects."""
        self.down: ApiError | None = None
        """The answer to every request while the API server is out of order."""
        self.refusals = 0
        """How many requests ``down``, ``fail`` or a hook has refused."""
        self._clock = clock
        self._version = 0
        self._uids: set[str] = set()

    # ---- for tests -----------------------------------------------------------------------------------------

    def add(self, collection: str, raw: Raw) -> Raw:
        """Store an object as it is, in place of one of the same name, and return a copy.

        It gets a uid and a generation unless it has them.
        """
        raw = _as_stored(raw)
        metadata = raw["metadata"]
        path = f"{collection}/{metadata['name']}"
        if "uid" not in metadata:
            before = self.objects.get(path)
            metadata["uid"] = before["metadata"]["uid"] if before else self._new_uid(metadata["name"])
        self._uids.add(metadata["uid"])
        metadata.setdefault("generation", 1)
        return self._store(path, raw)

    def touch(self, path: str, change: Callable[[Raw], object]) -> Raw:
        """Let ``change`` alter a copy of an object, store it, and return another copy."""
        raw = _copy(self.objects[path])
        change(raw)
        return self._store(path, raw)

    def remove(self, path: str) -> Raw:
        """Make an object disappear, whatever still holds it, and return its last state."""
        raw = _copy(self.objects.pop(path))
        self._stamp(raw)
        self._tell("DELETED", path, raw)
        return raw

    def terminate(self, path: str) -> Raw:
        """Delete an object as a request would, and return its state afterwards.

        It stays while it has finalizers. A pod that runs stays too, as it does until its kubelet has ended it: tests
        call ``remove``.
        """
        raw = _copy(self._find(path))
        metadata = raw["metadata"]
        stays = bool(metadata.get("finalizers")) or _runs(raw)
        if "deletionTimestamp" not in metadata:
            seconds = (raw.get("spec") or {}).get("terminationGracePeriodSeconds", 0) if _runs(raw) else 0
            metadata["deletionTimestamp"] = show_time(self._clock() + seconds)
            metadata["deletionGracePeriodSeconds"] = seconds
            if stays:
                return self._store(path, raw)
        if stays:
            return raw
        self.objects[path] = raw
        return self.remove(path)

    def fail(self, method: str, pattern: str, status: int, reason: str = "", message: str = "") -> None:
        """Refuse the next request whose method and path match."""
        error = ApiError(status, reason or f"HTTP{status}", message)

        def once(asked: str, path: str, body: Any) -> None:
            if asked == method and re.search(pattern, path):
                self.hooks.remove(once)
                raise error

        self.hooks.append(once)

    def deny(
        self,
        method: str,
        pattern: str,
        status: int,
        reason: str = "",
        message: str = "",
        *,
        when: Callable[[Any], bool] = lambda body: True,
    ) -> Callable[[], None]:
        """Refuse all requests whose method, path and body match, until the returned function is called."""

        def policy(asked: str, path: str, body: Any) -> None:
            if asked == method and re.search(pattern, path) and when(body):
                raise ApiError(status, reason or f"HTTP{status}", message)

        self.hooks.append(policy)
        return lambda: self.hooks.remove(policy)

    def writes(self) -> list[tuple[str, str]]:
        """Return method and path of each request that wanted to change something."""
        return [call for call in self.calls if call[0] != "GET"]

    # ---- the client's methods ------------------------------------------------------------------------------

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, accept: str = "") -> Any:
        """Return an object, or the prepared answer for this path."""
        self._begin("GET", path)
        return _copy(self.answers[path] if path in self.answers else self._find(path))

    async def ask(self, path: str, body: Raw) -> Any:
        """Return the answer to an access review."""
        self._begin("ASK", path, body)
        return {"status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}}

    async def pages(
        self, path: str, params: Mapping[str, str] | None = None, limit: int = 500, *, accept: str = JSON
    ) -> AsyncIterator[Raw]:
        """Yield the pages of a list, at least one, of whole objects or of their metadata."""
        self._begin("GET", path)
        items = [
            _copy({"metadata": one["metadata"]} if accept == METADATA_LIST else one)
            for key, one in self.objects.items()
            if _collection(key) == path and is_selected(one, params or {})
        ]
        self.accepted.append(accept)
        for start in range(0, max(len(items), 1), limit):
            if start:
                self._begin("GET", path)
            yield {"items": items[start : start + limit], "metadata": {}}

    async def create(self, path: str, body: Raw) -> Any:
        """Create an object. The status of our own kinds and of pods is the API server's, not the client's."""
        self._begin("POST", path, body)
        if path.endswith("?dryRun=All"):
            return _copy(body)
        raw = _as_stored(body)
        metadata = raw["metadata"]
        key = f"{path}/{metadata['name']}"
        if key in self.objects:
            going = self.objects[key]["metadata"].get("deletionTimestamp")
            words = "object is being deleted: already exists" if going else "already exists"
            raise ApiError(409, "AlreadyExists", f"{key} {words}")
        if path.endswith("/pods"):
            raw["status"] = {"phase": "Pending"}
        elif names.API_VERSION in path:
            raw.pop("status", None)
            schema = stored_status.schema_of(path.rpartition("/")[2])
            raw |= {"status": schema["default"]} if "default" in schema else {}
        metadata["uid"] = self._new_uid(metadata["name"])
        metadata |= {"generation": 1, "creationTimestamp": show_time(self._clock())}
        return self._store(key, raw)

    async def merge_patch(self, path: str, body: Raw) -> Any:
        """Apply a merge patch."""
        return self._patch(path, body, body, lambda raw: _merge(raw, body))

    async def strategic_patch(self, path: str, body: Raw) -> Any:
        """Apply a strategic merge patch of a node's conditions, which are merged by their type."""

        def change(raw: Raw) -> None:
            current = raw.setdefault("status", {}).setdefault("conditions", [])
            for condition in body["status"]["conditions"]:
                kept = [one for one in current if one["type"] != condition["type"]]
                old = next((one for one in current if one["type"] == condition["type"]), {})
                current[:] = kept if condition.get("$patch") == "delete" else [*kept, old | condition]

        return self._patch(path, body, body, change)

    async def json_patch(self, path: str, operations: list[Raw]) -> Any:
        """Apply a JSON patch (RFC 6902) whose operations are ``test``, ``add`` and ``remove`` of fields of objects."""
        sent: Raw = {}

        def change(raw: Raw) -> None:
            for operation in operations:
                _apply(raw, operation)
            sent.update(uid=raw["metadata"]["uid"], resourceVersion=raw["metadata"]["resourceVersion"])

        return self._patch(path, operations, {"metadata": sent}, change)

    async def delete(self, path: str, *, uid: str | None = None, grace: int | None = None) -> Any:
        """Delete an object, with its uid as a precondition."""
        self._begin("DELETE", path)
        if uid is not None and self._find(path)["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        return self.terminate(path)

    delete_if_there: Any = Kube.delete_if_there

    async def delete_collection(self, path: str, selector: str, *, limit: int) -> Any:
        """Delete up to ``limit`` of the objects that match a label selector."""
        self._begin("DELETE", path)
        query = {"labelSelector": selector}
        found = [
            key for key, one in self.objects.items() if _collection(key) == path and is_selected(one, query)
        ]
        for key in found[:limit]:
            self.terminate(key)
        return {}

    # ---- how -----------------------------------------------------------------------------------------------

    def _begin(self, method: str, path: str, body: Any = None) -> None:
        """Note a request, and refuse it if its time box is over or a test says so."""
        sending.check_time_box(f"{method} {path}")
        self.calls.append((method, path))
        try:
            if self.down is not None:
                raise self.down
            for hook in list(self.hooks):
                hook(method, path, body)
        except ApiError:
            self.refusals += 1
            raise

    def _find(self, path: str) -> Raw:
        """Return the stored object itself. Raises ApiError."""
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return self.objects[path]

    def _patch(self, path: str, sent: Any, wanted: Raw, change: Callable[[Raw], None]) -> Raw:
        """Apply a change to an object or to its status, which one request never changes together."""
        self._begin("PATCH", path, sent)
        target = path.removesuffix("/status")
        before = self._find(target)
        raw = _copy(before)
        change(raw)
        _check_preconditions(before["metadata"], wanted.get("metadata") or {})
        if target != path and names.API_VERSION in path:
            kind = _collection(target).rpartition("/")[2]
            raw["status"] = stored_status.stored(kind, raw.get("status", {}))
        body_of, status_of = (raw, before) if target == path else (before, raw)
        raw = {key: value for key, value in body_of.items() if key != "status"}
        if "status" in status_of:
            raw["status"] = status_of["status"]
        raw = _as_stored(raw)
        if raw == before:
            return raw
        stored = self._store(target, raw)
        if stored["metadata"].get("deletionTimestamp") and not stored["metadata"].get("finalizers"):
            return self.terminate(target)
        return stored

    def _store(self, path: str, raw: Raw) -> Raw:
        """Store an object as the next version, tell the watchers, and return a copy."""
        before = self.objects.get(path)
        if before is not None and before.get("spec") != raw.get("spec"):
            raw["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        self._stamp(raw)
        self.objects[path] = raw
        self._tell("ADDED" if before is None else "MODIFIED", path, raw)
        return _copy(raw)

    def _stamp(self, raw: Raw) -> None:
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)

    def _tell(self, type_: str, path: str, raw: Raw) -> None:
        for watcher in self.watchers:
            watcher(type_, _collection(path), raw)

    def _new_uid(self, name: str) -> str:
        """Return a uid that no object has had before."""
        uid, number = f"uid-{name}", 1
        while uid in self._uids:
            number += 1
            uid = f"uid-{name}-{number}"
        self._uids.add(uid)
        return uid


def is_selected(raw: Raw, params: Mapping[str, str]) -> bool:
    """Return whether an object matches the selectors of a list: labels that exist or have a value, and a name."""
    labels = raw["metadata"].get("labels") or {}
    for requirement in filter(None, params.get("labelSelector", "").split(",")):
        key, equals, value = requirement.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    field = params.get("fieldSelector", "")
    return not field or field == f"metadata.name={raw['metadata']['name']}"


def _collection(path: str) -> str:
    return path.rpartition("/")[0]


def _runs(raw: Raw) -> bool:
    return raw.get("kind") == "Pod" and (raw.get("status") or {}).get("phase") == "Running"


def _check_preconditions(metadata: Raw, wanted: Raw) -> None:
    """Raise ApiError if a patch is about another object of that name, or about an earlier version."""
    if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
        raise ApiError(422, "Invalid", "metadata.uid: field is immutable")
    if wanted.get("resourceVersion", metadata["resourceVersion"]) != metadata["resourceVersion"]:
        raise ApiError(409, "Conflict", "the object has been modified")


def _merge(target: Raw, patch: Mapping[str, Any]) -> None:
    """Apply a merge patch (RFC 7386): None deletes a key, and a list replaces the whole list."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _apply(raw: Raw, operation: Raw) -> None:
    """Apply one operation of a JSON patch. A field that is absent equals null, as for the API server."""
    *parents, key = [
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].strip("/").split("/")
    ]
    refused = ApiError(422, "Invalid", "the server rejected our request due to an error in our request")
    for parent in parents:
        if not isinstance(raw.get(parent), dict):
            raise refused
        raw = raw[parent]
    match operation["op"]:
        case "test":
            if raw.get(key) != operation["value"]:
                raise refused
        case "add":
            raw[key] = operation["value"]
        case "remove":
            if key not in raw:
                raise refused
            del raw[key]
        case other:
            raise AssertionError(f"{other} is no operation of this fake")


def _copy(raw: Any) -> Any:
    return json.loads(json.dumps(raw))


def _as_stored(raw: Raw) -> Raw:
    """Return a copy as it comes back from a real API server, which writes 12.0 as 12."""
    return json.loads(json.dumps(raw), parse_float=_as_go_writes)  # type: ignore[no-any-return]  # JSON has no types


def _as_go_writes(text: str) -> float | int:
    return int(float(text)) if float(text).is_integer() else float(text)
