"""Each way a probe pod can end, wait or hang: one row a rule."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support import hostile
from tests.support.builders import (
    NOW,
    environment,
    facts_report,
    kernels_report,
    node,
    pod_status,
    running,
    terminated,
    waiting,
)
from tests.support.probe_pods import seen_as_stamped

from gpuenv.api import reasons
from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest as pods
from gpuenv.plan.run.clocks import observe, run_limit
from gpuenv.plan.run.outcome import Ended, Outcome, Running, Stuck
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import PodRecord
from gpuenv_probe import codec

RUN = "0123456789"
SETTINGS = Settings(config_map="gpuenv-probe-0123456789")
TIMEOUTS = {"schedulingSeconds": 100, "setupSeconds": 60, "pullSeconds": 1000, "runSeconds": 200}
UP = {"scheduled": NOW - 50, "sandbox": NOW - 40}
"""A pod whose sandbox is up since 40 seconds."""


def manifest(**probe: Any) -> dict[str, Any]:
    raw = environment(probe={"timeouts": TIMEOUTS, **probe})
    built = pods.build(records.environment_record(raw), records.node_record(node()), SETTINGS, run_id=RUN)
    built["metadata"] |= {"uid": "u", "creationTimestamp": "2027-01-15T07:59:00Z"}
    return built


def look(
    phase: str, *, at: float = NOW, vanished: bool = False, on: dict[str, Any] | None = None, **status: Any
) -> Outcome:
    """What a pod with this status amounts to on a node that is plain but for ``on``."""
    record = seen_as_stamped(records.pod_record(pod_status(manifest(), phase, **status), vanished=vanished))
    spec = records.environment_record(environment(probe={"timeouts": TIMEOUTS})).spec
    assert spec is not None
    return observe(record, records.node_record(node(**(on or {}))), spec, SETTINGS, at)


GOOD_FACTS = terminated(facts_report(RUN), at=NOW - 20)
GOOD_KERNELS = terminated(kernels_report(RUN))
PARTIAL = kernels_report(RUN, complete=False, ended="during matmul")
STOPPED = kernels_report(RUN, complete=False, ended="sigterm during matmul")
CREATED = 1_800_000_000.0 - 60


@pytest.mark.parametrize(
    ("status", "until"),
    [
        ({}, CREATED + 100),
        ({"unschedulable": "0/3 nodes are available"}, CREATED + 100),
        ({"scheduled": NOW - 50}, NOW - 50 + 60),
        ({"scheduled": NOW - 50, "facts": waiting("PodInitializing")}, NOW - 50 + 60 + 1000),
        ({**UP, "facts": waiting("PodInitializing")}, NOW - 40 + 1000),
        ({**UP, "facts": running(NOW - 30)}, NOW - 30 + 220),
        ({**UP, "facts": GOOD_FACTS, "kernels": waiting("PodInitializing")}, NOW - 20 + 60),
        ({**UP, "facts": GOOD_FACTS, "kernels": running(NOW - 9)}, NOW - 9 + 220),
        ({**UP, "facts": running(NOW - 9), "deleted": NOW - 5}, NOW - 5 + 120),
    ],
    ids=[
        "created",
        "unplaced",
        "placed",
        "old kubelet",
        "pulling",
        "facts",
        "between",
        "kernels",
        "terminating",
    ],
)
def test_a_clock_of_its_own_for_each_phase(status: dict[str, Any], until: float) -> None:
    assert look("Pending", **status) == Running(until)


def test_an_overdue_stage_is_told_to_end() -> None:
    for stage in ({"facts": running(NOW)}, {"facts": GOOD_FACTS, "kernels": running(NOW)}):
        outcome = look("Running", at=NOW + 220, **UP, **stage)
        assert outcome == Running(NOW + 220, overdue=True)


def test_a_pod_that_does_not_go_is_stuck() -> None:
    outcome = look("Running", at=NOW + 121, **UP, facts=running(NOW - 300), deleted=NOW)
    assert outcome == Stuck()


def test_an_ended_pod_is_never_stuck() -> None:
    """A finalizer of somebody else's may keep the object; the device is free."""
    outcome = look("Succeeded", at=NOW + 1000, **UP, facts=GOOD_FACTS, kernels=GOOD_KERNELS, deleted=NOW)
    assert outcome == Ended(facts=facts_report(RUN), kernels=kernels_report(RUN))


