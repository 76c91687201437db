"""Runs that end without an answer, or with one that is not believed at once: what is kept, tried again, and when."""

from tests.support import builders
from tests.support.builders import NOW, terminated, waiting
from tests.support.started_worlds import first_run, validated
from tests.support.world import World

from gpuenv.api import reasons
from gpuenv.api.limits.limits import Limits, PullSecret
from gpuenv.plan.actions import WriteReport

WEEK = 604800


def test_busy_gpus_are_an_attempt_that_backs_off() -> None:
    world = first_run()
    world.busy()
    assert world.verdict() == ("Unknown", reasons.GpusBusy)
    assert world.condition("Ready") == ("True", reasons.AllAnswered)
    waits = []
    for count in range(1, 9):
        report = world.report()
        assert report is not None
        assert report.attempt is not None
        assert report.attempt.count == count
        wake_at = world.plan().wake_at
        assert wake_at is not None
        waits.append(wake_at - world.now)
        world.now = wake_at
        world.step()
        world.busy()
    doubling = [60.0 * 2**n for n in range(6)]
    assert all(limit <= seconds <= 1.1 * limit + 1 for limit, seconds in zip(doubling, waits, strict=False))
    assert max(waits) <= 1.1 * 3600 + 1


def test_a_failed_attempt_keeps_a_standing_verdict() -> None:
    world = validated()
    world.now += 2 * WEEK
    world.settle()
    world.busy()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.GpusBusy
    assert (world.verdict(), world.label()) == (("Compatible", ""), "Compatible")


def test_an_assessed_busy_gpu_counts_as_an_attempt_too() -> None:
    world = validated()
    world.now += 2 * WEEK
    world.settle()
    kernels = builders.kernels_report(world.run_id())
    words = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    error = {"layer": "torch", "name": "AcceleratorError", "message": words}
    kernels["steps"] = [{"name": "alloc", "gpu": 0, "status": "Fail", "error": error}]
    world.finish(kernels=kernels)
    world.settle()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.reason == reasons.GpuBusy
    assert world.verdict() == ("Compatible", "")


def test_a_stale_verdict_names_the_failed_attempt() -> None:
    world = validated()
    world.node(boot="boot-2")
    world.settle()
    world.busy()
    report = world.report()
    assert report is not None
    assert world.verdict() == ("Unknown", reasons.GpusBusy)
    assert "before: Compatible" in report.message


def test_a_refused_pod_is_an_attempt_with_the_api_servers_words() -> None:
    world = World()
    words = 'pods "x" is forbidden: no PriorityClass with name gpuenv-probe was found'
    world.kube.deny("POST", "/pods$", 403, "Forbidden", words)
    world.environment()
    world.node()
    for count in (1, 2):
        world.settle()
        report = world.report()
        assert report is not None
        assert report.attempt is not None
        assert world.verdict() == ("Unknown", reasons.ProbeRejected)
        assert "no PriorityClass" in report.message
        assert report.attempt.count == count
        assert not world.cache.rejections
        world.now += 100


def test_a_runtime_that_refuses_the_image_for_its_driver_is_an_answer() -> None:
    world = first_run()
    words = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update"
    world.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("CreateContainerError", words))
    world.settle()
    assert world.verdict() == ("Incompatible", reasons.DriverTooOld)


def test_a_runtime_that_cannot_set_up_the_pod_is_an_attempt_with_the_cure_of_its_fault() -> None:
    world = first_run()
    words = (
        "failed to inject CDI devices: unresolvable CDI devices "
        "management.nvidia.com/gpu=GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead"
    )
    world.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("CreateContainerError", words))
    world.settle()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert world.verdict() == ("Unknown", reasons.SandboxFailed)
    assert "nvidia-ctk cdi" in report.attempt.remedies[0].message
    assert "management.nvidia.com/gpu=GPU-e78e68c0" in report.attempt.remedies[0].message


def test_a_crash_is_a_result_that_is_retried() -> None:
    world = first_run()
    world.crash()
    report = world.report()
    assert report is not None
    assert report.result is not None
    assert report.attempt is not None
    assert world.verdict() == ("Unknown", reasons.ProbeCrashed)
    assert "SIGSEGV" in report.message
    assert dict(report.result.versions)["pytorch"] == "2.9.1+cu128"
    assert report.result.checks[0].name == "probe-pod"
    world.now += 70
    world.settle()
    world.finish()
    world.settle()
    report = world.report()
    assert report is not None
    assert (world.verdict(), report.attempt) == (("Compatible", ""), None)


