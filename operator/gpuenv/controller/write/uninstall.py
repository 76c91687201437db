"""Taking gpuenv back from a cluster: its labels, conditions, probe pods with their program, and finalizers.

Environments and reports stay.

The chart's pre-delete hook runs this. The operator would write everything again, so it goes first: its Deployment
is scaled to nothing, and its Lease is taken, which nobody else can then hold; it goes last.
"""

import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.client import ApiError, Kube
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, PROBE_SELECTOR, Scope
from gpuenv.controller.lease import Lease
from gpuenv.controller.probe_files import COMPONENT

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 5
"""An object that changes between read and write is read again, so often at most."""
PREFIX: Final = f"{names.COMPAT_PREFIX}/"
FILES_SELECTOR: Final = f"{names.LABEL_COMPONENT}={COMPONENT}"


@dataclass(slots=True)
class Removed:
    """How many objects were cleaned."""

    pods: int = 0
    nodes: int = 0
    finalizers: int = 0

    def __str__(self) -> str:
        return (
            f"{self.pods} probe pods deleted, {self.nodes} nodes and {self.finalizers} environments cleaned"
        )


class Uninstall:
    """Use :meth:`run`."""

    def __init__(self, kube: Kube, scope: Scope, lease_namespace: str, lease_name: str) -> None:
        self._kube = kube
        self._scope = scope
        self._namespace = lease_namespace
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{lease_namespace}/leases"
        self._lease_name = lease_name
        self._lease = Lease(
            kube, lease_namespace, lease_name, f"uninstall_{socket.gethostname()}_{os.getpid()}"
        )

    async def run(self, deployment: str | None = None) -> Removed:
        """Stops the operator (``deployment`` is its name; None: it is stopped already), then cleans.

        Raises ApiError.
        """
        if deployment is not None:
            await self._stop(deployment)
        held = await self._namespace_exists()
        if held:
            await self._lease.acquire()
        removed = Removed()
        async for pod in self._all(self._scope.pods, labelSelector=PROBE_SELECTOR):
            removed.pods += await self._delete(f"{self._scope.pods}/{pod['metadata']['name']}")
        # Running pods keep what they have mounted.
        files = f"/api/v1/namespaces/{self._scope.probe_namespace}/configmaps"
        async for one in self._all(files, labelSelector=FILES_SELECTOR):
            await self._delete(f"{files}/{one['metadata']['name']}")
        async for node in self._all(NODES):
            removed.nodes += await self._clean(f"{NODES}/{node['metadata']['name']}", node)
        async for environment in self._all(ENVIRONMENTS):
            removed.finalizers += await self._release(
                f"{ENVIRONMENTS}/{environment['metadata']['name']}", environment
            )
        if held:
            await self._drop_lease()
        return removed

    async def _stop(self, deployment: str) -> None:
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{deployment}/scale"
        try:
            await self._kube.merge_patch(path, {"spec": {"replicas": 0}})
        except ApiError as error:
            if error.status != 404:
                raise

    async def _namespace_exists(self) -> bool:
        """Where the operator's namespace is gone, so is the operator, and nobody could make a Lease there."""
        try:
            await self._kube.create(
                f"{self._leases}?dryRun=All", {"metadata": {"generateName": "uninstall-"}}
            )
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _drop_lease(self) -> None:
        """Deletes it, as the chart's hook may, or gives it back: a new installation need not wait for its end."""
        try:
            await self._delete(f"{self._leases}/{self._lease_name}")
        except ApiError as error:
            if error.status != 403:
                raise
            await self._lease.release()

    async def _all(self, path: str, **params: str) -> AsyncIterator[dict[str, Any]]:
        try:
            async for page in self._kube.pages(path, params):
                for item in page["items"]:
                    yield item
        except ApiError as error:
            # Somebody has deleted the CustomResourceDefinitions already: then there are none.
            if error.status != 404:
                raise

    async def _delete(self, path: str) -> bool:
        try:
            await self._kube.delete(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def _clean(self, path: str, node: dict[str, Any]) -> bool:
        uid = node["metadata"]["uid"]
        labels = {key: None for key in node["metadata"].get("labels") or {} if key.startswith(PREFIX)}
        conditions = [
            {"type": one["type"], "$patch": "delete"}
            for one in (node.get("status") or {}).get("conditions") or []
            if one["type"].startswith(PREFIX)
        ]
        try:
            if labels:
                await self._kube.merge_patch(path, {"metadata": {"uid": uid, "labels": labels}})
            if conditions:
                body = {"metadata": {"uid": uid}, "status": {"conditions": conditions}}
                await self._kube.strategic_patch(f"{path}/status", body)
        except ApiError as error:
            if error.status not in {404, 409, 422}:
                raise
            # Gone, or another node has that name now: then it carries nothing of ours. Or a policy says no.
            if await self._is_there(path, uid):
                logger.warning("%s keeps what gpuenv has written there: %s", path, error)
            return False
        return bool(labels or conditions)

    async def _is_there(self, path: str, uid: str) -> bool:
        try:
            return str((await self._kube.get(path))["metadata"]["uid"]) == uid
        except ApiError as error:
            if error.status != 404:
                raise
            return False

    async def _release(self, path: str, environment: dict[str, Any]) -> bool:
        for _ in range(ATTEMPTS):
            metadata = environment["metadata"]
            kept = [one for one in metadata.get("finalizers") or [] if one != names.FINALIZER]
            if kept == (metadata.get("finalizers") or []):
                return False
            # The list is replaced whole, hence the version: nobody else's finalizer may get lost.
            version = {"resourceVersion": metadata["resourceVersion"]}
            try:
                await self._kube.merge_patch(path, {"metadata": version | {"finalizers": kept}})
            except ApiError as error:
                if error.status == 404:
                    return False
                if error.status != 409:
                    raise
                environment = await self._kube.get(path)
            else:
                return True
        raise ApiError(409, "Conflict", f"{path} changes faster than it can be written; try again")
