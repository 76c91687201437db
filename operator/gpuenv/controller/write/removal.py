"""Removes what gpuenv made, when a node has left, an environment is deleted or gpuenv is uninstalled.

An object that is missing in the cache may still exist. So each removal first reads the environment or node from the API
server. (NFD once removed the labels of large clusters while its cache was incomplete:
https://github.com/kubernetes-sigs/node-feature-discovery/issues/1802.)
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, PROBE_SELECTOR, REPORTS
from gpuenv.controller.write.access import StaleError
from gpuenv.controller.write.writes import Writes
from gpuenv.plan.actions import Cleanup, LeaveNode, OrphanedEnvironment

logger = logging.getLogger(__name__)

REPORTS_AT_A_TIME: Final = 500
"""How many node reports one request deletes. Deleting thousands would take longer than a request may last."""
REFUSALS_TOLERATED: Final = 10
"""A removal stops after the API server has refused to change this many nodes.

The cause is then probably a policy that forbids changes of all nodes, and would refuse the remaining ones, too.
"""
ATTEMPTS: Final = 5
"""How many times removing a finalizer is tried if other clients change the environment at the same time."""


class Removal:
    """Deletes pods and node reports, and removes labels, conditions and finalizers.

    A method that needs more requests than there is time for in a plan raises NotNowError, because the client sends no
    further request. The next plan continues the removal.
    """

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self._kube = writes.kube
        self._cache = writes.cache
        self._scope = writes.scope

    # ---- actions of a plan -----------------------------------------------------------------------------

    async def leave(self, action: LeaveNode) -> None:
        """Remove the label, condition, pods and node report of one validation, if its node has really left.

        A node has left if it was deleted, if the environment no longer selects it, or if the operator's own node
        selector no longer matches it. Raises StaleError if it has not left.
        """
        record = self._cache.nodes.get(action.node)
        live, selected = await self._live_node(action.node)
        if live is not None and action.node_uid in {"", live["metadata"]["uid"]}:
            if selected and (action.gone or self._cache.nodes.get(action.node) is not record):
                raise StaleError(f"node {action.node} is there, or changed just now")
            mark = names.node_label(action.environment)
            await self.unmark(live, lambda key: key == mark)
        for pod in list(self._cache.pods.values()):
            if (pod.environment, pod.node) == (action.environment, action.node) and not pod.vanished:
                await self._kube.delete_if_there(self._scope.item("pods", pod.name), pod.uid)
        report = self._cache.reports.get((action.environment, action.node))
        if report is not None:
            await self._delete_report(report.name, report.uid)

    async def cleanup(self, action: Cleanup) -> None:
        """Remove everything made for an environment that is being deleted, and gpuenv's finalizer last.

        Raises StaleError if the environment exists and is not being deleted.
        """
        live = await self._writes.live("environments", action.environment)
        if live is not None:
            metadata = live["metadata"]
            if metadata["uid"] != action.uid or not metadata.get("deletionTimestamp"):
                raise StaleError(f"environment {action.environment} is not being deleted")
        await self._remove_all(action.environment)
        if live is not None:
            await self._writes.remove_finalizer(action.environment, action.uid)
        logger.info("environment %s is gone, with everything that was made for it", action.environment)

    async def orphaned(self, action: OrphanedEnvironment) -> None:
        """Remove everything made for an environment that was deleted while no operator was running.

        Raises StaleError if the environment exists.
        """
        if await self._writes.live("environments", action.environment) is not None:
            raise StaleError(f"environment {action.environment} is there")
        await self._remove_all(action.environment)
        logger.info("removed what the deleted environment %s had left behind", action.environment)

    # ---- outside a plan --------------------------------------------------------------------------------

    async def finish_deletions(self) -> None:
        """Clean up all environments that are being deleted, while the operator makes no plans.

        The operator makes no plan while one of its two CustomResourceDefinitions is missing. If a user deletes both,
        the definition of node reports disappears first. The definition of environments stays until gpuenv's finalizers
        are removed, which happens here. Raises ApiError if a request fails.
        """
        async for page in self._kube.pages(ENVIRONMENTS):
            for raw in page["items"]:
                metadata = raw["metadata"]
                if metadata.get("deletionTimestamp") and _has_finalizer(raw):
                    going = Cleanup(metadata["name"], metadata["uid"])
                    await self._ignore_stale(self.cleanup(going))

    async def release(self, environment: str) -> bool:
        """Remove gpuenv's finalizer from an environment without deleting it. Return whether there was a finalizer.

        Raises ApiError if a request fails, or if other clients change the environment ATTEMPTS times meanwhile.
        """
        for _ in range(ATTEMPTS):
            live = await self._writes.live("environments", environment)
            if live is None or not _has_finalizer(live):
                return False
            try:
                await self._writes.remove_finalizer(environment, live["metadata"]["uid"])
            except StaleError as stale:
                logger.debug("%s", stale)
            else:
                return True
        raise ApiError(
            409, "Conflict", f"environment {environment} changes faster than it can be written; try again"
        )

    # ---- single steps -----------------------------------------------------------------------------------

    async def unmark(self, node: dict[str, Any], ours: Callable[[str], bool]) -> bool:
        """Remove labels and conditions of gpuenv from a node. Return whether the node had any.

        ``node`` is the node as just read. ``ours`` returns whether a label key or a condition type is to be removed.
        Raises ApiError if a request fails, and StaleError if the node is gone or was replaced.
        """
        name, uid = node["metadata"]["name"], node["metadata"]["uid"]
        labels = {key: value for key, value in (node["metadata"].get("labels") or {}).items() if ours(key)}
        if labels:
            await self._writes.remove_labels(name, uid, labels)
        conditions = (node.get("status") or {}).get("conditions") or []
        kinds = [one["type"] for one in conditions if ours(one["type"])]
        if kinds:
            await self._writes.remove_conditions(name, uid, kinds)
        return bool(labels or kinds)

    async def delete_pods(self, selector: str) -> int:
        """Delete the probe pods that match a label selector. Return how many pods were deleted."""
        deleted = 0
        async for page in self._kube.pages(self._scope.pods, {"labelSelector": selector}):
            for pod in page["items"]:
                metadata = pod["metadata"]
                path = self._scope.item("pods", metadata["name"])
                deleted += await self._kube.delete_if_there(path, metadata["uid"])
        return deleted

    async def _remove_all(self, environment: str) -> None:
        """Remove everything made for an environment, except its finalizer.

        Raises ApiError even if the API server refused to change only some nodes: the environment must exist until its
        labels and conditions on all nodes are removed.
        """
        refusals = await self._unmark_all(environment)
        selector = f"{names.LABEL_ENVIRONMENT}={environment}"
        await self.delete_pods(f"{PROBE_SELECTOR},{selector}")
        await self._remove_reports(environment, selector)
        if refusals:
            raise refusals[0]

    async def _unmark_all(self, environment: str) -> list[ApiError]:
        """Remove the label and condition of an environment from every node. Return an error for each refused write.

        Stops after REFUSALS_TOLERATED refusals.
        """
        refusals: list[ApiError] = []
        mark = names.node_label(environment)
        async for page in self._kube.pages(NODES, {"labelSelector": mark}):
            for node in page["items"]:
                refusals += await self._refusal(self.unmark(node, lambda key: key == mark))
                if len(refusals) == REFUSALS_TOLERATED:
                    return refusals
        for name, record in list(self._cache.nodes.items()):
            if environment in record.compat_conditions:
                removed = self._writes.remove_conditions(name, record.uid, [mark])
                refusals += await self._refusal(removed)
                if len(refusals) >= REFUSALS_TOLERATED:
                    return refusals
        return refusals

    async def _remove_reports(self, environment: str, selector: str) -> None:
        """Delete the node reports of an environment.

        Those with the label of the environment, which ``selector`` selects, are deleted in batches. A user may have
        removed the label from others, and these are deleted one by one.
        """
        mine = [report for key, report in self._cache.reports.items() if key[0] == environment]
        for _ in range(len(mine) // REPORTS_AT_A_TIME + 1):
            try:
                await self._kube.delete_collection(REPORTS, selector, limit=REPORTS_AT_A_TIME)
            except ApiError as error:
                if error.status != 404:  # 404: their CustomResourceDefinition was deleted, and they with it
                    raise
        for report in mine:
            if self._cache.version("reports", report.name) is not None:  # no DELETED event has come yet
                await self._delete_report(report.name, report.uid)

    async def _delete_report(self, name: str, uid: str) -> None:
        await self._kube.delete_if_there(self._scope.item("reports", name), uid)
        self._cache.gone("reports", name)

    async def _live_node(self, name: str) -> tuple[dict[str, Any] | None, bool]:
        """Read a node from the API server. Return it, and whether the operator's node selector matches it.

        Instead of a node that does not exist, None is returned. A node that the selector matches is put into the cache.
        """
        if not self._scope.node_selector:
            return await self._writes.live("nodes", name), True
        query = {"fieldSelector": f"metadata.name={name}", "labelSelector": self._scope.node_selector}
        async for page in self._kube.pages(NODES, query):
            for raw in page["items"]:
                self._cache.put("nodes", raw)
                return dict(raw), True
        try:
            return dict(await self._kube.get(self._scope.item("nodes", name))), False
        except ApiError as error:
            if error.status != 404:
                raise
            self._cache.gone("nodes", name)
            return None, False

    async def _ignore_stale(self, write: Awaitable[object]) -> None:
        try:
            await write
        except StaleError as stale:
            logger.debug("%s", stale)

    async def _refusal(self, write: Awaitable[object]) -> list[ApiError]:
        """Carry out one write. Return the error if the API server refuses it, so that the caller can continue.

        The list is empty if there was no error. Raises a transient ApiError, because further writes would fail, too.
        """
        try:
            await self._ignore_stale(write)
        except ApiError as error:
            if error.transient:
                raise
            return [error]
        return []


def _has_finalizer(environment: dict[str, Any]) -> bool:
    return names.FINALIZER in (environment["metadata"].get("finalizers") or [])
