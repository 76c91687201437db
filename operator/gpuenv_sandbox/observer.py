"""Follows the environments, node reports and probe pods of a sandbox, and says whether they are settled.

An environment is settled if the operator has dealt with its current generation, none of its probe pods is running, and
its condition ``Ready`` stays as it is until the environment or one of its nodes changes.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from gpuenv.api import names, reasons
from gpuenv.api.objects import NodeVerdict, condition, is_genuine, node_verdict
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.kinds import ENVIRONMENTS, PROBE_SELECTOR, REPORTS
from gpuenv_sandbox.fleet.list_watch import follow

Object = dict[str, Any]

PROBES: Final = {"labelSelector": PROBE_SELECTOR}


class Observer:
    """An up-to-date copy of a cluster's environments, node reports and probe pods, while :meth:`run` is active."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.environments: dict[str, Object] = {}
        self._summaries: dict[str, NodeVerdict] = {}
        self._probes: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        """Follow the environments, node reports and probe pods until this coroutine is cancelled."""
        await asyncio.gather(self._follow_environments(), self._follow_reports(), self._follow_probes())

    async def _follow_environments(self) -> None:
        async for present, found in follow(self._kube, ENVIRONMENTS):
            name = found["metadata"]["name"]
            if present:
                self.environments[name] = found
            else:
                self.environments.pop(name, None)

    async def _follow_reports(self) -> None:
        async for present, found in follow(self._kube, REPORTS):
            name = found["metadata"]["name"]
            if present and is_genuine(found):
                self._summaries[name] = node_verdict(found)
            else:
                self._summaries.pop(name, None)

    async def _follow_probes(self) -> None:
        async for present, found in follow(self._kube, "/api/v1/pods", PROBES):
            metadata, phase = found["metadata"], (found.get("status") or {}).get("phase")
            if present and phase in {"Pending", "Running"}:
                environment = (metadata.get("labels") or {}).get(names.LABEL_ENVIRONMENT, "")
                self._probes[metadata["uid"]] = (environment, found["spec"].get("nodeName", ""))
            else:
                self._probes.pop(metadata["uid"], None)

    def probing(self) -> frozenset[tuple[str, str]]:
        """Return a pair (environment, node) of names for every probe pod that is pending or running.

        The node is "" if the pod is not bound to a node yet.
        """
        return frozenset(self._probes.values())

    def summaries(self) -> list[NodeVerdict]:
        """Return one summary for each node report, ordered by environment and node."""
        return sorted(self._summaries.values(), key=lambda found: (found.environment, found.node))

    def settled(self) -> bool:
        """Return whether the cluster has environments, and all of them are settled."""
        return bool(self.environments) and not list(self.unsettled())

    def unsettled(self) -> Iterator[str]:
        """Yield one line for each environment that is not settled yet: its name, and why it is not settled."""
        for name, found in sorted(self.environments.items()):
            why = unsettled(found)
            if why:
                yield f"{name}: {why}"


def unsettled(environment: Object) -> str:
    """Return why an environment is not settled yet, or "" if it is settled.

    It is settled if its status belongs to its current generation and counts no running probe, and its condition
    ``Ready`` is True or has a reason that only a change to the environment or its nodes can remove.
    """
    ready = condition(environment, "Ready")
    if not ready:
        return "the operator has not answered yet"
    running = int(((environment.get("status") or {}).get("summary") or {}).get("running") or 0)
    if running > 0:
        return f"{running} probe{'s' if running > 1 else ''} running"
    if ready.get("status") == "True" or _is_decided(ready.get("reason", "")):
        return ""
    return str(ready.get("message") or ready.get("reason") or "not ready")


def _is_decided(reason: str) -> bool:
    """Return whether ``reason``, for which an environment is not ready, is final.

    For such a reason, the operator starts no new run until the environment or its nodes change.
    """
    return reasons.behaviour(reason).next_run is reasons.NextRun.ON_CHANGE
