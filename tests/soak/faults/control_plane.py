"""Faults of the control plane: its processes are restarted, or stand still for seconds."""

import asyncio
import os
import signal

from tests.soak.faults.catalogue import World, between, fault, number
from tests.soak.proxy import Trouble

CLIENTS = ("kube-scheduler", "kube-controller-manager")
"""Components that would take half a minute to come back by themselves after an outage of the API server."""


@fault("outage.restart-api-server", blinds=8, down=between(0.3, 3))
async def restart_api_server(world: World, *, down: float) -> str:
    await world.restart("kube-apiserver", down=down)
    await world.restart(*CLIENTS, down=0.0)
    return "kube-apiserver"


@fault("outage.restart-etcd", blinds=8, down=between(0.3, 3))
async def restart_etcd(world: World, *, down: float) -> str:
    await world.restart("etcd", down=down)
    return "etcd"


@fault("outage.restart-scheduler", down=between(0.3, 5))
async def restart_scheduler(world: World, *, down: float) -> str:
    await world.restart("kube-scheduler", down=down)
    return "kube-scheduler"


@fault("outage.api-server-stands-still", blinds=8, seconds=between(0.3, 5))
async def stop_api_server(world: World, *, seconds: float) -> str:
    return await _stands_still(world, "kube-apiserver", seconds)


@fault("outage.etcd-stands-still", blinds=8, seconds=between(0.3, 5))
async def stop_etcd(world: World, *, seconds: float) -> str:
    return await _stands_still(world, "etcd", seconds)


@fault("outage.cut-off", blinds=8, seconds=between(0.3, 5), seed=number)
async def cut_off(world: World, *, seconds: float, seed: int) -> str:
    """The operator cannot reach the API server: connections end, and new ones are refused."""
    hits = await world.proxies["one"].trouble(Trouble("refuse", seed=seed), seconds)
    return f"{hits} requests"


@fault("outage.no-answer", blinds=8, seconds=between(0.3, 5), seed=number)
async def no_answer(world: World, *, seconds: float, seed: int) -> str:
    """Connections are accepted, and nothing is answered."""
    hits = await world.proxies["one"].trouble(Trouble("hang", seed=seed), seconds)
    return f"{hits} requests"


async def _stands_still(world: World, component: str, seconds: float) -> str:
    async with world.control:
        pid = world.component(component)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
    return f"pid {pid}"
