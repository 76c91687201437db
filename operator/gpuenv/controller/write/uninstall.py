"""Removes gpuenv's labels, conditions, probe pods, ConfigMaps and finalizers from a cluster.

Environments and node reports are kept. The pre-delete hook of the Helm chart runs this code. A running operator would
write everything again, so it is stopped first: its Deployment is scaled to zero, and its Lease is taken and held until
the end.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller import probe_files
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, PROBE_SELECTOR, Scope
from gpuenv.controller.lease import Lease, new_identity
from gpuenv.controller.write.access import CONFLICTS, StaleError
from gpuenv.controller.write.removal import Removal
from gpuenv.controller.write.writes import Writes

logger = logging.getLogger(__name__)

PREFIX: Final = f"{names.COMPAT_PREFIX}/"
"""The names of the labels and conditions that gpuenv sets on nodes, and no other names, begin with this prefix."""


@dataclass(slots=True)
class Removed:
    """Counts what an uninstallation removed.

    These are the probe ``pods`` that were deleted, the ``nodes`` that had labels or conditions of gpuenv, and the
    ``finalizers`` that were removed from environments.
    """

    pods: int = 0
    nodes: int = 0
    finalizers: int = 0

    def __str__(self) -> str:
        return (
            f"{self.pods} probe pods deleted, {self.nodes} nodes and {self.finalizers} environments cleaned"
        )


class Uninstall:
    """One uninstallation of gpuenv, which :meth:`run` carries out."""

    def __init__(self, kube: Kube, scope: Scope, lease_namespace: str, lease_name: str) -> None:
        self._kube = kube
        self._scope = scope
        self._removal = Removal(Writes(kube, Cache(), scope))
        self._namespace = lease_namespace
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{lease_namespace}/leases"
        self._lease_name = lease_name
        self._lease = Lease(kube, lease_namespace, lease_name, f"uninstall_{new_identity()}")

    async def run(self, deployment: str | None = None) -> Removed:
        """Stop the operator, then remove everything that it made, except environments and node reports.

        ``deployment`` is the name of the operator's Deployment. None means that the operator is already stopped.
        Raises ApiError if a request fails.
        """
        if deployment is not None:
            await self._stop(deployment)
        held = await self._namespace_exists()
        if held:
            await self._lease.acquire()
        removed = Removed()
        removed.pods = await self._removal.delete_pods(PROBE_SELECTOR)
        await probe_files.remove(self._kube, self._scope)
        async for page in self._kube.pages(NODES):
            for node in page["items"]:
                removed.nodes += await self._unmark(node)
        async for name in self._environments():
            removed.finalizers += await self._removal.release(name)
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
        """Return whether the operator's namespace exists. A dry run that creates a Lease there shows it.

        If the namespace does not exist, the operator is gone, too, and there can be no Lease.
        """
        try:
            await self._kube.create(f"{self._leases}?dryRun=All", {"metadata": {"name": self._lease_name}})
        except ApiError as error:
            if error.status == 404:
                return False
            if error.reason != "AlreadyExists":
                raise
        return True

    async def _drop_lease(self) -> None:
        """Delete the Lease, or release it if the API server does not permit the deletion.

        Then a new installation need not wait until the Lease expires. The chart's hook has the permission to delete it.
        """
        try:
            await self._kube.delete_if_there(f"{self._leases}/{self._lease_name}")
        except ApiError as error:
            if error.status != 403:
                raise
            await self._lease.release()

    async def _unmark(self, node: dict[str, Any]) -> bool:
        """Remove all of gpuenv's labels and conditions from a node. Return whether any were removed.

        If a policy refuses the change, that is only logged, so that the other nodes are still cleaned.
        """
        try:
            return await self._removal.unmark(node, lambda key: key.startswith(PREFIX))
        except StaleError as stale:
            logger.debug("%s", stale)
        except ApiError as error:
            if error.status not in CONFLICTS:
                raise
            name = node["metadata"]["name"]
            logger.warning("node %s keeps what gpuenv has written there: %s", name, error)
        return False

    async def _environments(self) -> AsyncIterator[str]:
        try:
            async for page in self._kube.pages(ENVIRONMENTS):
                for item in page["items"]:
                    yield item["metadata"]["name"]
        except ApiError as error:
            if (
                error.status != 404
            ):  # 404: the CustomResourceDefinitions are gone, and all environments with them
                raise
