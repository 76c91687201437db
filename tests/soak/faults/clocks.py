"""The operator's wall clock is wrong, jumps or drifts; and another version of the operator takes over."""

import asyncio
import signal

from tests.soak.faults.catalogue import World, between, fault, one_of
from tests.soak.faults.processes import free_lease

STEP_SECONDS = 0.2


@fault(
    "clock.jump",
    seconds=between(3, 15),
    ahead=one_of(4.0, 30.0, 300.0, 3600.0, 86_400.0 * 400, -4.0, -60.0, -3600.0),
)
async def jump(world: World, *, seconds: float, ahead: float) -> str:
    """The clock jumps, and is right again after a while."""
    try:
        world.operators.shift_clock("one", ahead)
        await asyncio.sleep(seconds)
    finally:
        world.operators.shift_clock("one", 0.0)
    return "one"


@fault("clock.drift", seconds=between(5, 15), rate=one_of(-2.0, -0.5, 0.5, 3.0, 20.0))
async def drift(world: World, *, seconds: float, rate: float) -> str:
    """The clock gains or loses some seconds a second, and is then set right."""
    try:
        for step in range(int(seconds / STEP_SECONDS)):
            world.operators.shift_clock("one", rate * step * STEP_SECONDS)
            await asyncio.sleep(STEP_SECONDS)
    finally:
        world.operators.shift_clock("one", 0.0)
    return "one"


@fault("operator.upgrade", blinds=20, how=one_of("end", "end", "kill"))
async def upgrade(world: World, *, how: str) -> str:
    """Replace the operator by one of another version, with other tables, or go back."""
    slot = world.operators.slots["one"]
    versions = world.operators.versions
    version = versions[(versions.index(slot.version) + 1) % len(versions)]
    slot.version = version
    world.operators.signal("one", signal.SIGTERM if how == "end" else signal.SIGKILL)
    if how == "kill":
        await free_lease(world)
    return version or "as built"
