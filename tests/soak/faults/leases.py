"""Two operators at once: the one that holds the Lease is cut off from it or stands still, and the other takes over."""

import asyncio
import signal

from tests.soak.faults.catalogue import World, between, fault, one_of
from tests.soak.proxy import Trouble
from tests.soak.world import LEASE

EXPIRY_SECONDS = 24.0
"""After this time without a renewal another operator has taken the Lease."""


@fault(
    "lease.partition",
    blinds=20,
    how=one_of("all", "lease", "answers", "stop"),
    seconds=between(EXPIRY_SECONDS, EXPIRY_SECONDS + 8),
)
async def partition(world: World, *, how: str, seconds: float) -> str:
    """Start a second operator, and keep the first one from the API server, from the Lease, or from working."""
    await world.operators.start("two")
    proxy, first = world.proxies["one"], world.operators.slots["one"].pid
    match how:
        case "all":
            await proxy.trouble(Trouble("hang"), seconds)
        case "lease":
            await proxy.trouble(Trouble("refuse", on="plain", paths="/leases/"), seconds)
        case "answers":
            await proxy.trouble(Trouble("lose", on="plain", paths="/leases/"), seconds)
        case "stop":
            if world.operators.signal("one", signal.SIGSTOP):
                await asyncio.sleep(seconds)
                if world.operators.slots["one"].pid == first:
                    world.operators.signal("one", signal.SIGCONT)
    holder = ((await world.kube.get(LEASE)).get("spec") or {}).get("holderIdentity") or "nobody"
    await asyncio.sleep(5)
    world.operators.signal("two", signal.SIGTERM, restart=False)
    return f"then {holder} held the Lease"
