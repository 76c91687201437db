"""When runs start and stop, and what becomes of their pods."""

import copy

import pytest
from tests.support import builders
from tests.support.builders import NOW, terminated
from tests.support.world import World, first_run, fleet, kinds, validated

from gpuenv.api import names, reasons
from gpuenv.plan.actions import CreatePod, DeletePod

WEEK = 604800


def test_an_old_verdict_is_renewed_and_stays_meanwhile() -> None:
    made = validated()
    wake_at = made.plan().wake_at
    assert wake_at is not None
    assert 0.9 * WEEK <= wake_at - made.now <= 1.1 * WEEK
    made.now = wake_at
    made.settle()
    assert made.pod_of()
    assert (made.verdict(), made.label()) == (("Compatible", ""), "Compatible")
    assert made.condition("Ready") == ("True", reasons.AllAnswered)


@pytest.mark.parametrize("kind", ["environments", "reports"])
def test_a_run_on_demand_once_for_each_token(kind: str) -> None:
    made = validated()
    name = "pt" if kind == "environments" else "pt.n1"
    for token in ("a", "b"):
        made.annotate(kind, name, names.ANNOTATION_REVALIDATE, token)
        made.settle()
        assert len(made.pods_of()) == 1
        assert made.status().get("observedRevalidate") != token
        made.finish()
        made.settle()
        assert not made.raw["pods"]
        if kind == "environments":
            assert made.status()["observedRevalidate"] == token
    made.annotate(kind, name, names.ANNOTATION_REVALIDATE, "")
    made.settle()
    assert not made.raw["pods"], "a token that was taken away asks for nothing"


def test_a_token_that_comes_during_a_run_asks_for_another_one() -> None:
    made = first_run()
    made.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    made.settle()
    first = made.run_id()
    made.finish()
    made.settle()
    assert made.run_id() != first


def test_on_demand_overrides_the_back_off_once() -> None:
    made = first_run()
    made.busy()
    made.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    made.settle()
    assert made.live_pods()
    made.busy()
    assert not made.live_pods()


def test_suspension_keeps_verdicts_and_stops_runs() -> None:
    made = validated()
    made.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "now")
    made.settle()
    made.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    made.environment(suspend=True)
    planned = made.step()
    assert kinds(planned).count("DeletePod") == 1
    made.gone("pods", made.pod_of()["metadata"]["name"])
    made.settle()
    assert made.verdict() == ("Compatible", "")
    assert made.report().attempt is None if made.report() else False
    assert made.plan().actions == ()


def test_a_suspended_environment_without_answers_is_not_ready() -> None:
    made = World()
    made.environment(suspend=True)
    made.node()
    made.settle()
    assert not made.raw["pods"]
    assert made.condition("Ready") == ("False", reasons.Suspended)


def test_a_pod_of_former_inputs_goes_without_a_trace() -> None:
    made = first_run()
    made.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    old = made.pod_of()["metadata"]["name"]
    made.environment(image="pytorch/pytorch:2.8.0")
    planned = made.step()
    assert [action.name for action in planned.actions if isinstance(action, DeletePod)] == [old]
    assert not any(isinstance(action, CreatePod) for action in planned.actions), "the node is still taken"
    made.gone("pods", old)
    made.settle()
    assert made.report() is None
    assert made.pod_of()["metadata"]["name"] != old


def test_a_hanging_run_is_stopped_and_tells_where_it_hung() -> None:
    made = first_run(probe={"timeouts": {"runSeconds": 100}})
    run, facts = made.run_id(), terminated(builders.facts_report(made.run_id()))
    up = {"scheduled": NOW, "sandbox": NOW, "facts": facts}
    made.pod("Running", **up, kernels=builders.running(NOW))
    wake_at = made.plan().wake_at
    assert wake_at == NOW + 110
    made.now = wake_at
    assert "DeletePod" in kinds(made.step())
    assert made.report() is None
    partial = builders.kernels_report(run, complete=False, ended="during matmul")
    ended = terminated(partial, code=137, at=made.now + 5, started=NOW)
    name = made.pod("Failed", **up, kernels=ended, deleted=made.now + 5)["metadata"]["name"]
    made.gone("pods", name)
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ProbeTimeout)


def test_a_stuck_pod_keeps_every_probe_off_the_node() -> None:
    made = first_run()
    made.environment("other", image="a/b:1")
    made.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW), deleted=NOW + 5)
    made.settle()
    made.now += 130
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ProbeStuck)
    assert made.verdict("other") == ("Unknown", reasons.ProbeStuck)
    assert len(made.raw["pods"]) == 1
    assert made.condition("Ready", "other") == ("True", reasons.AllAnswered)
    made.gone("pods", made.pod_of()["metadata"]["name"])
    made.settle()
    made.now += 70
    made.settle()
    assert made.live_pods()


def test_a_stuck_pod_takes_no_place_from_other_nodes() -> None:
    """One place for the environment, one for all: the node that hangs costs itself and nobody else."""
    made = fleet(2, settings={"max_probes": 1}, schedule={"maxConcurrent": 1})
    made.settle()
    (first,) = [pod.node for pod in made.live_pods()]
    hangs = {"scheduled": NOW, "sandbox": NOW, "facts": builders.running(NOW), "deleted": NOW + 5}
    made.pod("Running", node=first, **hangs)
    made.settle()
    assert len(made.live_pods()) == 1
    made.now += 130
    made.settle()
    (second,) = {"n00", "n01"} - {first}
    assert made.verdict(node=first) == ("Unknown", reasons.ProbeStuck)
    assert {pod.node for pod in made.live_pods()} == {first, second}
    assert made.status()["summary"]["running"] == 1, "a pod that never ends does not run"