FULL = "0/9 nodes are available: 1 Insufficient nvidia.com/gpu, 8 node(s) didn't match affinity."
CREW = "0/9 nodes are available: 1 Insufficient memory, 8 node(s) didn't match affinity."
TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("status", "on", "reason", "words"),
    [
        ({"unschedulable": FULL}, {}, reasons.GpusBusy, "all nvidia.com/gpu of the node are in use"),
        ({"unschedulable": CREW}, {}, reasons.Unschedulable, "short of something other"),
        ({"unschedulable": FULL}, {"taints": [TAINT]}, reasons.Unschedulable, "team=a:NoSchedule"),
        ({"unschedulable": FULL}, {"taints": [TAINT | {"effect": "PreferNoSchedule"}]}, reasons.GpusBusy, ""),
        (
            {"unschedulable": FULL},
            {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
            reasons.GpusBusy,
            "",
        ),
        ({"unschedulable": FULL}, {"gpus": (8, 0)}, reasons.Unschedulable, "offers 0 nvidia.com/gpu"),
        ({"unschedulable": FULL}, {"ready": False}, reasons.Unschedulable, "not ready"),
        (
            {"unschedulable": "waiting for x", "scheduling_reason": "SchedulingGated"},
            {},
            reasons.Unschedulable,
            "scheduling gate",
        ),
        ({}, {}, reasons.Unschedulable, "no scheduler has looked"),
        *(
            ({"unschedulable": f"0/1 nodes are available: 1 {words}"}, {}, reasons.Unschedulable, words)
            for words in (
                "Too many pods.",
                "node(s) had volume node affinity conflict.",
                "node(s) didn't match pod affinity rules.",
            )
        ),
    ],
)
def test_a_pod_without_a_place(status: dict[str, Any], on: dict[str, Any], reason: str, words: str) -> None:
    outcome = look("Pending", at=CREATED + 101, on=on, **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reason, False)
    assert words in outcome.message


EXEC = "failed to create containerd task: OCI runtime create failed: runc create failed: "
MISSING = EXEC + 'exec: "python3": executable file not found in $PATH'
MISSING_PATH = EXEC + 'exec: "/opt/python": stat /opt/python: no such file or directory'
REFUSED = EXEC + 'exec: "/root/.venv/bin/python": permission denied'
FOREIGN = EXEC + 'exec: "/usr/bin/python3": exec format error'
TOO_OLD = (
    "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver"
)

ATTEMPTS: list[tuple[str, dict[str, Any], str]] = [
    ("pull", {**UP, "facts": waiting("ErrImagePull", "not found")}, reasons.ImagePullFailed),
    ("back-off", {**UP, "facts": waiting("ImagePullBackOff", "x")}, reasons.ImagePullFailed),
    ("second pull", {**UP, "facts": GOOD_FACTS, "kernels": waiting("ErrImagePull")}, reasons.ImagePullFailed),
    ("name", {"scheduled": NOW - 5, "facts": waiting("InvalidImageName")}, reasons.ImagePullFailed),
    (
        "platform",
        {**UP, "facts": waiting("ErrImagePull", "no match for platform in manifest: not found")},
        reasons.ImageArchMismatch,
    ),
    ("format", {**UP, "facts": waiting("RunContainerError", FOREIGN)}, reasons.ImageArchMismatch),
    ("config", {**UP, "facts": waiting("CreateContainerConfigError", "runAsNonRoot")}, reasons.SandboxFailed),
    ("hook", {**UP, "facts": waiting("CreateContainerError", TOO_OLD)}, reasons.SandboxFailed),
]


@pytest.mark.parametrize(
    ("status", "reason"), [row[1:] for row in ATTEMPTS], ids=[row[0] for row in ATTEMPTS]
)
def test_a_start_that_is_no_answer(status: dict[str, Any], reason: str) -> None:
    outcome = look("Pending", **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reason, False)


def test_the_words_of_the_container_runtime_are_kept_for_the_tables() -> None:
    outcome = look("Pending", **UP, facts=waiting("CreateContainerError", TOO_OLD))
    assert isinstance(outcome, Ended)
    assert outcome.runtime_error == TOO_OLD


