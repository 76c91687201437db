"""Faults of machines and their Node objects: broken, repaired, rebooted, with another driver, removed, renamed."""

from tests.soak.faults.catalogue import MISSED, World, any_of_them, chance, fault, one_of, pick
from tests.soak.truth import FAULT_VERDICTS

from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.scenario.model import Fault as MachineFault

BROKEN = sorted(name for name, verdict in FAULT_VERDICTS.items() if verdict == "Incompatible")
UNCLEAR = ("probeCrashes", "garbageReport", "probeOom")
DRIVERS = ("550.54.15", "570.124.06", "580.95.05")


@fault("machine.break", node=any_of_them, what=one_of("", *BROKEN), reboot=chance(0.5))
async def break_machine(world: World, *, node: float, what: str, reboot: bool) -> str:
    """Break or repair a machine, half of the time without any sign of it on the Node object."""
    name = pick(world.names(), node)
    if name is None:
        return MISSED
    if world.truth.machines[name].now.fault in UNCLEAR:
        reboot = True  # a result that a run without an answer cannot replace would stay
    return (
        name
        if await world.change_node(name, reboot=reboot, fault=MachineFault(what) if what else None)
        else MISSED
    )


@fault("machine.unclear", node=any_of_them, what=one_of(*UNCLEAR))
async def unclear(world: World, *, node: float, what: str) -> str:
    """Break a machine so that no probe can give an answer there."""
    name = pick(world.names(), node)
    if name is None:
        return MISSED
    return (
        name
        if await world.change_node(name, reboot=True, fault=MachineFault(what), driver="580.95.05")
        else MISSED
    )


@fault("machine.driver", node=any_of_them, driver=one_of(*DRIVERS))
async def driver(world: World, *, node: float, driver: str) -> str:
    name = pick(world.names(), node)
    if name is None or world.truth.machines[name].now.fault in UNCLEAR:
        return MISSED
    return name if await world.change_node(name, reboot=True, driver=driver) else MISSED


@fault("node.replace", node=any_of_them)
async def replace(world: World, *, node: float) -> str:
    """Delete a Node object and register its machine again at once, so that only the uid changes."""
    name = pick(world.names(), node)
    if name is None:
        return MISSED
    await world.remove_node(name)
    await world.add_node(name)
    return name


@fault("node.remove", node=any_of_them)
async def remove(world: World, *, node: float) -> str:
    """Take a node away. :func:`add` brings one back."""
    found = world.names()
    name = pick(found, node)
    if name is None or len(found) <= len(world.truth.machines) - 5:
        return MISSED
    await world.remove_node(name)
    return name


@fault("node.add", node=any_of_them)
async def add(world: World, *, node: float) -> str:
    """Register a machine that has no Node object: one that was removed, or a spare one."""
    name = pick(sorted(world.truth.machines.keys() - set(world.names())), node)
    if name is None:
        return MISSED
    await world.add_node(name)
    return name


@fault("node.rename", node=any_of_them, to=any_of_them)
async def rename(world: World, *, node: float, to: float) -> str:
    """Take a node away, and register another name in its place."""
    return f"{await remove(world, node=node)} -> {await add(world, node=to)}"


@fault("node.cordon", node=any_of_them)
async def cordon(world: World, *, node: float) -> str:
    """Cordon a node for a moment: its verdicts must stay."""
    name = pick(world.names(), node)
    if name is None:
        return MISSED
    try:
        for state in (True, False):
            await world.kube.merge_patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": state or None}})
    except ApiError as error:
        return str(error)
    return name
