"""A control plane with thousands of nodes and tens of thousands of node reports, for which nothing is left to do.

No controllers run and no kubelets are simulated: what the operator costs here comes from the objects alone.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.harness.audit import AuditLog
from tests.bench.harness.etcd import Etcd
from tests.bench.harness.finished import NODE, copied_report, finished
from tests.bench.harness.options import Options
from tests.support import builders
from tests.support.wait import wait_until_async
from tests.support.world import World

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS
from gpuenv.controller.kube.requests import METADATA_LIST
from gpuenv.plan.objects import records
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import fleet_client
from gpuenv_sandbox.scenario.read import read_scenario
from gpuenv_sandbox.session import Session

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LargeFleet:
    """A control plane that holds the nodes ``nodes``, with a client that has all permissions."""

    cluster: ControlPlane
    log: AuditLog
    kube: Kube
    nodes: list[str]


@asynccontextmanager
async def large_fleet(options: Options) -> AsyncIterator[LargeFleet]:
    """Yield a control plane with all nodes, environments and node reports of ``options``."""
    with tempfile.TemporaryDirectory() as directory:
        log = AuditLog(Path(directory))
        with ControlPlane(controllers=False, api_server_flags=log.flags) as cluster:
            await asyncio.to_thread(Session(cluster, read_scenario(), lambda _: None).install)
            async with await fleet_client(str(cluster.admin_kubeconfig)) as kube:
                nodes = await _fill(cluster, kube, options)
                yield LargeFleet(cluster, log, kube, nodes)


async def _fill(cluster: ControlPlane, kube: Kube, options: Options) -> list[str]:
    """Create everything, and return the names of the nodes."""
    # A world has an event loop of its own, which cannot run beside this one in the same thread.
    world = await asyncio.to_thread(finished, options.environments, time.time())
    environments = list(world.objects("environments"))
    labels = {names.node_label(name): "Compatible" for name in environments}
    found = [f"gpu-node-{number:05}" for number in range(options.nodes)]
    stored = await asyncio.gather(*(kube.create(NODES, node(name, labels)) for name in found))
    etcd = Etcd(cluster)
    for raw in world.objects("environments").values():
        metadata = {key: raw["metadata"][key] for key in ("name", "finalizers")}
        owner = await kube.create(ENVIRONMENTS, {**raw, "metadata": metadata})
        model = await _report_model(kube, etcd, world, owner)
        await asyncio.to_thread(etcd.write_reports, _copies(model, stored))
        await kube.delete(f"{REPORTS}/{model['metadata']['name']}")
    await wait_until_async(lambda: _serves(kube, options.nodes * options.environments), interval=1.0)
    return found


async def _serves(kube: Kube, count: int) -> bool:
    """Return whether the API server lists so many node reports. After so many writes its watch cache lags behind."""
    found = 0
    try:
        async for page in kube.pages(REPORTS, accept=METADATA_LIST):
            found += len(page["items"])
    except ApiError:
        return False
    return found == count


async def _report_model(kube: Kube, etcd: Etcd, world: World, environment: Object) -> Object:
    """Write one node report through the API, and return it in the form in which the API server stores it."""
    raw = world.objects("reports")[names.report_name(environment["metadata"]["name"], NODE)]
    owners = [raw["metadata"]["ownerReferences"][0] | {"uid": environment["metadata"]["uid"]}]
    metadata = {
        "name": raw["metadata"]["name"],
        "labels": raw["metadata"]["labels"],
        "ownerReferences": owners,
    }
    body = {key: raw[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata}
    await kube.create(REPORTS, body)
    whole = {"op": "add", "path": "/status", "value": raw["status"]}
    await kube.json_patch(f"{REPORTS}/{metadata['name']}/status", [whole])
    return await asyncio.to_thread(etcd.report, metadata["name"])


def _copies(model: Object, nodes: list[Object]) -> Iterator[Object]:
    for raw in nodes:
        record = records.node_record(raw)
        copied = copied_report(model, record.name, record.uid, record.fingerprint)
        labels = copied["metadata"]["labels"] | {names.LABEL_NODE: names.shorten(record.name)}
        yield {**copied, "metadata": copied["metadata"] | {"labels": labels}}


def node(name: str, labels: dict[str, str]) -> Object:
    """Return a node with about as many labels, annotations and images as a real one. ``labels`` are further labels."""
    features = {f"nvidia.com/gpu.feature-{index}": "v" * 20 for index in range(40)}
    annotations = {f"annotation-{index}": "x" * 200 for index in range(15)}
    raw = builders.node(name, labels=features | labels, annotations=annotations)
    del raw["metadata"]["uid"]
    images = [{"names": ["registry.example.com/" + "x" * 60], "sizeBytes": 1} for _ in range(20)]
    raw["status"] |= {"images": images, "nodeInfo": raw["status"]["nodeInfo"]}
    return raw
