"""Taking back what was made: for a node that left, for an environment that goes or went.

Nothing is removed because a cache lacks it: each removal starts with a live GET of the object it is about.
(NFD once removed the labels of large clusters while its cache was incomplete:
https://github.com/kubernetes-sigs/node-feature-discovery/issues/1802.)
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.client import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, PROBE_SELECTOR, REPORTS
from gpuenv.controller.write.writes import StaleError, Writes
from gpuenv.plan.model import Cleanup, LeaveNode, OrphanedEnvironment, SetLabel

logger = logging.getLogger(__name__)

REPORTS_AT_A_TIME: Final = 500
REFUSALS_TOLERATED: Final = 10
"""In one removal; a policy that freezes all nodes must not be asked about each of them again and again."""


class OutOfTimeError(Exception):
    """Time for this plan is up; the next plan asks for the rest."""


class Removal:
    """``in_time`` says whether another write may start; big removals stop there and are continued by the next
    plan.
    """

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self._kube = writes.kube
        self._cache = writes.cache
        self._scope = writes.scope

    async def leave(self, action: LeaveNode) -> None:
        """Removes label, condition, pods and report of one validation, if the node has really left.

        A node that the operator's own node selector leaves out has left, too: nobody would ever look at it again.
        """
        record = self._cache.nodes.get(action.node)
        live, ours = await self._live_node(action.node)
        if live is not None and action.node_uid in {"", live["metadata"]["uid"]}:
            if ours and (action.gone or self._cache.nodes.get(action.node) is not record):
                raise StaleError(f"node {action.node} is there, or changed just now")
            await self._unmark(action.environment, live)
        for pod in list(self._cache.pods.values()):
            if (pod.environment, pod.node) == (action.environment, action.node) and not pod.vanished:
                await self._delete(self._scope.item("pods", pod.name), pod.uid)
        report = self._cache.reports.get((action.environment, action.node))
        if report is not None:
            await self._delete(self._scope.item("reports", report.name), report.uid)
            self._cache.gone("reports", report.name)

    async def cleanup(self, action: Cleanup, in_time: Callable[[], bool]) -> None:
        """Removes everything made for an environment that is being deleted, then our finalizer."""
        live = await self._writes.live("environments", action.environment)
        if live is not None:
            metadata = live["metadata"]
            if metadata["uid"] != action.uid or not metadata.get("deletionTimestamp"):
                raise StaleError(f"environment {action.environment} is not being deleted")
        await self._remove_all(action.environment, in_time)
        if live is not None:
            await self._writes.remove_finalizer(action.environment, action.uid)
        logger.info("environment %s is gone, with everything that was made for it", action.environment)

    async def orphaned(self, action: OrphanedEnvironment, in_time: Callable[[], bool]) -> None:
        """Removes what an environment left behind that nobody told us of (deleted while no operator was
        there).
        """
        if await self._writes.live("environments", action.environment) is not None:
            raise StaleError(f"environment {action.environment} is there")
        await self._remove_all(action.environment, in_time)
        logger.info("removed what the deleted environment %s had left behind", action.environment)

    async def farewell(self) -> None:
        """Lets go of environments that are being deleted while the operator cannot work.

        Whoever deletes both CustomResourceDefinitions at once takes the reports away first, and would wait for
        the environments' finalizers for ever. Raises ApiError.
        """
        async for page in self._kube.pages(ENVIRONMENTS):
            for raw in page["items"]:
                metadata = raw["metadata"]
                if metadata.get("deletionTimestamp") and names.FINALIZER in (
                    metadata.get("finalizers") or []
                ):
                    going = Cleanup(metadata["name"], metadata["uid"])
                    await self._ignore_gone(self.cleanup(going, lambda: True))

    async def _remove_all(self, environment: str, in_time: Callable[[], bool]) -> None:
        """Raises ApiError also when only some nodes could not be cleaned: what is left there must not be forgotten."""
        refusals = await self._unmark_all(environment, in_time)
        selector = f"{names.LABEL_ENVIRONMENT}={environment}"
        pods = {"labelSelector": f"{PROBE_SELECTOR},{selector}"}
        async for page in self._kube.pages(self._scope.pods, pods):
            for pod in page["items"]:
                _check(in_time)
                metadata = pod["metadata"]
                await self._delete(self._scope.item("pods", metadata["name"]), metadata["uid"])
        await self._remove_reports(environment, selector, in_time)
        if refusals:
            raise refusals[0]

    async def _unmark_all(self, environment: str, in_time: Callable[[], bool]) -> list[ApiError]:
        """Label and condition off every node; returns what was refused. Many refusals speak for all nodes."""
        refusals: list[ApiError] = []
        async for page in self._kube.pages(NODES, {"labelSelector": names.node_label(environment)}):
            for node in page["items"]:
                _check(in_time)
                refusals += await self._tolerate(self._unmark(environment, node))
                if len(refusals) == REFUSALS_TOLERATED:
                    return refusals
        for name, record in list(self._cache.nodes.items()):
            if environment in record.compat_conditions:
                _check(in_time)
                removed = self._writes.remove_condition(environment, name, record.uid)
                refusals += await self._tolerate(removed)
                if len(refusals) >= REFUSALS_TOLERATED:
                    return refusals
        return refusals

    async def _remove_reports(self, environment: str, selector: str, in_time: Callable[[], bool]) -> None:
        """In batches: thousands at a time take the API server longer than a request may last."""
        mine = [report for key, report in self._cache.reports.items() if key[0] == environment]
        for _ in range(len(mine) // REPORTS_AT_A_TIME + 1):
            _check(in_time)
            try:
                await self._kube.delete_collection(REPORTS, selector, limit=REPORTS_AT_A_TIME)
            except ApiError as error:
                if error.status != 404:  # their CustomResourceDefinition went first, and took them along
                    raise
        for report in mine:
            if self._cache.version("reports", report.name) is not None:  # the watch has not told of it yet
                _check(in_time)
                await self._delete(self._scope.item("reports", report.name), report.uid)
                self._cache.gone("reports", report.name)

    async def _unmark(self, environment: str, live: dict[str, Any]) -> None:
        """``live``: the node as it was just read."""
        name, uid = live["metadata"]["name"], live["metadata"]["uid"]
        await self._writes.set_label(SetLabel(environment, name, uid, None))
        kind = names.node_label(environment)
        conditions = (live.get("status") or {}).get("conditions") or []
        if any(one.get("type") == kind for one in conditions):
            await self._writes.remove_condition(environment, name, uid)

    async def _live_node(self, name: str) -> tuple[dict[str, Any] | None, bool]:
        """The node, and whether the operator's node selector (if any) lets it in; then it is also in the cache."""
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

    async def _delete(self, path: str, uid: str) -> None:
        try:
            await self._kube.delete(path, uid=uid)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def _ignore_gone(self, write: Awaitable[None]) -> None:
        try:
            await write
        except StaleError as stale:
            logger.debug("%s", stale)

    async def _tolerate(self, write: Awaitable[None]) -> list[ApiError]:
        """A write that may be refused without stopping the others; an API server that is unwell stops them."""
        try:
            await self._ignore_gone(write)
        except ApiError as error:
            if error.transient:
                raise
            return [error]
        return []


def _check(in_time: Callable[[], bool]) -> None:
    if not in_time():
        raise OutOfTimeError
