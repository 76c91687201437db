"""People and controllers meddle with what the operator owns: pods, reports, labels, statuses, ConfigMaps."""

import time
from collections.abc import Awaitable
from random import Random

from tests.soak.faults.catalogue import MISSED, World, any_of_them, fault, number, one_of, pick
from tests.soak.world import NODES, PODS, REPORTS

from gpuenv.api import names
from gpuenv.controller.kube.errors import ApiError

MISSING = {404, 409}


async def _quietly(work: Awaitable[object]) -> str:
    """Return what a request answers, or why it was refused: the object may have gone meanwhile."""
    try:
        await work
    except ApiError as error:
        return f"{error.status}"
    return "done"


@fault("pod.delete", pod=any_of_them, grace=one_of(None, 0, 1))
async def delete_pod(world: World, *, pod: float, grace: int | None) -> str:
    found = pick(await world.listed(PODS), pod)
    if found is None:
        return MISSED
    name = found["metadata"]["name"]
    return f"{name}: {await _quietly(world.kube.delete(f'{PODS}/{name}', grace=grace))}"


@fault("pod.evict", pod=any_of_them)
async def evict_pod(world: World, *, pod: float) -> str:
    found = pick(await world.listed(PODS), pod)
    if found is None:
        return MISSED
    name = found["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return f"{name}: {await _quietly(world.kube.create(f'{PODS}/{name}/eviction', body))}"


@fault("pod.preempt", pod=any_of_them)
async def preempt_pod(world: World, *, pod: float) -> str:
    """Do to a pod what the scheduler does to make room for a more important one."""
    found = pick(await world.listed(PODS), pod)
    if found is None:
        return MISSED
    name = found["metadata"]["name"]
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "preempting to accommodate a higher priority pod",
    }
    body = {"metadata": {"uid": found["metadata"]["uid"]}, "status": {"conditions": [condition]}}
    await _quietly(world.kube.strategic_patch(f"{PODS}/{name}/status", body))
    return f"{name}: {await _quietly(world.kube.delete(f'{PODS}/{name}'))}"


@fault("report.delete", report=any_of_them, count=one_of(1, 1, 3, 12))
async def delete_reports(world: World, *, report: float, count: int) -> str:
    found = await world.listed(REPORTS)
    first = int(report * len(found))
    some = [one["metadata"]["name"] for one in found[first : first + count]]
    for name in some:
        await _quietly(world.kube.delete(f"{REPORTS}/{name}"))
    return " ".join(some)


@fault("report.edit", report=any_of_them, verdict=one_of("Compatible", "Incompatible", "Unknown"))
async def edit_report(world: World, *, report: float, verdict: str) -> str:
    """Write another verdict into a report's status."""
    found = pick(await world.listed(REPORTS), report)
    if found is None:
        return MISSED
    name, spec = found["metadata"]["name"], found["spec"]
    body = {"status": {"verdict": verdict, "reason": "", "message": "written by hand"}}
    world.truth.meddled[spec["nodeName"], spec["environmentName"]] = time.monotonic()
    return f"{name}: {await _quietly(world.kube.merge_patch(f'{REPORTS}/{name}/status', body))}"


@fault("label.edit", node=any_of_them, value=one_of(None, None, "Compatible", "Incompatible"), seed=number)
async def edit_label(world: World, *, node: float, value: str | None, seed: int) -> str:
    """Remove or forge a label on a node."""
    name = pick(world.names(), node)
    environment = Random(seed).choice(sorted(world.truth.specs))
    if name is None:
        return MISSED
    found = await world.kube.get(f"{NODES}/{name}")
    if names.node_label(environment) not in (found["metadata"].get("labels") or {}):
        return MISSED
    world.truth.meddled[name, environment] = time.monotonic()
    body = {"metadata": {"labels": {names.node_label(environment): value}}}
    answer = await _quietly(world.kube.merge_patch(f"{NODES}/{name}", body))
    world.truth.meddled[name, environment] = time.monotonic()
    return f"{environment} on {name}: {answer}"
