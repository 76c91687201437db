"""From plan to API calls: order, isolation, back-off, outages."""

import asyncio
import time
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import create, label, write
from tests.support.world import World

from gpuenv.api import names
from gpuenv.cli.output.text import in_words
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import NODES, REPORTS
from gpuenv.controller.write import backoff, lanes
from gpuenv.controller.write.executor import Executor
from gpuenv.plan.actions import AddFinalizer, CreatePod, DeletePod, PostEvent, SetNodeCondition, WriteStatus
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Attempt

LABEL = names.node_label("e")


@pytest.fixture
def world() -> World:
    return World(watch=False)


# ---- one outcome ------------------------------------------------------------------------------------------


async def test_report_before_label_before_deletion_of_the_pod(world: World) -> None:
    world.put("nodes", builders.node("a"))
    pod = world.put("pods", builders.pod("e", "a"))
    delete = DeletePod(pod["metadata"]["name"], pod["metadata"]["uid"], "settled")
    outcome = await world.run(write("e", "a"), label("a"), delete)
    assert outcome.done == 3
    assert world.kube.writes() == [
        ("POST", REPORTS),
        ("PATCH", f"{REPORTS}/e.a/status"),
        ("PATCH", f"{NODES}/a"),
        ("DELETE", world.scope.item("pods", pod["metadata"]["name"])),
    ]
    assert world.get("reports", "e.a")["status"] == {"verdict": "Unknown", "reason": "GpusBusy"}
    assert world.get("nodes", "a")["metadata"]["labels"][LABEL] == "Compatible"
    assert world.cache.nodes["a"].compat == {"e": "Compatible"}
    assert world.cache.reports["e", "a"].reason == "GpusBusy"


async def test_what_follows_a_failed_write_is_not_done(world: World) -> None:
    world.put("nodes", builders.node("a"))
    pod = world.put("pods", builders.pod("e", "a"))
    world.kube.fail("PATCH", "status", 500, "InternalError", "etcd is unhappy")
    delete = DeletePod(pod["metadata"]["name"], pod["metadata"]["uid"], "settled")
    outcome = await world.run(write("e", "a"), label("a"), delete)
    assert (outcome.done, outcome.failed) == (0, 1)
    assert LABEL not in world.get("nodes", "a")["metadata"]["labels"]
    assert world.scope.item("pods", pod["metadata"]["name"]) in world.kube.objects


async def test_a_new_status_leaves_nothing_of_the_old_one(world: World) -> None:
    world.put("reports", builders.report("e", "a", lastAttempt={"reason": "x"}))
    await world.run(write("e", "a", exists=True))
    assert world.get("reports", "e.a")["status"] == {"verdict": "Unknown", "reason": "GpusBusy"}


async def test_a_report_of_a_former_node_of_that_name_is_replaced(world: World) -> None:
    former = builders.report("e", "a")
    former["spec"]["nodeUID"] = "another"
    world.kube.add(REPORTS, former)
    outcome = await world.run(write("e", "a"))
    assert outcome.done == 0
    world.now = outcome.retry_at or 0
    await world.run(write("e", "a"))
    assert world.get("reports", "e.a")["spec"]["nodeUID"] == "uid-a"


async def test_a_report_of_a_former_node_that_finalizers_keep_is_a_refusal(world: World) -> None:
    former = builders.report("e", "a")
    former["spec"]["nodeUID"] = "another"
    former["metadata"] |= {"deletionTimestamp": "2027-01-15T08:00:00Z", "finalizers": ["example.com/kept"]}
    world.kube.add(REPORTS, former)
    outcome = await world.run(write("e", "a"))
    assert (outcome.done, outcome.failed) == (0, 1)
    refusal = world.cache.refusals["e", "a"]
    assert "kept by the finalizers example.com/kept; remove them" in refusal.message


