"""Writes that somebody's policy or webhook refuses: told, backed off, and no obstacle to anything else."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create, label, write
from tests.support.world import World

from gpuenv.api import names
from gpuenv.cli.output.text import in_words
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES
from gpuenv.controller.write.uninstall import Uninstall
from gpuenv.plan.actions import AddFinalizer, Cleanup, DeletePod, SetNodeCondition

LABEL = names.node_label("e")
FROZEN = (422, "Invalid", "ValidatingAdmissionPolicy 'x' denied request: labels of nodes are frozen")
WEBHOOK = (
    500,
    "InternalError",
    'Internal error occurred: failed calling webhook "w": no endpoints available',
)


@pytest.fixture
def world() -> World:
    world = World(watch=False)
    world.put("nodes", builders.node("a"))
    return world


async def test_a_refused_label_is_logged_and_backs_off(world: World, caplog: Any) -> None:
    delays = []
    for _ in range(3):
        world.kube.fail("PATCH", "nodes/a", *FROZEN)
        outcome = await world.run(label("a"))
        assert outcome.failed == 1
        delays.append((outcome.retry_at or 0) - world.now)
        world.now = outcome.retry_at or 0
    assert delays == [1, 2, 4]
    assert "labels of nodes are frozen" in caplog.text


async def test_a_report_that_fails_again_and_again_counts_as_refused(world: World) -> None:
    """Nobody knows when it can be stored, so its label must not go on to say what the former one said."""
    lasts = []
    for _ in range(6):
        world.kube.fail("POST", "gpunodereports", *WEBHOOK)
        outcome = await world.run(write("e", "a"))
        lasts.append(world.cache.refusals["e", "a"].lasts)
        world.now = outcome.retry_at or 0
    assert lasts == [False] * 4 + [True] * 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_webhook_that_denies_with_the_status_of_an_overload_is_no_outage(
    world: World, status: int
) -> None:
    denial = (status, "TooManyRequests", 'admission webhook "w.example.com" denied the request: not now')
    world.put("nodes", builders.node("b"))
    for _ in range(2):
        world.kube.fail("POST", "/pods", *denial)
        outcome = await world.run(create("e", "a", "r1"), label("b"))
        assert LABEL in world.get("nodes", "b")["metadata"]["labels"]
        world.now = outcome.retry_at or world.now
    assert set(world.cache.rejections) == {("e", "a")}


async def test_a_refused_label_does_not_stop_what_follows_it(world: World) -> None:
    old = world.put("pods", builders.pod("e", "a", "old"))["metadata"]
    condition = SetNodeCondition("e", "a", "True", "Compatible", "fine")
    actions = (
        write("e", "a"),
        label("a"),
        condition,
        DeletePod(old["name"], old["uid"], ""),
        create("e", "a", "new"),
    )
    world.kube.fail("PATCH", "nodes/a$", *FROZEN)
    outcome = await world.run(*actions)
    assert (outcome.done, outcome.failed) == (4, 1)
    assert set(world.cache.refusals) == {("e", "a")}
    assert [pod.run_id for pod in world.cache.pods.values() if not pod.vanished] == ["old", "new"]
    assert world.scope.item("pods", old["name"]) not in world.kube.objects
    # Nor does it while it is held back.
    again = await world.run(label("a"), create("e", "a", "newer"))
    assert (again.done, again.skipped) == (1, 1)


async def test_a_refused_deletion_of_a_pod_is_no_success(world: World) -> None:
    pod = world.put("pods", builders.pod("e", "a"))["metadata"]
    world.kube.fail("DELETE", "pods", 422, "Invalid", "pods are frozen")
    outcome = await world.run(DeletePod(pod["name"], pod["uid"], "settled"))
    assert (outcome.done, outcome.failed) == (0, 1)


async def test_a_refused_finalizer_is_an_error(world: World) -> None:
    world.put("environments", builders.environment("e"))
    world.kube.fail("PATCH", "gpuenvironments", *FROZEN)
    assert (await world.run(AddFinalizer("e", "uid-e"))).failed == 1
    world.kube.fail("PATCH", "gpuenvironments", 409, "Conflict")
    world.now += 60
    assert (await world.run(AddFinalizer("e", "uid-e"))).failed == 0


def going(world: World) -> None:
    """Environment ``e`` is being deleted; its label is on nodes a and b, and there is a report of each."""
    fields = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [names.FINALIZER]}
    world.put("environments", builders.environment("e", metadata=fields))
    for name in "ab":
        world.put("nodes", builders.node(name, labels={LABEL: "Compatible"}))
        world.put("reports", builders.report("e", name))


async def test_an_environment_stays_while_a_label_of_its_own_was_refused(world: World, caplog: Any) -> None:
    going(world)
    world.kube.fail("PATCH", "nodes/a", *FROZEN)
    outcome = await world.run(Cleanup("e", "uid-e"))
    assert outcome.failed == 1
    assert "labels of nodes are frozen" in caplog.text
    assert f"{ENVIRONMENTS}/e" in world.kube.objects
    # Everything else went.
    assert LABEL not in world.get("nodes", "b")["metadata"]["labels"]
    assert world.cache.reports == {}
    world.now = outcome.retry_at or 0
    await world.run(Cleanup("e", "uid-e"))
    assert f"{ENVIRONMENTS}/e" not in world.kube.objects
    assert LABEL not in world.get("nodes", "a")["metadata"]["labels"]


async def test_a_policy_that_freezes_all_nodes_is_not_asked_about_each(world: World) -> None:
    going(world)
    for number in range(100):
        world.kube.add(NODES, builders.node(f"n{number}", labels={LABEL: "Compatible"}))
        world.kube.fail("PATCH", "nodes/", *FROZEN)
    world.kube.calls.clear()
    assert (await world.run(Cleanup("e", "uid-e"))).failed == 1
    assert len([call for call in world.kube.calls if call[0] == "PATCH"]) == 10
    assert world.cache.reports == {}


async def test_a_node_that_goes_during_a_removal_does_not_stop_it(world: World) -> None:
    going(world)
    world.kube.fail("PATCH", "nodes/a", 404, "NotFound")

    def gone(method: str, path: str, body: Any) -> None:
        if (method, path) == ("GET", f"{NODES}/a"):
            world.kube.objects.pop(path, None)

    world.kube.hooks.append(gone)
    assert (await world.run(Cleanup("e", "uid-e"))).failed == 0
    assert f"{ENVIRONMENTS}/e" not in world.kube.objects


async def test_uninstall_goes_on_past_a_node_it_may_not_clean(world: World, caplog: Any) -> None:
    for name in "ab":
        world.kube.add(NODES, builders.node(name, labels={LABEL: "Compatible"}))
    uninstall = Uninstall(world.kube, world.scope, "gpuenv", "lease")
    world.kube.fail("PATCH", "nodes/a", *FROZEN)
    assert (await uninstall.run()).nodes == 1
    assert "node a keeps what gpuenv has written there" in caplog.text
    assert LABEL in world.get("nodes", "a")["metadata"]["labels"]
    assert LABEL not in world.get("nodes", "b")["metadata"]["labels"]
    assert (await uninstall.run()).nodes == 1
    assert LABEL not in world.get("nodes", "a")["metadata"]["labels"]


async def test_uninstall_goes_on_past_a_node_that_was_replaced(world: World, caplog: Any) -> None:
    world.kube.add(NODES, builders.node("a", labels={LABEL: "Compatible"}))

    def replaced(method: str, path: str, body: Any) -> None:
        if (method, path) == ("PATCH", f"{NODES}/a"):
            world.kube.objects[path]["metadata"]["uid"] = "another"

    world.kube.hooks.append(replaced)
    assert (await Uninstall(world.kube, world.scope, "gpuenv", "lease").run()).nodes == 0
    assert caplog.text == ""


async def test_uninstall_takes_the_finalizer_off_an_environment_that_changes_meanwhile(world: World) -> None:
    finalizers = ["others/one", names.FINALIZER]
    world.kube.add(ENVIRONMENTS, builders.environment("e", metadata={"finalizers": finalizers}))
    world.kube.fail("PATCH", "gpuenvironments", 409, "Conflict")
    uninstall = Uninstall(world.kube, world.scope, "gpuenv", "lease")
    assert (await uninstall.run()).finalizers == 1
    assert world.get("environments", "e")["metadata"]["finalizers"] == ["others/one"]
    assert (await uninstall.run()).finalizers == 0


# ---- pods that the API server fails to create ---------------------------------------------------------------


async def test_a_webhook_that_fails_twice_is_a_refusal_in_the_servers_words(world: World) -> None:
    world.kube.fail("POST", "pods", *WEBHOOK)
    first = await world.run(create("e", "a"))
    assert world.cache.rejections == {}
    world.now = first.retry_at or 0
    world.kube.fail("POST", "pods", *WEBHOOK)
    await world.run(create("e", "a"))
    attempt = world.cache.rejections["e", "a"].attempt
    assert (attempt.reason, attempt.message, attempt.run_id) == ("ProbeRejected", WEBHOOK[2], "run1")
    assert "webhook does not answer" in in_words(attempt.remedies)
    # The report that tells of it is not held back.
    assert (await world.run(write("e", "a"))).done == 1


@pytest.mark.parametrize("status", [401, 429, 502, 503, 504])
async def test_an_overload_that_lasts_judges_no_pod(world: World, status: int) -> None:
    for _ in range(4):
        world.kube.fail("POST", "pods", status)
        outcome = await world.run(create("e", "a"))
        world.now = outcome.retry_at or 0
    assert world.cache.rejections == {}


async def test_a_failed_report_is_no_first_failure_of_the_pod(world: World) -> None:
    world.kube.fail("POST", "gpunodereports", 500)
    outcome = await world.run(write("e", "a"), create("e", "a"))
    world.now = outcome.retry_at or 0
    world.kube.fail("POST", "pods", *WEBHOOK)
    await world.run(write("e", "a"), create("e", "a"))
    assert world.cache.rejections == {}
