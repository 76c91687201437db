"""When runs start and stop, and what becomes of their pods."""

import copy

import pytest
from tests.support import builders
from tests.support.actions import kinds
from tests.support.builders import NOW, terminated
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.world import World

from gpuenv.api import names, reasons
from gpuenv.plan.actions import CreatePod, DeletePod

WEEK = 604800


def test_an_old_verdict_is_renewed_and_stays_meanwhile() -> None:
    world = validated()
    wake_at = world.plan().wake_at
    assert wake_at is not None
    assert 0.9 * WEEK <= wake_at - world.now <= 1.1 * WEEK
    world.now = wake_at
    world.settle()
    assert world.pod_of()
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")
    assert world.condition("Ready") == ("True", reasons.AllAnswered)


def test_on_demand_overrides_the_back_off_once() -> None:
    world = first_run()
    world.busy()
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    assert world.live_pods()
    world.busy()
    assert not world.live_pods()


def test_suspension_keeps_verdicts_and_stops_runs() -> None:
    world = validated()
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    world.settle()
    world.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    world.environment(suspend=True)
    planned = world.step()
    assert kinds(planned).count("DeletePod") == 1
    world.gone("pods", world.pod_of()["metadata"]["name"])
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert world.report().attempt is None if world.report() else False
    assert world.plan().actions == ()


def test_a_suspended_environment_without_answers_is_not_ready() -> None:
    world = World()
    world.environment(suspend=True)
    world.node()
    world.settle()
    assert not world.objects("pods")
    assert world.condition("Ready") == ("False", reasons.Suspended)


def test_a_pod_of_former_inputs_goes_without_a_trace() -> None:
    world = first_run()
    world.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    old = world.pod_of()["metadata"]["name"]
    world.environment(image="pytorch/pytorch:2.8.0")
    planned = world.step()
    assert [action.name for action in planned.actions if isinstance(action, DeletePod)] == [old]
    assert not any(isinstance(action, CreatePod) for action in planned.actions), "the node is still taken"
    world.gone("pods", old)
    world.settle()
    assert world.report() is None
    assert world.pod_of()["metadata"]["name"] != old


def test_a_hanging_run_is_stopped_and_tells_where_it_hung() -> None:
    world = first_run(probe={"timeouts": {"runSeconds": 100}})
    run, facts = world.run_id(), terminated(builders.facts_report(world.run_id()))
    up = {"scheduled": NOW, "sandbox": NOW, "facts": facts}
    world.pod("Running", **up, kernels=builders.running(NOW))
    wake_at = world.plan().wake_at
    assert wake_at == NOW + 110
    world.now = wake_at
    assert kinds(world.step()) == ["LookAtPod"]
    assert "DeletePod" in kinds(world.step())
    assert world.report() is None
    partial = builders.kernels_report(run, complete=False, ended="during matmul")
    ended = terminated(partial, code=137, at=world.now + 5, started=NOW)
    name = world.pod("Failed", **up, kernels=ended, deleted=world.now + 5)["metadata"]["name"]
    world.gone("pods", name)
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbeTimeout)


def test_a_stuck_pod_keeps_every_probe_off_the_node() -> None:
    world = first_run()
    world.environment("other", image="a/b:1")
    world.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW), deleted=NOW + 5)
    world.settle()
    world.now += 130
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbeStuck)
    assert world.verdict("other") == ("Unknown", reasons.ProbeStuck)
    assert len(world.objects("pods")) == 1
    assert world.condition("Ready", "other") == ("True", reasons.AllAnswered)
    world.gone("pods", world.pod_of()["metadata"]["name"])
    world.settle()
    world.now += 70
    world.settle()
    assert world.live_pods()


def test_a_stuck_pod_takes_no_place_from_other_nodes() -> None:
    """One place for the environment, one for all: the node that hangs costs itself and nobody else."""
    world = fleet(2, settings={"max_probes": 1}, strategy={"maxConcurrent": 1})
    world.settle()
    (first,) = [pod.node for pod in world.live_pods()]
    hangs = {"scheduled": NOW, "sandbox": NOW, "facts": builders.running(NOW), "deleted": NOW + 5}
    world.pod("Running", node=first, **hangs)
    world.settle()
    assert len(world.live_pods()) == 1
    world.now += 130
    world.settle()
    (second,) = {"n00", "n01"} - {first}
    assert world.verdict(node=first) == ("Unknown", reasons.ProbeStuck)
    assert {pod.node for pod in world.live_pods()} == {first, second}
    assert world.status()["summary"]["running"] == 1, "a pod that never ends does not run"


def test_a_pod_whose_node_goes_before_the_first_report_does_not_stay() -> None:
    world = fleet(2, strategy={"maxConcurrent": 1})
    world.settle()
    (first,) = [pod.node for pod in world.live_pods()]
    world.gone("nodes", first)
    world.settle()
    assert [pod.node for pod in world.live_pods()] == [first], "the node may be back in a moment"
    world.now += world.settings.leave_grace_seconds + 1
    world.settle()
    (second,) = {"n00", "n01"} - {first}
    assert [pod.node for pod in world.live_pods()] == [second]