async def test_a_report_somebody_deleted_is_planned_anew(world: World) -> None:
    world.put("reports", builders.report("e", "a"))
    world.kube.objects.clear()
    await world.run(write("e", "a", exists=True), label("a"))
    assert world.cache.reports == {}
    assert ("PATCH", f"{NODES}/a") not in world.kube.calls


# ---- isolation, back-off, outage
# ----------------------------------------------------------------------------


async def test_one_failing_pair_does_not_delay_another_and_backs_off(world: World) -> None:
    for name in "abc":
        world.put("nodes", builders.node(name))
    actions = [label(name) for name in "abc"]
    delays = []
    for _ in range(8):
        world.kube.fail("PATCH", "nodes/b", 500, "InternalError", "no")
        outcome = await world.run(*actions)
        assert (outcome.done, outcome.failed) == (2, 1)
        delays.append((outcome.retry_at or 0) - world.now)
        again = await world.run(*actions)
        assert (again.done, again.skipped, again.failed) == (2, 1, 0)
        world.now = outcome.retry_at or 0
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    outcome = await world.run(*actions)
    assert (outcome.done, outcome.failed) == (3, 0)


async def test_delays_are_told_by_a_clock_that_nobody_sets_back(world: World) -> None:
    executor = Executor(world.executor._writes, world.executor._events, world.metrics)
    world.kube.fail("POST", "gpunodereports", 500)
    before = time.monotonic()
    outcome = await executor.run(world.plan_of(write("e", "a")))
    assert outcome.retry_at is not None
    assert before < outcome.retry_at <= time.monotonic() + backoff.BACKOFF_SECONDS


async def test_a_fault_of_our_own_stays_in_its_chain(world: World, caplog: Any) -> None:
    world.put("nodes", builders.node("a"))
    broken = CreatePod("e", "b", "r", "i", "f", {"no": "metadata"})
    outcome = await world.run(broken, label("a"))
    assert (outcome.done, outcome.failed) == (1, 1)
    assert "fault of our own" in caplog.text


@pytest.mark.parametrize("status", [0, 401, 429, 503])
async def test_an_outage_stops_the_plan_and_loses_nothing(world: World, status: int) -> None:
    for number in range(50):
        world.put("nodes", builders.node(f"n{number}"))
    world.kube.calls.clear()
    world.kube.down = ApiError(status, "Unreachable", "nobody answers")
    actions = [label(f"n{number}") for number in range(50)]
    outcome = await world.run(*actions)
    assert outcome.done == 0
    assert len(world.kube.calls) <= lanes.PER_ENVIRONMENT
    assert outcome.retry_at == world.now + 1
    second = await world.run(*actions)
    assert second.retry_at == world.now + 2
    world.kube.down = None
    assert (await world.run(*actions)).done == 50


async def test_a_large_plan_is_worked_off_in_slices(world: World) -> None:
    for number in range(200):
        world.put("nodes", builders.node(f"n{number}"))
    world.slow_down(0.1)
    outcome = await world.run(*(label(f"n{number}") for number in range(200)))
    assert 50 <= outcome.done < 200
    assert outcome.done + outcome.skipped == 200
    assert outcome.retry_at == world.now


async def test_a_status_is_written_twice_in_a_row_and_then_every_two_seconds(world: World) -> None:
    world.put("environments", builders.environment("e"))
    event = PostEvent("GPUEnvironment", "e", "uid-e", "Normal", "AllAnswered", "all")

    def status(words: str) -> WriteStatus:
        return WriteStatus("e", "uid-e", {"problems": [{"reason": words}]}, (event,))

    assert (await world.run(status("1"))).done == 1
    assert (await world.run(status("2"))).done == 1
    third = await world.run(status("3"))
    assert (third.done, third.retry_at) == (0, world.now + 2)
    assert world.events == [event, event], "an Event comes with the status that it announces"
    world.now += 2
    assert (await world.run(status("3"))).done == 1
    assert world.get("environments", "e")["status"] == {"problems": [{"reason": "3"}]}