def test_a_pod_whose_node_goes_before_the_first_report_does_not_stay() -> None:
    made = fleet(2, schedule={"maxConcurrent": 1})
    made.settle()
    (first,) = [pod.node for pod in made.live_pods()]
    made.gone("nodes", first)
    made.settle()
    assert [pod.node for pod in made.live_pods()] == [first], "the node may be back in a moment"
    made.now += made.settings.leave_grace_seconds + 1
    made.settle()
    (second,) = {"n00", "n01"} - {first}
    assert [pod.node for pod in made.live_pods()] == [second]


def test_a_valid_verdict_of_another_environment_survives_a_stuck_pod() -> None:
    made = validated()
    made.environment("other", image="a/b:1")
    made.settle()
    made.pod("Running", environment="other", scheduled=NOW, facts=builders.running(NOW), deleted=NOW)
    made.now += 130
    made.settle()
    assert made.verdict() == ("Compatible", "")
    assert made.verdict("other") == ("Unknown", reasons.ProbeStuck)


def test_failed_pods_stay_for_their_logs_until_the_next_run() -> None:
    made = first_run()
    made.crash()
    kept = made.pod_of()["metadata"]["name"]
    assert kept in made.raw["pods"]
    made.now += 70
    planned = made.step()
    deleted = [action.name for action in planned.actions if isinstance(action, DeletePod)]
    assert deleted == [kept]
    assert kinds(planned).index("DeletePod") < kinds(planned).index("CreatePod")


def test_only_so_many_failed_pods_stay() -> None:
    made = World(failed_pods_kept=2)
    made.environment()
    for index in range(5):
        made.node(f"n{index}")
    made.settle()
    for index in range(5):
        made.pod("Failed", node=f"n{index}", scheduled=NOW, facts=terminated(code=1))
        made.now += 1
        made.settle()
    assert len(made.raw["pods"]) == 2


@pytest.mark.parametrize("gpus", [(8, 0), (0, 0), None])
def test_nothing_starts_on_a_node_that_offers_no_device(gpus: tuple[int, int] | None) -> None:
    made = World()
    made.environment()
    made.node(gpus=gpus)
    made.settle()
    assert not made.raw["pods"]
    assert made.condition("Ready") == ("True", reasons.AllAnswered)
    made.node()
    made.settle()
    assert made.pod_of()


def test_of_two_running_pods_of_one_pair_the_later_goes() -> None:
    made = first_run()
    first = made.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    second = copy.deepcopy(first)
    second["metadata"] |= {
        "name": "pt-n1-second",
        "uid": "second",
        "creationTimestamp": "2027-01-15T08:00:09Z",
    }
    second["metadata"]["annotations"][names.ANNOTATION_RUN] = "second"
    made.put("pods", second)
    deleted = [action.name for action in made.plan().actions if isinstance(action, DeletePod)]
    assert deleted == ["pt-n1-second"]


def test_a_pod_that_lingers_is_taken_over_once() -> None:
    """A finalizer of somebody else's keeps it; later runs come and go, and its outcome is not told again."""
    made = first_run()
    ended = made.finish()
    ended["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    made.put("pods", ended)
    for _ in range(3):
        made.settle()
        made.now += 2 * 604800
        made.settle()
        made.crash()
        assert made.verdict() == ("Unknown", reasons.ProbeCrashed)
        assert ended["metadata"]["name"] in made.raw["pods"]


def test_of_two_ended_pods_without_a_report_the_later_counts() -> None:
    made = first_run()
    first = made.finish()
    second = copy.deepcopy(first)
    second["metadata"] |= {
        "name": "pt-n1-second",
        "uid": "second",
        "creationTimestamp": "2027-01-15T08:00:09Z",
    }
    second["metadata"]["annotations"][names.ANNOTATION_RUN] = "second"
    for pod in (first, second):
        pod["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:10Z"
        made.put("pods", pod)
    made.settle()
    report = made.report()
    assert report is not None
    assert (report.runs, made.verdict()) == (1, ("Unknown", reasons.ReportInvalid))


def test_a_run_taken_over_from_before_the_report_is_never_named_again() -> None:
    """The report was deleted while a pod lingered: its run id comes up when the count gets there."""
    made = first_run()
    for _ in range(2):
        made.finish()
        made.settle()
        made.now += 2 * 604800
        made.settle()
    lingering = made.finish()
    made.gone("reports", "pt.n1")
    made.settle()
    known = {lingering["metadata"]["annotations"][names.ANNOTATION_RUN]}
    for _ in range(4):
        made.now += 2 * 604800
        made.settle()
        assert made.run_id() not in known
        known.add(made.run_id())
        made.busy()


def test_a_pod_of_the_former_boot_does_not_block_the_next_runs_name() -> None:
    made = first_run()
    old = made.finish()
    old["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    made.put("pods", old)
    made.node(boot="boot-2")
    made.settle()
    assert made.live_pods()


def test_a_superfluous_pod_that_does_not_go_is_stuck_too() -> None:
    """The image changed meanwhile; nobody waits for the old pod, yet it holds the GPU. Its clock wakes the planner."""
    made = first_run()
    made.pod("Running", scheduled=NOW, facts=builders.running(NOW))
    made.environment(image="a/b:2")
    made.step()
    wake_at = made.plan().wake_at
    assert wake_at == made.now + 5 + 120
    made.now = wake_at
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ProbeStuck)
