"""Carries out single actions of a plan, with a few requests each, and puts the responses into the cache.

The executor, which calls these methods, decides about the order of actions, back-off and limits.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.controller.cache import Cache, Version
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KindName, Scope
from gpuenv.controller.write.preconditions import LabelChange, in_version, replace_status, same_uid
from gpuenv.controller.write.rejection import is_rejection
from gpuenv.plan.actions import (
    AddFinalizer,
    CreatePod,
    DeletePod,
    LookAtPod,
    MarkLeaving,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.objects.node_report import LEFT_SINCE
from gpuenv.plan.objects.records import pod_record
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.run.rejected_pod import rejected

CONFLICTS: Final = frozenset({404, 409, 422})
"""Status codes of a failed write that may mean that its object is gone, or was replaced by another of that name.

A policy that refuses the write may answer with the same codes, so another request has to find out the cause.
"""


MAX_FINALIZERS: Final = 100
"""How many characters of the names of an object's finalizers a message quotes."""
ATTEMPTS: Final = 3
"""How many times a node's condition is written if others change the node at the same time."""


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

    async def present(self, kind: KindName, name: str, uid: str = "") -> dict[str, Any] | None:
        """Read the object with this name and this uid from the API server, and return it, or None if it is gone.

        Without ``uid``, any object of this name is returned.
        The cache is updated, but only if it had the object: it lacks those that the selector of the watch does not match.
        """
        if self.cache.version(kind, name) is not None:
            raw = await self.live(kind, name)
        else:
            try:
                raw = await self.kube.get(self.scope.item(kind, name))
            except ApiError as error:
                if error.status != 404:
                    raise
                raw = None
        return raw if raw is not None and uid in {"", raw["metadata"]["uid"]} else None

    async def _found_after(
        self, error: ApiError, kind: KindName, name: str, uid: str = ""
    ) -> dict[str, Any] | None:
        """Return the object as it is after a write of it has failed, or None if it is gone or was replaced.

        Raises ``error`` if that does not call for another look, or if the object cannot be read now.
        """
        if error.status not in CONFLICTS and not error.is_ambiguous:
            raise error
        try:
            return await self.present(kind, name, uid)
        except ApiError:
            raise error from None

    async def create_pod(self, action: CreatePod) -> None:
        """Create a probe pod. If the API server rejects it, the cache records that, for the next plan."""
        name = action.manifest["metadata"]["name"]
        try:
            raw = await self.kube.create(self.scope.pods, action.manifest)
        except ApiError as error:
            # A pod of this name is ours, because its name contains the run id. If it is being deleted, the next plan
            # waits. The API server may have created it although the answer was lost.
            if error.status == 409 or error.is_ambiguous:
                try:
                    found = await self.live("pods", name)
                except ApiError:
                    self.expect(action)  # a later plan reads the pod
                    raise error from None
                if found is not None or error.status == 409:
                    return
            self.cache.unexpect_pod(name)
            if not is_rejection(error):
                raise
            self.refused(action, error)
            return
        self.cache.put("pods", raw)

    def expect(self, action: CreatePod) -> None:
        """Let the pod count as one that exists, because its creation was sent and has no answer yet."""
        self.cache.expect_pod(replace(pod_record(action.manifest), created_at=self.clock()))

    def refused(self, action: CreatePod, error: ApiError) -> None:
        """Record in the cache that the API server rejected a pod. The next plan writes it into the node report."""
        key = (action.environment, action.node)
        self.cache.rejections[key] = rejected(action, error.message, self.clock())
        self.cache.changed()

    async def delete_pod(self, action: DeletePod) -> None:
        """Delete a probe pod. A pod that is already gone causes no error.

        A pod without a uid is read first, because nobody knows yet whether it exists.
        """
        if not action.uid:
            await self.live("pods", action.name)
            return
        try:
            raw = await self.kube.delete(self.scope.item("pods", action.name), uid=action.uid)
        except ApiError as error:
            found = await self._found_after(error, "pods", action.name, action.uid)
            if found is not None and not found["metadata"].get("deletionTimestamp"):
                raise
            return
        if isinstance(raw, dict) and raw.get("kind") == "Pod":
            self.cache.put("pods", raw)

    async def look_at_pod(self, action: LookAtPod) -> None:
        """Read a probe pod, so that the next plan need not rely on the watch."""
        if await self.live("pods", action.name) is not None:
            self.cache.confirm_pod(action.name)

    async def write_report(self, action: WriteReport) -> None:
        """Write the whole status of a node report, and create the node report first if it does not exist."""
        key = (action.environment, action.node)
        before = self.cache.reports.get(key)
        if not action.exists:
            await self._create_report(action)
        known = self.cache.version("reports", action.name)
        self.cache.wrote_report(
            key, await self._write_status("reports", action.name, known, action.status), before
        )

    async def _write_status(
        self, kind: KindName, name: str, known: Version | None, status: dict[str, Any]
    ) -> dict[str, Any]:
        """Replace the whole status of an object in the version ``known``, and return the object as stored."""
        if known is None:
            raise StaleError(f"{kind} {name} is gone")
        path = self.scope.item(kind, name) + "/status"
        try:
            raw: dict[str, Any] = await self.kube.json_patch(
                path, [*in_version(known), replace_status(status)]
            )
        except ApiError as error:
            found = await self._found_after(error, kind, name, known.uid)
            if found is None:
                raise StaleError(f"{kind} {name} is gone or was replaced") from error
            if found.get("status") == status:
                return found  # this request has stored it, but its answer was lost
            if Version.of(found) == known:
                raise
            raise StaleError(f"{kind} {name} changed meanwhile") from error
        return raw

    async def _create_report(self, action: WriteReport) -> None:
        try:
            raw = await self.kube.create(self.scope.path("reports"), report_body(action))
        except ApiError as error:
            if error.reason != "AlreadyExists" and not error.is_ambiguous:
                raise
            raw = await self._found_after(error, "reports", action.name)
            if raw is None and error.is_ambiguous:
                raise
            if raw is None:
                raise StaleError(f"report {action.name} is gone") from error
            self.cache.put("reports", raw)
            if (raw.get("spec") or {}).get("nodeUID") != action.node_uid:
                # The node report is about an earlier node of that name.
                self._refuse_to_wait(raw)
                await self.kube.delete(
                    self.scope.item("reports", action.name), uid=str(raw["metadata"]["uid"])
                )
                raise StaleError(f"report {action.name} was about an earlier node of that name") from error
            return
        self.cache.put("reports", raw)

    def _refuse_to_wait(self, raw: Mapping[str, Any]) -> None:
        """Raise ApiError if a node report that has to be replaced was deleted already, and is kept by finalizers."""
        metadata = raw["metadata"]
        if metadata.get("deletionTimestamp"):
            kept = one_line(", ".join(map(str, metadata.get("finalizers") or ())), MAX_FINALIZERS)
            words = f"the report of an earlier node is kept by the finalizers {kept}; remove them from it"
            raise ApiError(409, "Terminating", words, where=f"gpunodereports/{metadata['name']}")

    async def mark_leaving(self, action: MarkLeaving) -> None:
        """Note in a node report since when its node has been outside the selection."""
        known = self.cache.version("reports", action.name)
        if known is None:
            raise StaleError(f"report {action.name} is gone")
        status = {"internal": {LEFT_SINCE: show_time(action.since)}}
        path = self.scope.item("reports", action.name) + "/status"
        try:
            raw = await self.kube.merge_patch(path, {"metadata": {"uid": known.uid}, "status": status})
        except ApiError as error:
            if await self._found_after(error, "reports", action.name, known.uid) is None:
                raise StaleError(f"report {action.name} is gone or was replaced") from error
            raise
        self.cache.put("reports", raw)

    async def set_label(self, action: SetLabel) -> None:
        """Set the label of one environment on a node. A value of None removes the label.

        The patch changes only this label. With server-side apply, each request would have to repeat the labels of all
        other environments, because the API server would remove those that the request does not contain.
        """
        node, key = self.cache.nodes.get(action.node), names.node_label(action.environment)
        if node is None or node.uid != action.node_uid:
            raise StaleError(f"node {action.node} is gone or was replaced")
        old = node.compat.get(action.environment)
        if old != action.value:
            change = LabelChange({key: old}, {key: action.value})
            await self._change_labels(action.node, node.uid, change, bare=not node.labels)

    async def remove_labels(self, node: str, uid: str, labels: Mapping[str, str]) -> None:
        """Remove labels with these keys and values from a node, whether or not the node selector matches it."""
        await self._change_labels(node, uid, LabelChange(labels, dict.fromkeys(labels)))

    async def _change_labels(self, node: str, uid: str, change: LabelChange, *, bare: bool = False) -> None:
        """Change labels of a node. ``bare``: it has no labels at all, so that a JSON patch would fail."""
        path = self.scope.item("nodes", node)
        body = {"metadata": {"uid": uid, "labels": dict(change.new)}}
        operations = [same_uid(uid), *change.operations()]
        patch = self.kube.merge_patch(path, body) if bare else self.kube.json_patch(path, operations)
        await self._patch_node(node, uid, patch, change)

    async def set_condition(self, action: SetNodeCondition) -> None:
        """Set the condition of one environment on a node. A status of None removes the condition.

        A node that is not in the cache is not changed. If others have changed the node meanwhile, but not this
        condition, the request is repeated.
        """
        kind = names.node_label(action.environment)
        before: tuple[str, str] | None = None
        for attempt in range(ATTEMPTS):
            record = self.cache.nodes.get(action.node)
            if record is None:
                return
            if action.status is None:
                await self.remove_conditions(action.node, record.uid, [kind])
                return
            known = record.compat_conditions.get(action.environment, ("", ""))
            if attempt and known != before:
                break
            before = known
            condition = self._condition(kind, action, since_now=known[0] != action.status)
            try:
                await self._patch_conditions(action.node, record.uid, [condition], in_version=True)
            except ApiError as error:
                if error.status != 409:
                    raise
            else:
                return
        raise StaleError(f"node {action.node} changed meanwhile")

    def _condition(self, kind: str, action: SetNodeCondition, *, since_now: bool) -> dict[str, Any]:
        now = show_time(self.clock())
        condition = {
            "type": kind,
            "status": action.status,
            "reason": action.reason,
            "message": action.message,
            "lastHeartbeatTime": now,
        }
        return condition | {"lastTransitionTime": now} if since_now else condition

    async def remove_conditions(self, node: str, uid: str, kinds: Iterable[str]) -> None:
        """Remove conditions of the types ``kinds`` from a node, whether or not the node selector matches it."""
        await self._patch_conditions(node, uid, [{"type": kind, "$patch": "delete"} for kind in kinds])

    async def _patch_conditions(
        self, node: str, uid: str, conditions: list[dict[str, Any]], *, in_version: bool = False
    ) -> None:
        """Change conditions of a node. With ``in_version``, only if the node is as the cache has it."""
        known = self.cache.version("nodes", node)
        metadata = {"uid": uid}
        if in_version and known is not None and known.number:
            metadata["resourceVersion"] = str(known.number)
        body = {"metadata": metadata, "status": {"conditions": conditions}}
        path = self.scope.item("nodes", node) + "/status"
        await self._patch_node(node, uid, self.kube.strategic_patch(path, body))

    async def _patch_node(
        self, name: str, uid: str, patch: Awaitable[Any], labels: LabelChange | None = None
    ) -> None:
        """Send a patch of a node, which changes ``labels`` if that is given."""
        try:
            raw = await patch
        except ApiError as error:
            # 404: the node is gone. 409: it has changed. 422: another node has that name now, a test has failed, or a
            # policy refuses the change.
            raw = await self._found_after(error, "nodes", name, uid)
            if raw is None:
                raise StaleError(f"node {name} is gone or was replaced") from error
            if labels is None or labels.is_open(raw):
                raise
            if not labels.is_done(raw):  # done: by this request, whose answer was lost
                raise StaleError(f"the labels of node {name} changed meanwhile") from error
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
            if error.status != 409 and await self.present("environments", environment, uid):
                raise
            raise StaleError(f"environment {environment} changed meanwhile") from error
        self.cache.put("environments", raw)

    async def write_status(self, action: WriteStatus) -> None:
        """Replace the whole status of an environment."""
        known = self.cache.version("environments", action.environment)
        if known is not None and known.uid != action.uid:
            raise StaleError(f"environment {action.environment} was replaced")
        raw = await self._write_status("environments", action.environment, known, action.status)
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