async def test_a_large_change_keeps_no_status_waiting(world: World) -> None:
    for name in "ef":
        world.put("environments", builders.environment(name))
    for number in range(300):
        world.put("nodes", builders.node(f"n{number}"))
    world.slow_down(0.1)
    statuses = [WriteStatus(name, f"uid-{name}", {"summary": {"text": "1"}}) for name in "ef"]
    outcome = await world.run(*(label(f"n{number}") for number in range(300)), *statuses)
    assert outcome.skipped
    assert all(world.get("environments", name)["status"] for name in "ef")


async def test_a_status_that_is_refused_announces_nothing(world: World) -> None:
    world.put("environments", builders.environment("e"))
    world.kube.fail("PATCH", "status", 422, "Invalid", "no")
    event = PostEvent("GPUEnvironment", "e", "uid-e", "Normal", "AllAnswered", "all")
    await world.run(WriteStatus("e", "uid-e", {"summary": {}}, (event,)))
    assert world.events == []


async def test_a_refused_result_is_told_to_the_next_plan_until_it_is_taken(world: World) -> None:
    for name in "ab":
        world.put("nodes", builders.node(name))
    pod = world.put("pods", builders.pod("e", "b"))["metadata"]
    world.kube.fail("PATCH", "nodes/a", 422, "Invalid", "labels are frozen " + 500 * "x")
    world.kube.fail("DELETE", "pods", 422, "Invalid", "pods are frozen")
    outcome = await world.run(label("a"), DeletePod(pod["name"], pod["uid"], "settled"))
    refusals = world.cache.snapshot(Settings()).refusals
    assert list(refusals) == [("e", "a")], "only what the status has to tell"
    assert refusals["e", "a"].message.startswith("422 Invalid: labels are frozen")
    assert len(refusals["e", "a"].message) == backoff.WORDS
    await world.run(label("a"))
    assert world.cache.snapshot(Settings()).refusals == refusals, "it is still held off"
    world.now = outcome.retry_at or 0
    await world.run(label("a"))
    assert world.cache.snapshot(Settings()).refusals == {}


async def test_status_never_lands_on_a_successor(world: World) -> None:
    world.put("environments", builders.environment("e"))
    await world.run(WriteStatus("e", "former", {"summary": {}}))
    assert "status" not in world.get("environments", "e")


# ---- pods
# ----------------------------------------------------------------------------------------------------


REFUSALS = [
    (403, 'pods "x" is forbidden: no PriorityClass with name p was found', "PriorityClass"),
    (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', "runAs: NonRoot"),
    (403, 'pods "x" is forbidden: exceeded quota: q', "ResourceQuota"),
    (403, 'pod rejected: RuntimeClass "nvidia" not found', "runtimeClassName"),
    (404, 'namespaces "probes" not found', "probe namespace"),
    (422, 'Pod "x" is invalid: spec.containers[0].image', "spec.probe"),
]


@pytest.mark.parametrize(("status", "words", "cure"), REFUSALS)
async def test_a_refused_pod_is_an_attempt_in_the_servers_words(
    world: World, status: int, words: str, cure: str
) -> None:
    world.kube.fail("POST", "pods", status, "Forbidden", words)
    outcome = await world.run(create("e", "a"))
    assert outcome.failed == 0
    attempt = world.cache.rejections["e", "a"].attempt
    assert (attempt.reason, attempt.message) == ("ProbeRejected", words)
    assert (attempt.run_id, attempt.at) == ("run1", world.now)
    assert cure in in_words(attempt.remedies)


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503])
async def test_what_says_nothing_about_the_pod_is_no_attempt(world: World, status: int) -> None:
    world.kube.fail("POST", "pods", status)
    await world.run(create("e", "a"))
    assert world.cache.rejections == {}


DENIED = (
    'pods is forbidden: User "system:serviceaccount:gpuenv:gpuenv" cannot create resource "pods" '
    'in API group "" in the namespace "probes"'
)


def deny_all(world: World) -> None:
    """Answer as an API server does that has just started and does not know the roles yet."""
    world.kube.down = ApiError(403, "Forbidden", DENIED)