@pytest.mark.parametrize(
    ("status", "at", "reason"),
    [
        ({"scheduled": NOW - 50}, NOW + 10, reasons.SandboxFailed),
        ({**UP, "facts": waiting("PodInitializing")}, NOW + 960, reasons.ImagePullFailed),
        ({**UP, "facts": GOOD_FACTS, "kernels": waiting("x")}, NOW + 40, reasons.SandboxFailed),
    ],
    ids=["setup", "pull", "second stage"],
)
def test_a_clock_that_runs_out_before_the_start(status: dict[str, Any], at: float, reason: str) -> None:
    outcome = look("Pending", at=at, **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reason, False)


def last(message: Any = "", **how: Any) -> dict[str, Any]:
    """A pod whose first stage went well and whose second one ended like this."""
    return {**UP, "facts": GOOD_FACTS, "kernels": terminated(message, **how)}


OTHER_SCHEMA = codec.encode(kernels_report(RUN)).replace("gpuenv-report/1:", "gpuenv-report/9:")
CUT = codec.encode(kernels_report(RUN))[:200]
OLD_PYTHON = {**UP, "facts": terminated("this image's Python is 3.6.9", code=65)}

ANSWERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("oom", last(PARTIAL, code=137, reason="OOMKilled"), reasons.OomKilled, "memory limit"),
    ("crash", last(PARTIAL, code=139), reasons.ProbeCrashed, "by signal 11 (SIGSEGV) during matmul"),
    ("exit", last("Traceback", code=1), reasons.ProbeCrashed, "with exit code 1; its last words: Traceback"),
    ("usage", last(code=64), reasons.ProbeCrashed, "with exit code 64"),
    ("old", OLD_PYTHON, reasons.PythonTooOld, "3.6.9"),
    ("shell 127", {**UP, "facts": terminated(code=127)}, reasons.PythonMissing, "127"),
    ("shell 126", {**UP, "facts": terminated(code=126)}, reasons.PythonUnreadable, "126"),
    (
        "no python",
        {**UP, "facts": terminated(MISSING, code=128, reason="StartError")},
        reasons.PythonMissing,
        "executable file not found",
    ),
    (
        "no path",
        {**UP, "facts": terminated(MISSING_PATH, code=128, reason="StartError")},
        reasons.PythonMissing,
        "stat /opt/python",
    ),
    (
        "root's python",
        {**UP, "facts": terminated(REFUSED, code=128, reason="StartError")},
        reasons.PythonUnreadable,
        "permission denied",
    ),
    ("empty", last(), reasons.ReportInvalid, "is empty"),
    ("cut", last(CUT), reasons.ReportInvalid, "is cut off; it begins with: gpuenv-report/1:"),
    ("garbage", last("\x1b[31mhello\x00"), reasons.ReportInvalid, "it begins with: hello"),
    ("schema", last(OTHER_SCHEMA), reasons.ReportInvalid, "another schema version"),
    ("other run", last(kernels_report("9999999999")), reasons.ReportInvalid, "of another run"),
    ("other stage", last(facts_report(RUN)), reasons.ReportInvalid, "of the other stage"),
    ("deadline", {**last(PARTIAL, code=137), "reason": "DeadlineExceeded"}, reasons.ProbeTimeout, "kernels"),
]


