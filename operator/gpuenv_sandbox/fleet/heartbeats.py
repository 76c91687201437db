"""Sends the heartbeats of simulated nodes as kubelets do: a Lease every few seconds, a node status every few minutes.

Source: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.control_plane.command_lines import NODE_GRACE_SECONDS
from gpuenv_sandbox.fleet import node_objects
from gpuenv_sandbox.fleet.status_writer import StatusWriter
from gpuenv_sandbox.fleet.times import micro_now, now

RENEW_SECONDS: Final = 10.0
"""Seconds between two renewals of a node's Lease, the same as those of a real kubelet."""
RENEWALS_PER_SECOND: Final = 80.0
"""The largest number of Lease renewals per second for a whole fleet.

In a fleet that would exceed it, nodes renew their Leases less often than every ``RENEW_SECONDS``, but at least every
``RENEW_MAX_SECONDS``. Otherwise the renewals would use most of this machine's time.
"""
RENEW_MAX_SECONDS: Final = NODE_GRACE_SECONDS / 2
"""The longest time in seconds between two renewals of a node's Lease.

After ``NODE_GRACE_SECONDS``, twice this time, the node would count as not ready.
"""
STATUS_SECONDS: Final = 300.0
"""Seconds between two reports of a node's status that has not changed (``nodeStatusReportFrequency`` of a kubelet)."""


async def send(writer: StatusWriter, names: Sequence[str]) -> None:
    """Send the heartbeats of the nodes with these names until this coroutine is cancelled.

    A heartbeat that fails is not repeated: a node survives missed ones, and the next one follows.
    """
    period = min(RENEW_MAX_SECONDS, max(RENEW_SECONDS, len(names) / RENEWALS_PER_SECOND))

    async def renew(name: str) -> None:
        with contextlib.suppress(ApiError):
            await writer.merge_patch(leases(name), {"spec": {"renewTime": micro_now()}})

    async def report(name: str) -> None:
        # Only the time changes. The API server merges the conditions by their types.
        body = {"status": {"conditions": node_objects.heartbeat(now())}}
        with contextlib.suppress(ApiError):
            await writer.strategic_patch(f"/api/v1/nodes/{name}/status", body)

    async with asyncio.TaskGroup() as group:
        group.create_task(spread(names, period, renew))
        group.create_task(spread(names, STATUS_SECONDS, report))


async def spread(
    names: Sequence[str],
    period: float,
    beat: Callable[[str], Coroutine[Any, Any, None]],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call ``beat`` once per period for each name, evenly spread over the period, until cancelled.

    ``clock`` returns the time in seconds. A slow ``beat`` does not delay the next one.
    """
    start, count = clock(), 0
    async with asyncio.TaskGroup() as beats:
        while True:
            await sleep(max(0.0, start + count * period / len(names) - clock()))
            beats.create_task(beat(names[count % len(names)]))
            count += 1


def leases(name: str = "") -> str:
    """Return the API path of a node's Lease, or that of all Leases of nodes."""
    collection = f"/apis/coordination.k8s.io/v1/namespaces/{node_objects.LEASE_NAMESPACE}/leases"
    return f"{collection}/{name}" if name else collection