async def test_a_restarting_api_server_denies_everything_and_that_is_an_outage(world: World) -> None:
    for name in "abc":
        world.put("nodes", builders.node(name))
    actions = [create("e", "d"), *(label(name) for name in "abc"), create("e", "f")]
    deny_all(world)
    pauses = []
    for _ in range(4):
        outcome = await world.run(*actions)
        assert outcome.done == 0
        pauses.append((outcome.retry_at or 0) - world.now)
        world.now = outcome.retry_at or 0
    assert pauses == [1, 2, 4, 8]
    assert world.cache.rejections == {}
    assert world.cache.refusals == {}
    world.kube.down = None
    assert (await world.run(*actions)).done == len(actions)


async def test_a_permission_that_is_missing_for_a_minute_is_told_of_the_pod(world: World) -> None:
    world.kube.deny("POST", "pods", 403, "Forbidden", DENIED)
    world.put("nodes", builders.node("a"))
    started = world.now
    while not world.cache.rejections:
        outcome = await world.run(create("e", "d"))
        assert world.now - started <= 120
        world.now = outcome.retry_at or world.now + 1
    assert world.now - started >= 60
    attempt = world.cache.rejections["e", "d"].attempt
    assert (attempt.reason, attempt.message) == ("ProbeRejected", DENIED)
    assert "Grant the operator's service account `create`" in in_words(attempt.remedies)
    outcome = await world.run(create("e", "f"), label("a"))
    assert outcome.done == 1, "the other actions of a plan do not wait for a permission that stays missing"
    assert ("e", "f") in world.cache.rejections


async def test_two_restarts_of_an_api_server_are_no_missing_permission(world: World) -> None:
    for _ in range(5):
        deny_all(world)
        await world.run(create("e", "d"))
        world.kube.down = None
        world.now += 600
    assert world.cache.rejections == {}


async def test_a_write_of_that_kind_ends_the_suspicion(world: World) -> None:
    for number in range(20):
        deny_all(world)
        await world.run(create("e", f"n{number}"))
        world.kube.down = None
        world.now += 2
        await world.run(create("e", f"n{number}"))
        world.now += 8
    assert world.cache.rejections == {}


async def test_a_denied_read_within_an_action_is_an_outage_too(world: World) -> None:
    world.put("environments", builders.environment("e"))
    world.kube.deny("GET", "gpuenvironments", 403, "Forbidden", DENIED.replace("create", "get"))
    outcome = await world.run(AddFinalizer("e", "uid-e"), label("a"))
    assert outcome.retry_at == world.now + 1
    assert world.cache.refusals == {}


async def test_an_existing_pod_of_that_run_is_success(world: World) -> None:
    world.kube.add(world.scope.pods, builders.pod("e", "a"))
    outcome = await world.run(create("e", "a"))
    assert (outcome.done, outcome.failed) == (1, 0)
    assert [pod.node for pod in world.cache.pods.values()] == ["a"]


async def test_a_terminating_pod_of_that_run_is_seen_as_such(world: World) -> None:
    going = builders.pod("e", "a")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.kube.add(world.scope.pods, going)
    await world.run(create("e", "a"))
    (pod,) = world.cache.pods.values()
    assert pod.deleting_since is not None
    assert world.cache.rejections == {}


async def test_a_pod_that_is_gone_already_leaves_its_tombstone(world: World) -> None:
    pod = world.put("pods", builders.pod("e", "a"))
    world.kube.objects.clear()
    await world.run(DeletePod(pod["metadata"]["name"], pod["metadata"]["uid"], "settled"))
    (left,) = world.cache.pods.values()
    assert left.vanished


async def test_anothers_pod_of_that_name_is_not_deleted(world: World) -> None:
    pod = world.put("pods", builders.pod("e", "a"))
    await world.run(DeletePod(pod["metadata"]["name"], "former", "settled"))
    assert world.scope.item("pods", pod["metadata"]["name"]) in world.kube.objects


