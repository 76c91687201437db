"""Runs that end without an answer, or with one that is not believed at once: what is kept, tried again, and when."""

from tests.support import builders
from tests.support.builders import NOW, terminated, waiting
from tests.support.world import World, first_run, validated

from gpuenv.api import reasons
from gpuenv.plan.actions import CreatePod, WriteReport
from gpuenv.plan.snapshot import Attempt

WEEK = 604800


def test_busy_gpus_are_an_attempt_that_backs_off() -> None:
    made = first_run()
    made.busy()
    assert made.verdict() == ("Unknown", reasons.GpusBusy)
    assert made.condition("Ready") == ("True", reasons.AllAnswered)
    waits = []
    for count in range(1, 9):
        report = made.report()
        assert report is not None
        assert report.attempt is not None
        assert report.attempt.count == count
        wake_at = made.plan().wake_at
        assert wake_at is not None
        waits.append(wake_at - made.now)
        made.now = wake_at
        made.step()
        made.busy()
    doubling = [60.0 * 2**n for n in range(6)]
    assert all(limit <= seconds <= 1.1 * limit + 1 for limit, seconds in zip(doubling, waits, strict=False))
    assert max(waits) <= 1.1 * 3600 + 1


def test_a_failed_attempt_keeps_a_standing_verdict() -> None:
    made = validated()
    made.now += 2 * WEEK
    made.settle()
    made.busy()
    report = made.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.GpusBusy
    assert (made.verdict(), made.label()) == (("Compatible", ""), "Compatible")


def test_an_assessed_busy_gpu_counts_as_an_attempt_too() -> None:
    made = validated()
    made.now += 2 * WEEK
    made.settle()
    kernels = builders.kernels_report(made.run_id())
    words = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    error = {"layer": "torch", "name": "AcceleratorError", "message": words}
    kernels["steps"] = [{"name": "alloc", "gpu": 0, "status": "Fail", "error": error}]
    made.finish(kernels=kernels)
    made.settle()
    report = made.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.GpuBusy
    assert made.verdict() == ("Compatible", "")


def test_a_stale_verdict_names_the_failed_attempt() -> None:
    made = validated()
    made.node(boot="boot-2")
    made.settle()
    made.busy()
    report = made.report()
    assert report is not None
    assert made.verdict() == ("Unknown", reasons.GpusBusy)
    assert "before: Compatible" in report.message


def test_a_refused_pod_is_an_attempt_with_the_api_servers_words() -> None:
    made = World()

    def refuse(action: CreatePod) -> Attempt:
        words = 'pods "x" is forbidden: no PriorityClass with name gpuenv-probe was found'
        return Attempt(
            action.run_id, reasons.ProbeRejected, words, "create it", 0.0, action.inputs_hash, "other", 7
        )

    made.refuse = refuse
    made.environment()
    made.node()
    made.settle()
    report = made.report()
    assert report is not None
    assert report.attempt is not None
    assert made.verdict() == ("Unknown", reasons.ProbeRejected)
    assert "no PriorityClass" in report.message
    assert report.attempt.count == 1
    assert not made.cache.rejections


def test_a_runtime_that_refuses_the_image_for_its_driver_is_an_answer() -> None:
    made = first_run()
    words = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update"
    made.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("CreateContainerError", words))
    made.settle()
    assert made.verdict() == ("Incompatible", reasons.DriverTooOld)


def test_a_crash_is_a_result_that_is_retried() -> None:
    made = first_run()
    made.crash()
    report = made.report()
    assert report is not None
    assert report.result is not None
    assert report.attempt is not None
    assert made.verdict() == ("Unknown", reasons.ProbeCrashed)
    assert "SIGSEGV" in report.message
    assert dict(report.result.versions)["PyTorch"] == "2.9.1+cu128"
    assert report.result.checks[0].name == "probe-pod"
    made.now += 70
    made.settle()
    made.finish()
    made.settle()
    report = made.report()
    assert report is not None
    assert (made.verdict(), report.attempt) == (("Compatible", ""), None)


