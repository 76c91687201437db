"""Carries out single actions of a plan, with a few requests each, and puts the responses into the cache.

The executor, which calls these methods, decides about the order of actions, back-off and limits.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KindName, Scope
from gpuenv.controller.write.rejection import is_rejection
from gpuenv.plan.actions import (
    AddFinalizer,
    CreatePod,
    DeletePod,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.run.rejected_pod import rejected

CONFLICTS: Final = frozenset({404, 409, 422})
"""Status codes of a failed write that may mean that its object is gone, or was replaced by another of that name.

A policy that refuses the write may answer with the same codes, so another request has to find out the cause.
"""


class StaleError(Exception):
    """An action was planned from an outdated state. It was not carried out, and the cache was updated."""


class Writes:
    """Carries out the actions of a plan that change one object. Its other methods serve larger removals.

    Each method raises ApiError if the API server refuses a request, and StaleError if the action was planned from an
    outdated state.
    """

    def __init__(
        self, kube: Kube, cache: Cache, scope: Scope, clock: Callable[[], float] = time.time
    ) -> None:
        self.kube = kube
        self.cache = cache
        self.scope = scope
        self.clock = clock

    async def live(self, kind: KindName, name: str) -> dict[str, Any] | None:
        """Read an object from the API server, update the cache, and return the object, or None if it is gone."""
        try:
            raw: dict[str, Any] = await self.kube.get(self.scope.item(kind, name))
        except ApiError as error:
            if error.status != 404:
                raise
            self.cache.gone(kind, name)
            return None
        self.cache.put(kind, raw)
        return raw

    async def is_there(self, kind: KindName, name: str, uid: str) -> bool:
        """Ask the API server whether the object with this name and this uid still exists, and return the answer.

        The cache alone cannot answer this: it lacks existing objects that do not match the label selector of the watch.
        """
        if self.cache.version(kind, name) is not None:
            raw = await self.live(kind, name)
            return raw is not None and raw["metadata"]["uid"] == uid
        try:
            return str((await self.kube.get(self.scope.item(kind, name)))["metadata"]["uid"]) == uid
        except ApiError as error:
            if error.status != 404:
                raise
            return False

    async def create_pod(self, action: CreatePod) -> None:
        """Create a probe pod. If the API server rejects it, the cache records that, for the next plan."""
        try:
            raw = await self.kube.create(self.scope.pods, action.manifest)
        except ApiError as error:
            if error.status == 409:
                # The pod is ours, because its name contains the run id. If it is being deleted, the next plan waits.
                await self.live("pods", action.manifest["metadata"]["name"])
                return
            if not is_rejection(error):
                raise
            self.refused(action, error)
            return
        self.cache.put("pods", raw)

    def refused(self, action: CreatePod, error: ApiError) -> None:
        """Record in the cache that the API server rejected a pod. The next plan writes it into the node report."""
        key = (action.environment, action.node)
        self.cache.rejections[key] = rejected(action, error.message, self.clock())
        self.cache.changed()

    async def delete_pod(self, action: DeletePod) -> None:
        """Delete a probe pod. A pod that is already gone causes no error."""
        try:
            raw = await self.kube.delete(self.scope.item("pods", action.name), uid=action.uid)
        except ApiError as error:
            if error.status not in CONFLICTS or await self.is_there("pods", action.name, action.uid):
                raise
            return
        if isinstance(raw, dict) and raw.get("kind") == "Pod":
            self.cache.put("pods", raw)

    async def write_report(self, action: WriteReport) -> None:
        """Write the whole status of a node report, and create the node report first if it does not exist.

        The status is replaced with a JSON patch, because a merge patch would leave keys of the earlier status behind.
        """
        key = (action.environment, action.node)
        before = self.cache.reports.get(key)
        if not action.exists:
            await self._create_report(action)
        path = self.scope.item("reports", action.name) + "/status"
        try:
            raw = await self.kube.json_patch(path, [_replace_status(action.status)])
        except ApiError as error:
            if error.status != 404:
                raise
            self.cache.gone("reports", action.name)
            raise StaleError(f"report {action.name} is gone") from error
        self.cache.wrote_report(key, raw, before)

    async def _create_report(self, action: WriteReport) -> None:
        try:
            raw = await self.kube.create(self.scope.path("reports"), report_body(action))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            raw = await self.live("reports", action.name)
            if raw is not None and (raw.get("spec") or {}).get("nodeUID") != action.node_uid:
                # The node report is about an earlier node of that name.
                await self.kube.delete(
                    self.scope.item("reports", action.name), uid=str(raw["metadata"]["uid"])
                )
                raise StaleError(f"report {action.name} was about an earlier node of that name") from error
            return
        self.cache.put("reports", raw)

    async def set_label(self, action: SetLabel) -> None:
        """Set the label of one environment on a node. A value of None removes the label.

        A merge patch changes only this label. With server-side apply, each request would have to repeat the labels of
        all other environments, because the API server would remove those that the request does not contain.
        """
        labels = {names.node_label(action.environment): action.value}
        await self._patch_labels(action.node, action.node_uid, labels)

    async def remove_labels(self, node: str, uid: str, keys: Iterable[str]) -> None:
        """Remove the labels ``keys`` from a node, whether or not the operator's node selector matches it."""
        await self._patch_labels(node, uid, dict.fromkeys(keys))

    async def _patch_labels(self, node: str, uid: str, labels: dict[str, str | None]) -> None:
        body = {"metadata": {"uid": uid, "labels": labels}}
        await self._patch_node(node, uid, self.kube.merge_patch(self.scope.item("nodes", node), body))

    async def set_condition(self, action: SetNodeCondition) -> None:
        """Set the condition of one environment on a node. A status of None removes the condition.

        A node that is not in the cache is not changed.
        """
        record = self.cache.nodes.get(action.node)
        if record is None:
            return
        kind = names.node_label(action.environment)
        if action.status is None:
            await self.remove_conditions(action.node, record.uid, [kind])
            return
        now = show_time(self.clock())
        condition = {
            "type": kind,
            "status": action.status,
            "reason": action.reason,
            "message": action.message,
            "lastHeartbeatTime": now,
        }
        status, _ = record.compat_conditions.get(action.environment, ("", ""))
        if status != action.status:
            condition["lastTransitionTime"] = now
        await self._patch_conditions(action.node, record.uid, [condition])

    async def remove_conditions(self, node: str, uid: str, kinds: Iterable[str]) -> None:
        """Remove conditions of the types ``kinds`` from a node, whether or not the node selector matches it."""
        await self._patch_conditions(node, uid, [{"type": kind, "$patch": "delete"} for kind in kinds])

    async def _patch_conditions(self, node: str, uid: str, conditions: list[dict[str, str]]) -> None:
        body = {"metadata": {"uid": uid}, "status": {"conditions": conditions}}
        path = self.scope.item("nodes", node) + "/status"
        await self._patch_node(node, uid, self.kube.strategic_patch(path, body))

    async def _patch_node(self, name: str, uid: str, patch: Awaitable[Any]) -> None:
        try:
            raw = await patch
        except ApiError as error:
            # 404: the node is gone. 422 "field is immutable": another node has that name now. But a policy that
            # refuses the change answers 422, too.
            if error.status not in CONFLICTS or await self.is_there("nodes", name, uid):
                raise
            raise StaleError(f"node {name} is gone or was replaced") from error
        # A node outside the operator's node selector must not enter the cache: the planner would include it.
        if name in self.cache.nodes:
            self.cache.put("nodes", raw)

    async def add_finalizer(self, action: AddFinalizer) -> None:
        """Add gpuenv's finalizer to an environment. Raises StaleError if the environment is being deleted."""
        await self._set_finalizer(action.environment, action.uid, present=True)

    async def remove_finalizer(self, environment: str, uid: str) -> None:
        """Remove gpuenv's finalizer from an environment."""
        await self._set_finalizer(environment, uid, present=False)

    async def _set_finalizer(self, environment: str, uid: str, *, present: bool) -> None:
        raw = await self.live("environments", environment)
        metadata = raw["metadata"] if raw is not None else {}
        if metadata.get("uid") != uid or (present and metadata.get("deletionTimestamp")):
            raise StaleError(f"environment {environment} is gone or going")
        others = [one for one in metadata.get("finalizers") or [] if one != names.FINALIZER]
        wanted = [*others, names.FINALIZER] if present else others
        # A merge patch replaces the whole list. With the resource version it fails if another finalizer was added.
        version = {"uid": uid, "resourceVersion": metadata["resourceVersion"]}
        body = {"metadata": version | {"finalizers": wanted}}
        try:
            raw = await self.kube.merge_patch(self.scope.item("environments", environment), body)
        except ApiError as error:
            if error.status not in CONFLICTS:
                raise
            # 409: another client has changed the environment meanwhile.
            if error.status != 409 and await self.is_there("environments", environment, uid):
                raise
            raise StaleError(f"environment {environment} changed meanwhile") from error
        self.cache.put("environments", raw)

    async def write_status(self, action: WriteStatus) -> None:
        """Replace the whole status of an environment."""
        path = self.scope.item("environments", action.environment) + "/status"
        same = {"op": "test", "path": "/metadata/uid", "value": action.uid}
        try:
            raw = await self.kube.json_patch(path, [same, _replace_status(action.status)])
        except ApiError as error:
            if error.status not in CONFLICTS or await self.is_there(
                "environments", action.environment, action.uid
            ):
                raise
            raise StaleError(f"environment {action.environment} is gone or was replaced") from error
        self.cache.put("environments", raw)


def report_body(action: WriteReport) -> dict[str, Any]:
    """Return the manifest of a new node report, without its status.

    The environment is its owner, so that the garbage collector deletes the node report with the environment.
    """
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.ENVIRONMENT_KIND,
        "name": action.environment,
        "uid": action.environment_uid,
        "controller": True,
        # With True, the admission plug-in OwnerReferencesPermissionEnforcement (OpenShift) would ask for rights on the
        # owner's finalizers.
        "blockOwnerDeletion": False,
    }
    labels = {
        names.LABEL_ENVIRONMENT: action.environment,
        names.LABEL_NODE: names.shorten(action.node),
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.REPORT_KIND,
        "metadata": {"name": action.name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "environmentName": action.environment,
            "nodeName": action.node,
            "nodeUID": action.node_uid,
        },
    }


def _replace_status(status: dict[str, Any]) -> dict[str, Any]:
    return {"op": "add", "path": "/status", "value": status}