# ---- nodes
# -----------------------------------------------------------------------------------------------------


async def test_only_our_one_key_is_written(world: World) -> None:
    node = world.put("nodes", builders.node("a", labels={"compat.gpuenv.dev/other": "Degraded", "mine": "x"}))
    await world.run(label("a"))
    labels = world.get("nodes", "a")["metadata"]["labels"]
    assert labels == node["metadata"]["labels"] | {LABEL: "Compatible"}


async def test_a_node_that_went_or_was_replaced_gets_no_label(world: World) -> None:
    world.put("nodes", builders.node("a"))
    world.put("nodes", builders.node("b"))
    del world.kube.objects[f"{NODES}/a"]
    world.kube.touch(f"{NODES}/b", lambda one: one["metadata"].update(uid="successor"))
    outcome = await world.run(label("a"), label("b"))
    assert (outcome.done, outcome.failed) == (0, 0)
    assert list(world.cache.nodes) == ["b"]
    assert world.cache.nodes["b"].uid == "successor"
    assert LABEL not in world.get("nodes", "b")["metadata"]["labels"]


async def test_a_node_condition_keeps_its_transition_time(world: World) -> None:
    world.now = 1000.0
    world.put("nodes", builders.node("a"))
    await world.run(SetNodeCondition("e", "a", "True", "Compatible", "fine"))
    world.now += 60
    await world.run(SetNodeCondition("e", "a", "True", "Compatible", "still fine"))
    ready, ours = world.get("nodes", "a")["status"]["conditions"]
    assert ready["type"] == "Ready"
    assert ours["lastTransitionTime"] == "1970-01-01T00:16:40Z"
    assert ours["lastHeartbeatTime"] == "1970-01-01T00:17:40Z"
    await world.run(SetNodeCondition("e", "a", None))
    assert [one["type"] for one in world.get("nodes", "a")["status"]["conditions"]] == ["Ready"]


# ---- metrics
# -----------------------------------------------------------------------------------------------------


async def test_each_run_is_counted_once_with_its_gpu_time(world: World) -> None:
    world.now = 960.0
    world.put("environments", builders.environment("e"))
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:16:00Z"}
    world.put("pods", builders.pod("e", "a", conditions=[scheduled]))
    world.now = 1000.0
    attempt = Attempt("run1", "ProbeTimeout", "", (), 0.0, "inputs", "fingerprint", 1)
    status = {"reason": "ProbeTimeout", "time": "1970-01-01T00:00:01Z", "count": 1}
    action = write("e", "a", attempt=attempt)
    memory = {"runID": "run1", "inputsHash": "inputs", "nodeFingerprint": "fingerprint"}
    action.status.update({"lastAttempt": status, "internal": {"attempt": memory}})
    await asyncio.gather(world.run(action))
    await world.run(write("e", "a", exists=True, attempt=attempt))
    text = world.metrics.text().decode()
    assert 'gpuenv_probe_runs_total{environment="e",reason="ProbeTimeout",verdict="Unknown"} 1.0' in text
    assert 'gpuenv_probe_gpu_seconds_total{environment="e"} 40.0' in text
    assert 'gpuenv_node_reports{basis="",environment="e",verdict="Unknown"} 1.0' in text


async def test_counting_a_run_does_not_look_at_all_pods(world: World) -> None:
    """A large fleet writes thousands of reports while hundreds of pods are there."""

    class Pods(dict[str, Any]):
        def values(self) -> Any:
            raise AssertionError("all pods are looked at")

    attempt = Attempt("run1", "ProbeTimeout", "", (), 0.0, "inputs", "fingerprint", 1)
    world.cache.pods = Pods(world.cache.pods)
    world.metrics.report_written(write("e", "a", attempt=attempt), None, world.cache)
    assert 'gpuenv_probe_runs_total{environment="e",reason="ProbeTimeout"' in world.metrics.text().decode()
