"""What the operator needs is deleted and put back: ConfigMaps, the namespace, kinds, environments; and specs change."""

import asyncio

import yaml
from tests.soak.faults.catalogue import World, between, fault, one_of
from tests.soak.world import ENVIRONMENTS, MAX_PROBES, environment_specs
from tests.support.cluster import Kubectl

from gpuenv import manifests
from gpuenv.api import names
from gpuenv.controller.kube.errors import ApiError

NAMESPACE = f"/api/v1/namespaces/{names.PROBE_NAMESPACE}"
KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GONE_SECONDS = 90.0


@fault("installation.config-maps", blinds=8)
async def config_maps(world: World) -> str:
    """Delete the ConfigMaps of the probe."""
    found = await world.listed(f"{NAMESPACE}/configmaps")
    some = [one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith("gpuenv")]
    for name in some:
        await world.gone(f"{NAMESPACE}/configmaps/{name}")
    return " ".join(some)


@fault("installation.namespace", blinds=15, away=between(0, 4))
async def namespace(world: World, *, away: float) -> str:
    """Delete the namespace of the probe pods with everything in it, and put it back."""
    await world.gone(NAMESPACE)
    await _until_gone(world, NAMESPACE)
    await asyncio.sleep(away)
    await _apply(world, manifests.load())
    return names.PROBE_NAMESPACE


@fault(
    "installation.kind",
    blinds=30,
    plural=one_of(names.REPORT_PLURAL, names.ENVIRONMENT_PLURAL),
    away=between(0, 5),
)
async def kind(world: World, *, plural: str, away: float) -> str:
    """Delete a kind and with it all of its objects, and put it back, environments included."""
    name = f"{plural}.{names.GROUP}"
    specs = {one: states.now for one, states in world.truth.specs.items()}
    if plural == names.ENVIRONMENT_PLURAL:
        for one in specs:
            world.truth.spec(one, None)
    kubectl = Kubectl(world.plane)
    await world.gone(f"{KINDS}/{name}")
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while not await asyncio.to_thread(kubectl.crds_are_gone, name):
        if asyncio.get_running_loop().time() > deadline:
            return f"{name} does not go"
        await asyncio.sleep(1)
    await asyncio.sleep(away)
    await _apply(world, manifests.crds())
    if plural == names.ENVIRONMENT_PLURAL:
        for one, spec in specs.items():
            await _create(world, one, spec or environment_specs()[one])
    return name


@fault("environment.again", name=one_of(*environment_specs()), away=between(0, 3))
async def again(world: World, *, name: str, away: float) -> str:
    """Delete an environment, and create it again with another uid."""
    spec = world.truth.specs[name].now
    world.truth.spec(name, None)
    await world.gone(f"{ENVIRONMENTS}/{name}")
    await _until_gone(world, f"{ENVIRONMENTS}/{name}")
    await asyncio.sleep(away)
    await _create(world, name, spec or environment_specs()[name])
    return name


@fault("environment.image", name=one_of(*environment_specs()), image=one_of("cuda12", "cuda13"))
async def image(world: World, *, name: str, image: str) -> str:
    return await _change(world, name, {"image": f"example/torch:{image}"})


@fault("environment.expect", name=one_of(*environment_specs()), driver=one_of(None, ">=560", ">=575"))
async def expect(world: World, *, name: str, driver: str | None) -> str:
    return await _change(world, name, {"expect": {"driver": driver} if driver else None})


@fault("environment.concurrency", name=one_of(*environment_specs()), limit=one_of(1, 2, 4, MAX_PROBES))
async def concurrency(world: World, *, name: str, limit: int) -> str:
    return await _change(world, name, {"strategy": {"maxConcurrent": limit}})


@fault("environment.selector", pool=one_of("odd", "even"))
async def selector(world: World, *, pool: str) -> str:
    return await _change(world, "third", {"nodes": {"selector": {"matchLabels": {"pool": pool}}}})


@fault("environment.status", name=one_of(*environment_specs()))
async def status(world: World, *, name: str) -> str:
    """Empty an environment's status."""
    try:
        await world.kube.merge_patch(
            f"{ENVIRONMENTS}/{name}/status", {"status": {"summary": None, "conditions": None}}
        )
    except ApiError as error:
        return str(error.status)
    return name


async def _change(world: World, name: str, change: dict[str, object]) -> str:
    try:
        await world.change_environment(name, change)
    except ApiError as error:
        return str(error.status)
    return name


async def _create(world: World, name: str, spec: dict[str, object]) -> None:
    """Create an environment, also while the API server does not serve its kind yet or the old one is there."""
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while True:
        try:
            await world.create_environment(name, spec)
        except ApiError as error:
            if error.status not in {404, 409} or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _until_gone(world: World, path: str) -> None:
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        try:
            await world.kube.get(path)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        await asyncio.sleep(0.3)


async def _apply(world: World, objects: list[dict[str, object]]) -> None:
    """Create what is missing, and leave the rest as it is."""
    kubectl = Kubectl(world.plane)
    await asyncio.to_thread(kubectl.run, "create", "-f", "-", stdin=yaml.safe_dump_all(objects))
