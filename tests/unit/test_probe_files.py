"""The probe's ConfigMap: when it is looked at, and what becomes of a plan if it cannot be created."""

import asyncio
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create
from tests.support.fake_kube import FakeKube
from tests.support.wait import wait_until_async
from tests.support.world import World

from gpuenv.controller import probe_files
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import Scope
from gpuenv.controller.probe_files import ProbeFiles
from gpuenv.controller.write.executor import Executor
from gpuenv.plan.objects import records
from gpuenv.plan.snapshot import PodRecord

WANTED = probe_files.config_map(b"probe", "gpuenv-probes")
CONFIG_MAPS = "/api/v1/namespaces/gpuenv-probes/configmaps"
PATH = f"{CONFIG_MAPS}/{WANTED['metadata']['name']}"
DENIED = 'configmaps is forbidden: User "x" cannot create resource "configmaps" in API group "" in the namespace "n"'


class Files:
    """A ConfigMap that is there, and a clock that only the test moves."""

    def __init__(self, kube: FakeKube) -> None:
        self.now = 1000.0
        self.failures = 0
        self.kube = kube
        self.files = ProbeFiles(
            kube,  # type: ignore[arg-type]  # a fake
            Scope("gpuenv-probes"),
            WANTED,
            failed=self._failed,
            clock=lambda: self.now,
        )

    def _failed(self) -> None:
        self.failures += 1

    def looks(self) -> int:
        return self.kube.calls.count(("GET", PATH))


@pytest.fixture
async def files() -> Files:
    one = Files(FakeKube())
    await one.files.ensure()
    return one


async def test_a_hundred_pods_at_once_cause_one_look(files: Files) -> None:
    await asyncio.gather(*(files.files.before_pod() for _ in range(100)))
    assert files.looks() == 1
    files.now += probe_files.LOOK_SECONDS
    del files.kube.objects[PATH]
    await asyncio.gather(*(files.files.before_pod() for _ in range(100)))
    assert files.looks() == 2
    assert files.kube.objects[PATH]["binaryData"] == WANTED["binaryData"]


async def test_a_plan_puts_the_config_map_back_before_it_creates_a_pod() -> None:
    world = World(watch=False)
    files = Files(world.kube)
    executor = Executor(
        world.writes, world.poster, world.metrics, clock=lambda: world.now, before_pod=files.files.before_pod
    )
    outcome = await executor.run(world.plan_of(create("e", "a"), create("e", "b")))
    assert outcome.done == 2
    assert [path for method, path in world.kube.writes() if method == "POST"] == [
        CONFIG_MAPS,
        world.scope.pods,
        world.scope.pods,
    ]


@pytest.mark.parametrize("error", [ApiError(0, "Unreachable", "x"), ApiError(403, "Forbidden", DENIED)])
async def test_without_an_api_server_no_pod_is_created_either(error: ApiError) -> None:
    world = World(watch=False)
    files = Files(world.kube)
    executor = Executor(
        world.writes, world.poster, world.metrics, clock=lambda: world.now, before_pod=files.files.before_pod
    )
    world.kube.deny("POST", "configmaps", error.status, error.reason, error.message)
    outcome = await executor.run(world.plan_of(create("e", "a")))
    assert outcome.retry_at == world.now + 1
    assert ("POST", world.scope.pods) not in world.kube.calls
    assert world.cache.rejections == {}


async def test_a_namespace_that_is_gone_is_told_by_the_pod_itself() -> None:
    world = World(watch=False)
    files = Files(world.kube)
    executor = Executor(
        world.writes, world.poster, world.metrics, clock=lambda: world.now, before_pod=files.files.before_pod
    )
    for what in ("configmaps", "pods"):
        world.kube.deny("POST", what, 404, "NotFound", 'namespaces "gpuenv-probes" not found')
    await executor.run(world.plan_of(create("e", "a"), create("e", "b")))
    assert world.cache.rejections["e", "a"].attempt.reason == "ProbeRejected"
    assert world.kube.calls.count(("POST", CONFIG_MAPS)) == 1


def pod(**fields: Any) -> PodRecord:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return records.pod_record(builders.pod("e", "a", conditions=[scheduled], **fields))


async def test_while_pods_wait_for_their_start_it_is_looked_at(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_files, "LOOK_SECONDS", 0.01)
    pods: list[PodRecord] = []
    keeping = asyncio.create_task(files.files.keep(lambda: pods))
    await wait_until_async(lambda: ("GET", CONFIG_MAPS) in files.kube.calls)
    before = len(files.kube.calls)
    await asyncio.sleep(0.1)
    assert len(files.kube.calls) == before, "nobody needs it, so nothing is asked"
    pods.append(pod())
    del files.kube.objects[PATH]
    files.now += 1
    await wait_until_async(lambda: PATH in files.kube.objects)
    files.kube.down = ApiError(503, "Unavailable", "x")
    files.now += 1
    await wait_until_async(lambda: files.failures)
    files.kube.down = None
    assert not keeping.done()
    keeping.cancel()


async def test_old_config_maps_are_asked_for_only_as_long_as_some_are_left(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_files, "LOOK_SECONDS", 0.01)
    old = probe_files.config_map(b"old", "gpuenv-probes")
    files.kube.add(CONFIG_MAPS, old)
    mounting = builders.pod("e", "a")
    mounting["spec"]["volumes"] = [{"name": "probe", "configMap": {"name": old["metadata"]["name"]}}]
    files.kube.add("/api/v1/namespaces/gpuenv-probes/pods", mounting)
    keeping = asyncio.create_task(files.files.keep(list))
    await wait_until_async(lambda: files.kube.calls.count(("GET", CONFIG_MAPS)) == 1)
    files.now += probe_files.PRUNE_SECONDS
    await wait_until_async(lambda: files.kube.calls.count(("GET", CONFIG_MAPS)) == 2)
    files.kube.remove(f"/api/v1/namespaces/gpuenv-probes/pods/{mounting['metadata']['name']}")
    files.now += probe_files.PRUNE_SECONDS
    await wait_until_async(lambda: files.kube.calls.count(("GET", CONFIG_MAPS)) == 3)
    assert [path for path in files.kube.objects if path.startswith(CONFIG_MAPS)] == [PATH]
    before = len(files.kube.calls)
    files.now += 100 * probe_files.PRUNE_SECONDS
    await asyncio.sleep(0.1)
    assert len(files.kube.calls) == before
    keeping.cancel()