@pytest.mark.parametrize(
    ("status", "reason", "words"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_a_run_that_began_and_did_not_answer(status: dict[str, Any], reason: str, words: str) -> None:
    outcome = look("Failed", **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reason, True)
    assert words in outcome.message


def test_an_unstartable_container_counts_before_the_pod_has_failed() -> None:
    outcome = look("Pending", **UP, facts=waiting("RunContainerError", MISSING))
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reasons.PythonMissing, True)


def test_what_was_read_before_the_trouble_is_kept() -> None:
    outcome = look("Failed", **last(PARTIAL, code=139))
    assert isinstance(outcome, Ended)
    assert (outcome.facts, outcome.kernels) == (facts_report(RUN), PARTIAL)


def test_a_report_larger_than_allowed_is_invalid() -> None:
    """The payload decompresses to a megabyte."""
    huge = hostile.message(RUN, steps=[["x" * 1_000_000], None, None, ["Pass"]])
    outcome = look("Succeeded", **last(huge))
    assert isinstance(outcome, Ended)
    assert outcome.reason == reasons.ReportInvalid
    assert "larger than allowed" in outcome.message


TMP_FULL = 'Usage of EmptyDir volume "tmp" exceeds the limit "4Gi". '
POD_FULL = "Pod ephemeral local storage usage exceeds the total limit of containers 6Gi. "
LOG_FULL = 'Container kernels exceeded its local ephemeral storage limit "6Gi". '
"""The kubelet's messages about pods that it evicts because of their own limits."""

OUTSIDE: list[tuple[str, dict[str, Any], str]] = [
    ("pressure", {**last(code=137), "reason": "Evicted", "message": "low on disk"}, reasons.Evicted),
    ("/tmp is full", {**last(code=137), "reason": "Evicted", "message": TMP_FULL}, reasons.StorageExceeded),
    ("disk limit", {**last(code=137), "reason": "Evicted", "message": POD_FULL}, reasons.StorageExceeded),
    ("log is full", {**last(code=137), "reason": "Evicted", "message": LOG_FULL}, reasons.StorageExceeded),
    ("shutdown", {"reason": "NodeShutdown", "message": "Pod was rejected"}, reasons.Evicted),
    ("taint", {**last(STOPPED), "disruption": "DeletionByTaintManager"}, reasons.Evicted),
    ("api", {**last(STOPPED), "disruption": "EvictionByEvictionAPI"}, reasons.Evicted),
    ("scheduler", {**last(STOPPED), "disruption": "PreemptionByScheduler"}, reasons.Preempted),
    ("kubelet", {"reason": "Preempting", "message": "to admit a critical pod"}, reasons.Preempted),
    ("admission gpu", {"reason": "OutOfnvidia.com/gpu", "message": "requested 1"}, reasons.GpusBusy),
    ("admission cpu", {"reason": "OutOfcpu", "message": "requested 1"}, reasons.Unschedulable),
    (
        "devices taken meanwhile",
        {
            "reason": "UnexpectedAdmissionError",
            "message": "Allocate failed due to requested number of devices "
            "unavailable for nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected",
        },
        reasons.GpusBusy,
    ),
    (
        "admission of another resource",
        {"reason": "OutOfnvidia.com/gpu.shared", "message": "?"},
        reasons.Unschedulable,
    ),
    ("allocate", {"reason": "UnexpectedAdmissionError", "message": "unhealthy"}, reasons.SandboxFailed),
    ("never began", {"reason": "Strange"}, reasons.SandboxFailed),
    ("deadline", {"reason": "DeadlineExceeded"}, reasons.SandboxFailed),
    ("deleted", {**last(STOPPED), "deleted": NOW + 5}, reasons.ProbePodDeleted),
]


@pytest.mark.parametrize(("status", "reason"), [row[1:] for row in OUTSIDE], ids=[row[0] for row in OUTSIDE])
def test_a_run_that_somebody_ended(status: dict[str, Any], reason: str) -> None:
    outcome = look("Failed", **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reason, False)


def test_a_vanished_pod_that_had_not_reported_was_deleted() -> None:
    for status in (
        {},
        {**UP, "facts": running(NOW - 5)},
        {**UP, "facts": GOOD_FACTS, "kernels": running(NOW)},
    ):
        outcome = look("Pending", vanished=True, **status)
        assert isinstance(outcome, Ended)
        assert (outcome.reason, outcome.answered) == (reasons.ProbePodDeleted, False)


def test_a_pod_that_reported_and_was_deleted_then_has_reported() -> None:
    outcome = look("Succeeded", vanished=True, **UP, facts=GOOD_FACTS, kernels=GOOD_KERNELS, deleted=NOW + 9)
    assert outcome == Ended(facts=facts_report(RUN), kernels=kernels_report(RUN))


def test_a_crash_before_the_deletion_stays_a_crash() -> None:
    outcome = look("Failed", **last(code=139, at=NOW - 60), deleted=NOW)
    assert isinstance(outcome, Ended)
    assert outcome.reason == reasons.ProbeCrashed


def test_an_overdue_run_that_was_stopped_by_us_timed_out_and_tells_how_far_it_came() -> None:
    started = NOW - 400
    outcome = look(
        "Failed",
        **UP,
        facts=GOOD_FACTS,
        kernels=terminated(PARTIAL, code=137, started=started),
        deleted=started + 221 + 5,
        vanished=True,
    )
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reasons.ProbeTimeout, True)
    assert outcome.kernels == PARTIAL
    assert outcome.message == "the kernels stage did not end in time and was stopped during matmul"