def test_facts_that_rule_the_node_out_outweigh_a_crash() -> None:
    made = World()
    made.environment()
    made.node(driver="450.80.02")
    made.settle()
    run = made.run_id()
    facts = builders.facts_report(run)
    facts["driver"] |= {"version": "450.80.02", "cudaVersion": 11000, "cuInit": 35}
    made.pod("Failed", scheduled=NOW, facts=terminated(facts), kernels=terminated(code=139))
    made.settle()
    report = made.report()
    assert report is not None
    assert made.verdict() == ("Incompatible", reasons.DriverTooOld)
    assert report.attempt is None


def test_no_python_is_not_tried_again_before_the_interval() -> None:
    made = first_run()
    words = 'exec: "python3": executable file not found in $PATH'
    made.pod("Failed", scheduled=NOW, facts=terminated(words, code=128, reason="StartError"))
    made.settle()
    assert made.verdict() == ("Unknown", reasons.PythonMissing)
    wake_at = made.plan().wake_at
    assert wake_at is not None
    assert wake_at - made.now >= 0.9 * WEEK
    made.environment(probe={"python": "/opt/conda/bin/python"})
    made.settle()
    assert made.pod_of()["spec"]["containers"][0]["command"][0] == "/opt/conda/bin/python"


def test_a_wrong_architecture_is_not_tried_again_before_the_interval() -> None:
    made = first_run()
    made.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "no match for platform"))
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ImageArchMismatch)
    wake_at = made.plan().wake_at
    assert wake_at is not None
    assert wake_at - made.now >= 0.9 * WEEK


def test_a_changed_pull_secret_is_tried_at_once() -> None:
    made = first_run()
    made.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "401 Unauthorized"))
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ImagePullFailed)
    assert not made.live_pods()
    made.environment(imagePullSecrets=[{"name": "registry"}])
    made.settle()
    assert made.pod_of()["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_a_wrong_result_needs_a_second_run() -> None:
    made = first_run()
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    first = made.run_id()
    made.settle()
    report = made.report()
    assert report is not None
    assert report.result is not None
    assert made.verdict() == ("Unknown", reasons.WrongResult)
    assert report.result.unconfirmed == reasons.WrongResult
    assert made.condition("Ready")[0] == "False"
    assert made.run_id() != first, "the confirming run follows at once"
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    made.settle()
    report = made.report()
    assert report is not None
    assert report.result is not None
    assert made.verdict() == ("Incompatible", reasons.WrongResult)
    assert report.result.unconfirmed == ""
    made.environment(expect={"pytorch": ">=2"})
    made.settle()
    assert made.verdict() == ("Incompatible", reasons.WrongResult), "a new assessment doubts nothing again"


def test_a_wrong_result_that_does_not_come_again_is_cleared() -> None:
    made = first_run()
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    made.settle()
    made.finish()
    made.settle()
    assert made.verdict() == ("Compatible", "")


def test_a_crash_in_between_does_not_clear_a_wrong_result() -> None:
    made = first_run()
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    made.settle()
    made.crash()
    assert made.verdict() == ("Unknown", reasons.ProbeCrashed)
    made.now += 4000
    made.settle()
    made.finish(kernels=builders.wrong_matmul(made.run_id()))
    made.settle()
    assert made.verdict() == ("Incompatible", reasons.WrongResult)


def test_a_deleted_pod_is_an_attempt() -> None:
    made = first_run()
    made.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    made.delete_pod(made.pod_of()["metadata"]["name"], vanish=True)
    made.settle()
    assert made.verdict() == ("Unknown", reasons.ProbePodDeleted)
    assert not [pod for pod in made.cache.pods.values() if pod.vanished], "the tombstone is settled"


def test_under_new_circumstances_the_count_begins_anew() -> None:
    made = first_run()
    made.busy()
    made.now += 100
    made.settle()
    made.busy()
    report = made.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.count == 2
    made.node(boot="boot-2")
    made.settle()
    made.busy()
    report = made.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.count == 1


def test_figures_without_fraction_read_back_equal() -> None:
    """The API server writes 12.0 as 12; a record that differed would be assessed and written for ever."""
    made = first_run()
    kernels = builders.kernels_report(made.run_id())
    kernels["benchmarks"][0] |= {"median": 240.0, "p20": 1e-7, "p80": 250.25}
    made.finish(kernels=kernels)
    (written,) = [action.record for action in made.step().actions if isinstance(action, WriteReport)]
    read = made.report()
    assert read is not None
    assert read.result == written.result