def test_a_valid_verdict_of_another_environment_survives_a_stuck_pod() -> None:
    world = validated()
    world.environment("other", image="a/b:1")
    world.settle()
    world.pod("Running", environment="other", scheduled=NOW, facts=builders.running(NOW), deleted=NOW)
    world.now += 130
    world.settle()
    assert world.verdict() == ("Compatible", "")
    assert world.verdict("other") == ("Unknown", reasons.ProbeStuck)


def test_failed_pods_stay_for_their_logs_until_the_next_run() -> None:
    world = first_run()
    world.crash()
    kept = world.pod_of()["metadata"]["name"]
    assert kept in world.objects("pods")
    world.now += 70
    planned = world.step()
    deleted = [action.name for action in planned.actions if isinstance(action, DeletePod)]
    assert deleted == [kept]
    assert kinds(planned).index("DeletePod") < kinds(planned).index("CreatePod")


def test_only_so_many_failed_pods_stay() -> None:
    world = World(failed_pods_kept=2)
    world.environment()
    for index in range(5):
        world.node(f"n{index}")
    world.settle()
    for index in range(5):
        world.pod("Failed", node=f"n{index}", scheduled=NOW, facts=terminated(code=1))
        world.now += 1
        world.settle()
    assert len(world.objects("pods")) == 2


@pytest.mark.parametrize("gpus", [(8, 0), (0, 0), None])
def test_nothing_starts_on_a_node_that_offers_no_device(gpus: tuple[int, int] | None) -> None:
    world = World()
    world.environment()
    world.node(gpus=gpus)
    world.settle()
    assert not world.objects("pods")
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    world.node()
    world.settle()
    assert world.pod_of()


def test_of_two_running_pods_of_one_pair_the_later_goes() -> None:
    world = first_run()
    first = world.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    second = copy.deepcopy(first)
    second["metadata"] |= {
        "name": "pt-n1-second",
        "uid": "second",
        "creationTimestamp": "2027-01-15T08:00:09Z",
    }
    second["metadata"]["annotations"][names.ANNOTATION_RUN] = "second"
    world.put("pods", second)
    deleted = [action.name for action in world.plan().actions if isinstance(action, DeletePod)]
    assert deleted == ["pt-n1-second"]


def test_a_pod_that_lingers_is_taken_over_once() -> None:
    """A finalizer of somebody else's keeps it; later runs come and go, and its outcome is not told again."""
    world = first_run()
    ended = world.finish()
    ended["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    world.put("pods", ended)
    for _ in range(3):
        world.settle()
        world.now += 2 * 604800
        world.settle()
        world.crash()
        assert world.verdict() == ("Unknown", reasons.ProbeCrashed)
        assert ended["metadata"]["name"] in world.objects("pods")


def test_of_two_ended_pods_without_a_report_the_later_counts() -> None:
    world = first_run()
    first = world.finish()
    second = copy.deepcopy(first)
    second["metadata"] |= {
        "name": "pt-n1-second",
        "uid": "second",
        "creationTimestamp": "2027-01-15T08:00:09Z",
    }
    second["metadata"]["annotations"][names.ANNOTATION_RUN] = "second"
    world.put("pods", second)
    for pod in (first, second):
        pod["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:10Z"
        world.put("pods", pod)
    world.settle()
    report = world.report()
    assert report is not None
    assert (report.runs, world.verdict()) == (1, ("Unknown", reasons.ReportInvalid))


def test_a_run_taken_over_from_before_the_report_is_never_named_again() -> None:
    """The report was deleted while a pod lingered: its run id comes up when the count gets there."""
    world = first_run()
    for _ in range(2):
        world.finish()
        world.settle()
        world.now += 2 * 604800
        world.settle()
    lingering = world.finish()
    world.gone("reports", "pt.n1")
    world.settle()
    known = {lingering["metadata"]["annotations"][names.ANNOTATION_RUN]}
    for _ in range(4):
        world.now += 2 * 604800
        world.settle()
        assert world.run_id() not in known
        known.add(world.run_id())
        world.busy()


def test_a_pod_of_the_former_boot_does_not_block_the_next_runs_name() -> None:
    world = first_run()
    old = world.finish()
    old["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    world.put("pods", old)
    world.node(boot="boot-2")
    world.settle()
    assert world.live_pods()


def test_a_superfluous_pod_that_does_not_go_is_stuck_too() -> None:
    """The image changed meanwhile; nobody waits for the old pod, yet it holds the GPU. Its clock wakes the planner."""
    world = first_run()
    world.pod("Running", scheduled=NOW, facts=builders.running(NOW))
    world.environment(image="a/b:2")
    world.step()
    wake_at = world.plan().wake_at
    assert wake_at == world.now + 5 + 120
    world.now = wake_at
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbeStuck)