def test_the_step_is_told_also_where_the_probe_saw_its_end_coming() -> None:
    for ended in ("during matmul", "sigterm during matmul", "deadline during matmul"):
        found = look("Failed", **last(kernels_report(RUN, complete=False, ended=ended), code=139))
        assert found.message == "the probe ended by signal 11 (SIGSEGV) during matmul"
    found = look("Failed", **last(kernels_report(RUN, complete=False, ended="a worker is stuck"), code=139))
    assert found.message == "the probe ended by signal 11 (SIGSEGV)"


def test_a_partial_report_without_trouble_speaks_for_itself() -> None:
    ended = kernels_report(RUN, complete=False, ended="deadline")
    assert look("Succeeded", **last(ended)) == Ended(facts=facts_report(RUN), kernels=ended)


def test_the_operator_waits_longer_than_the_probe_gives_itself() -> None:
    for seconds in (10, 200, 14400):
        spec = records.environment_record(environment(probe={"timeouts": {"runSeconds": seconds}})).spec
        assert spec is not None
        assert seconds + 5 <= run_limit(spec) <= seconds + 30


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded", "Failed", "Unknown", "Odd"])
def test_an_empty_pod_never_raises(phase: str) -> None:
    spec = records.environment_record(environment()).spec
    assert spec is not None
    empty = PodRecord("p", "u", "pt", "n1", RUN, "", "", created_at=0.0, phase=phase)
    for record in (empty, replace(empty, vanished=True), replace(empty, deleting_since=1.0)):
        assert observe(record, None, spec, SETTINGS, NOW) is not None


def look_in_namespace(phase: str, *, at: float = NOW, **status: Any) -> Outcome:
    """What a pod with a user namespace and this status amounts to."""
    raw = manifest()
    raw["spec"]["hostUsers"] = False
    record = seen_as_stamped(records.pod_record(pod_status(raw, phase, **status)))
    spec = records.environment_record(environment(probe={"timeouts": TIMEOUTS})).spec
    assert spec is not None
    return observe(record, records.node_record(node()), spec, SETTINGS, at)


HOOK = (
    EXEC
    + "error running createContainer hook #0: exit status 1, stderr: open /proc/driver/nvidia: permission denied"
)


@pytest.mark.parametrize(
    ("phase", "status", "at", "words"),
    [
        ("Pending", {**UP, "facts": waiting("CreateContainerError", HOOK)}, NOW, "createContainer hook"),
        ("Pending", {**UP, "facts": waiting("CreateContainerError", TOO_OLD)}, NOW, "requirement error"),
        (
            "Failed",
            {**UP, "facts": terminated(HOOK, code=128, reason="StartError")},
            NOW,
            "permission denied",
        ),
        ("Pending", {"scheduled": NOW - 50}, NOW + 10, "the pod was not set up"),
    ],
    ids=["hook", "requirement", "start", "sandbox"],
)
def test_a_pod_that_does_not_start_in_a_user_namespace_names_it_and_gives_no_verdict(
    phase: str, status: dict[str, Any], at: float, words: str
) -> None:
    plain = look(phase, at=at, **status)
    assert isinstance(plain, Ended)
    assert plain.reason == reasons.SandboxFailed
    outcome = look_in_namespace(phase, at=at, **status)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered, outcome.runtime_error) == (
        reasons.UserNamespaceFailed,
        False,
        "",
    )
    assert "hostUsers: false" in outcome.message
    assert words in outcome.message


def test_what_else_goes_wrong_in_a_user_namespace_keeps_its_reason() -> None:
    for status in (
        {**UP, "facts": waiting("ErrImagePull", "not found")},
        {**UP, "facts": waiting("x", MISSING)},
    ):
        assert look_in_namespace("Pending", **status) == look("Pending", **status)
