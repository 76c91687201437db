"""Carries out single actions of a plan, with a few requests each, and puts the responses into the cache.

The executor, which calls these methods, decides about the order of actions, back-off and limits.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.controller.cache import Version
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KindName
from gpuenv.controller.write.access import CONFLICTS, StaleError
from gpuenv.controller.write.node_writes import NodeWrites
from gpuenv.controller.write.preconditions import in_version, replace_status
from gpuenv.controller.write.rejection import is_rejection
from gpuenv.plan.actions import (
    AddFinalizer,
    CreatePod,
    DeletePod,
    LookAtPod,
    MarkLeaving,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.objects.node_report import LEFT_SINCE
from gpuenv.plan.objects.records import pod_record
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.run.rejected_pod import rejected

MAX_FINALIZERS: Final = 100
"""How many characters of the names of an object's finalizers a message quotes."""


class Writes(NodeWrites):
    """Carries out the actions of a plan that change one object. Its other methods serve larger removals.

    Each method raises ApiError if the API server refuses a request, and StaleError if the action was planned from an
    outdated state.
    """

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
            found = await self.found_after(error, "pods", action.name, action.uid)
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
            found = await self.found_after(error, kind, name, known.uid)
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
            raw = await self.found_after(error, "reports", action.name)
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
            if await self.found_after(error, "reports", action.name, known.uid) is None:
                raise StaleError(f"report {action.name} is gone or was replaced") from error
            raise
        self.cache.put("reports", raw)

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
