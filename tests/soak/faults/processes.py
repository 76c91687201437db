"""Faults of the operator's own processes: killed, stopped for seconds, asked to end."""

import asyncio
import signal

from tests.soak.faults.catalogue import MISSED, World, between, chance, fault, one_of
from tests.soak.world import LEASE

from gpuenv.controller.kube.errors import ApiError


async def free_lease(world: World) -> None:
    """Free the Lease of an operator that is dead, so that the next one need not wait until it expires."""
    try:
        await world.kube.merge_patch(LEASE, {"spec": {"holderIdentity": None}})
    except ApiError as error:
        if error.status != 404:
            raise


@fault("operator.kill", blinds=20, frees_lease=chance(0.85))
async def kill(world: World, *, frees_lease: bool) -> str:
    there = world.operators.signal("one", signal.SIGKILL)
    if frees_lease:
        await free_lease(world)
    return "killed" if there else MISSED


@fault("operator.end", blinds=20)
async def end(world: World) -> str:
    return "ended" if world.operators.signal("one", signal.SIGTERM) else MISSED


@fault("operator.stop", blinds=20, seconds=one_of(0.5, 2, 5, 9))
async def stop(world: World, *, seconds: float) -> str:
    return await _stopped(world, seconds)


@fault("operator.stop-long", blinds=20, seconds=between(16, 24))
async def stop_long(world: World, *, seconds: float) -> str:
    """Longer than a Lease lasts."""
    return await _stopped(world, seconds)


async def _stopped(world: World, seconds: float) -> str:
    pid = world.operators.slots["one"].pid
    if not world.operators.signal("one", signal.SIGSTOP):
        return MISSED
    await asyncio.sleep(seconds)
    if world.operators.slots["one"].pid == pid:
        world.operators.signal("one", signal.SIGCONT)
    return f"pid {pid}"