def test_facts_that_rule_the_node_out_outweigh_a_crash() -> None:
    world = World()
    world.environment()
    world.node(driver="450.80.02")
    world.settle()
    run = world.run_id()
    facts = builders.facts_report(run)
    facts["driver"] |= {"version": "450.80.02", "cudaVersion": 11000, "cuInit": 35}
    world.pod("Failed", scheduled=NOW, facts=terminated(facts), kernels=terminated(code=139))
    world.settle()
    report = world.report()
    assert report is not None
    assert world.verdict() == ("Incompatible", reasons.DriverTooOld)
    assert report.attempt is None


def test_no_python_is_not_tried_again_before_the_interval() -> None:
    world = first_run()
    words = 'exec: "python3": executable file not found in $PATH'
    world.pod("Failed", scheduled=NOW, facts=terminated(words, code=128, reason="StartError"))
    world.settle()
    assert world.verdict() == ("Unknown", reasons.PythonMissing)
    wake_at = world.plan().wake_at
    assert wake_at is not None
    assert wake_at - world.now >= 0.9 * WEEK
    world.environment(probe={"python": "/opt/conda/bin/python"})
    world.settle()
    assert world.pod_of()["spec"]["containers"][0]["command"][0] == "/opt/conda/bin/python"


def test_a_wrong_architecture_is_not_tried_again_before_the_interval() -> None:
    world = first_run()
    world.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "no match for platform"))
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ImageArchMismatch)
    wake_at = world.plan().wake_at
    assert wake_at is not None
    assert wake_at - world.now >= 0.9 * WEEK


def test_a_changed_pull_secret_is_tried_at_once() -> None:
    world = first_run(settings={"limits": Limits(pull_secrets=(PullSecret("registry", ("*",)),))})
    world.pod("Pending", scheduled=NOW, sandbox=NOW, facts=waiting("ErrImagePull", "401 Unauthorized"))
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ImagePullFailed)
    assert not world.live_pods()
    world.environment(imagePullSecrets=[{"name": "registry"}])
    world.settle()
    assert world.pod_of()["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_a_wrong_result_needs_a_second_run() -> None:
    world = first_run()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    first = world.run_id()
    world.settle()
    report = world.report()
    assert report is not None
    assert report.result is not None
    assert world.verdict() == ("Unknown", reasons.WrongResult)
    assert report.result.unconfirmed == reasons.WrongResult
    assert world.condition("Ready")[0] == "False"
    assert world.run_id() != first, "the confirming run follows at once"
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    world.settle()
    report = world.report()
    assert report is not None
    assert report.result is not None
    assert world.verdict() == ("Incompatible", reasons.WrongResult)
    assert report.result.unconfirmed == ""
    world.environment(expect={"pytorch": ">=2"})
    world.settle()
    assert world.verdict() == ("Incompatible", reasons.WrongResult), "a new assessment doubts nothing again"


def test_a_wrong_result_that_does_not_come_again_is_cleared() -> None:
    world = first_run()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    world.settle()
    world.finish()
    world.settle()
    assert world.verdict() == ("Compatible", "")


def test_a_crash_in_between_does_not_clear_a_wrong_result() -> None:
    world = first_run()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    world.settle()
    world.crash()
    assert world.verdict() == ("Unknown", reasons.ProbeCrashed)
    world.now += 4000
    world.settle()
    world.finish(kernels=builders.wrong_matmul(world.run_id()))
    world.settle()
    assert world.verdict() == ("Incompatible", reasons.WrongResult)


def test_a_deleted_pod_is_an_attempt() -> None:
    world = first_run()
    world.pod("Running", scheduled=NOW, sandbox=NOW, facts=builders.running(NOW))
    world.delete_pod(world.pod_of()["metadata"]["name"], vanish=True)
    world.settle()
    assert world.verdict() == ("Unknown", reasons.ProbePodDeleted)
    assert not [pod for pod in world.cache.pods.values() if pod.vanished], "the tombstone is settled"


def test_under_new_circumstances_the_count_begins_anew() -> None:
    world = first_run()
    world.busy()
    world.now += 100
    world.settle()
    world.busy()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.count == 2
    world.node(boot="boot-2")
    world.settle()
    world.busy()
    report = world.report()
    assert report is not None
    assert report.attempt is not None
    assert report.attempt.count == 1


def test_figures_without_fraction_read_back_equal() -> None:
    """The API server writes 12.0 as 12; a record that differed would be assessed and written for ever."""
    world = first_run()
    kernels = builders.kernels_report(world.run_id())
    kernels["benchmarks"][0] |= {"median": 240.0, "p20": 1e-7, "p80": 250.25}
    world.finish(kernels=kernels)
    (written,) = [action.record for action in world.step().actions if isinstance(action, WriteReport)]
    read = world.report()
    assert read is not None
    assert read.result == written.result
