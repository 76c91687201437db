"""A status that the API server refuses is a state: no old verdict stays, and what can be stored is stored."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support import builders
from tests.support.started_worlds import first_run, validated
from tests.support.world import World

from gpuenv.api import names, reasons
from gpuenv.plan.fleet.status import REFUSED
from gpuenv.plan.snapshot import Refusal

WEEK = 700_000
TOO_LARGE = (500, "HTTP500", "etcdserver: request is too large")
REFUSALS = [
    (422, "Invalid", 'status.checks[0].message: Invalid value: "<img>\x1b[2J": no'),
    (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
    (400, "BadRequest", "json: cannot unmarshal string into Go value"),
    TOO_LARGE,
]


def facts_of(body: Any) -> bool:
    """Whether a write of a report's status is more than minimal."""
    return "facts" in body[-1]["value"] or "checks" in body[-1]["value"]


def details_of(body: Any) -> bool:
    """Whether a write of an environment's status is more than conditions and counts."""
    return bool({"problems", "image", "placement"} & body[-1]["value"].keys())


def refuse_reports(
    world: World, refusal: tuple[int, str, str] = REFUSALS[0], when: Any = facts_of
) -> Callable[[], None]:
    return world.kube.deny("PATCH", "gpunodereports/.*/status$", *refusal, when=when)


def refuse_statuses(
    world: World, refusal: tuple[int, str, str] = REFUSALS[0], when: Any = details_of
) -> Callable[[], None]:
    return world.kube.deny("PATCH", "gpuenvironments/.*/status$", *refusal, when=when)


def due_again() -> World:
    """An environment whose only node is Compatible, and is probed again after a week."""
    world = validated(publish={"nodeCondition": "Measured"})
    world.forget_events()
    world.now += WEEK
    world.settle()
    return world


def condition_of(world: World, kind: str) -> str:
    return str(
        next(
            one["status"]
            for one in world.get("reports", "pt.n1")["status"]["conditions"]
            if one["type"] == kind
        )
    )


def node_condition(world: World) -> tuple[str, str]:
    return world.cache.nodes["n1"].compat_conditions["pt"]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: str(one[0]))
@pytest.mark.parametrize("broken", [False, True])
def test_a_result_that_cannot_be_stored_leaves_no_verdict_behind(
    refusal: tuple[int, str, str], broken: bool
) -> None:
    """Also a result with the verdict that the old one has: the old one is older than the label says."""
    world = due_again()
    assert world.label() == "Compatible"
    refuse_reports(world, refusal)
    pod = world.pod_of()["metadata"]["name"]
    world.finish(kernels=builders.wrong_matmul(world.run_id()) if broken else None)
    world.settle()
    assert world.label() == "Unknown"
    assert node_condition(world) == ("Unknown", "ReportRefused")
    assert world.verdict() == ("Unknown", reasons.ReportRefused)
    assert pod not in world.objects("pods")
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.condition("Compatible") == ("Unknown", "SomeUnknown")
    status = world.get("reports", "pt.n1")["status"]
    assert not {"facts", "checks", "gpus", "steps", "versions", "image", "lastResult"} & status.keys()
    assert status["message"].startswith("the API server refused to store the result of this run: ")
    assert str(refusal[0]) in status["message"]
    assert status["message"].isprintable()
    assert status["remedies"][0]["action"] == "Investigate"
    assert {(event.type, event.reason) for event in world.events if event.kind == names.REPORT_KIND} == {
        ("Warning", "ReportRefused")
    }
    assert b'gpuenv_refused_writes_total{kind="GPUNodeReport"} 1.0' in world.metrics.text()


def test_a_first_result_that_cannot_be_stored_is_unknown() -> None:
    world = first_run()
    refuse_reports(world)
    world.finish()
    world.settle()
    assert (world.label(), world.verdict()) == ("Unknown", ("Unknown", "ReportRefused"))
    assert not world.objects("pods")


def test_the_refused_run_stays_recorded_until_the_next_one() -> None:
    world = due_again()
    lift = refuse_reports(world)
    world.finish()
    world.settle()
    world.kube.calls.clear()
    world.run_for(10)
    world.restart()
    world.run_for(10)
    assert world.kube.writes() == []
    lift()
    world.settle()
    assert world.kube.writes() == [], "the pod with the result is gone"
    world.run_for(60)
    world.finish()
    world.settle()
    assert (world.label(), world.verdict()) == ("Compatible", ("Compatible", ""))


def test_refused_runs_are_repeated_after_pauses_that_double() -> None:
    world = due_again()
    refuse_reports(world)
    for count in (1, 2, 3):
        world.finish()
        world.settle()
        report = world.report()
        assert report is not None
        assert report.attempt is not None
        assert report.attempt.count == count
        assert not world.objects("pods")
        world.run_for(60 * 2 ** (count - 1) - 30)
        assert not world.objects("pods")
        world.run_for(60)
        assert len(world.live_pods()) == 1
        assert world.label() == "Unknown"


def test_a_restart_before_the_minimal_report_changes_nothing() -> None:
    world = due_again()
    refuse_reports(world)
    world.finish()
    world.turn()
    assert world.label() == "Compatible"
    world.restart()
    world.settle()
    assert (world.label(), world.verdict()) == ("Unknown", ("Unknown", "ReportRefused"))


def test_a_pod_that_is_deleted_meanwhile_does_not_bring_the_old_verdict_back() -> None:
    world = due_again()
    refuse_reports(world)
    world.finish()
    world.turn()
    world.gone("pods", world.pod_of()["metadata"]["name"])
    world.settle()
    assert (world.label(), world.verdict()) == ("Unknown", ("Unknown", "ReportRefused"))


def test_the_label_is_unknown_even_if_no_report_can_be_stored() -> None:
    world = due_again()
    lift = refuse_reports(world, when=lambda body: True)
    world.finish()
    world.run_for(300)
    assert world.label() == "Unknown"
    assert node_condition(world) == ("Unknown", "ReportRefused")
    assert world.verdict() == ("Compatible", ""), "it is the last that could be stored"
    assert world.condition("Ready")[0] == "False"
    writes = [path for method, path in world.kube.writes() if "gpunodereports" in path]
    assert len(writes) < 20
    lift()
    world.run_for(90)
    assert world.verdict() == ("Unknown", "ReportRefused")


def test_a_new_assessment_that_cannot_be_stored_leaves_no_verdict_behind() -> None:
    world = validated()
    refuse_reports(world)
    world.environment(expect={"pytorch": "==1.0"})
    world.settle()
    assert (world.label(), world.verdict()) == ("Unknown", ("Unknown", "ReportRefused"))
    world.run_for(120)
    assert len(world.live_pods()) == 1


def test_a_result_waits_for_a_permission_and_the_label_does_not_tell_the_old_one() -> None:
    """A shorter report would be refused, too."""
    world = due_again()
    lift = refuse_reports(world, (403, "Forbidden", "nope"), when=lambda body: True)
    world.finish()
    world.run_for(30)
    assert (world.label(), world.verdict()) == ("Unknown", ("Compatible", ""))
    assert node_condition(world) == ("Unknown", "ReportRefused")
    assert world.condition("Ready") == ("False", "ValidationRunning")
    lift()
    world.run_for(90)
    report = world.report()
    assert report is not None
    assert (world.label(), report.verdict, report.runs) == ("Compatible", "Compatible", 2)
    assert report.attempt is None
    assert not world.objects("pods")


@pytest.mark.parametrize(
    "refusal",
    [(500, "InternalError", "webhook"), (503, "ServiceUnavailable", ""), (429, "TooManyRequests", "")],
)
def test_a_short_trouble_of_the_api_server_changes_no_label(refusal: tuple[int, str, str]) -> None:
    world = due_again()
    lift = refuse_reports(world, refusal)
    world.finish()
    world.run_for(30)
    assert world.label() == "Compatible"
    lift()
    world.run_for(90)
    assert world.label() == "Compatible"
    assert not world.objects("pods")


@pytest.mark.parametrize(
    ("refusal", "lasts", "of_content"),
    [
        (Refusal("422 Invalid: no", code=422), True, True),
        (Refusal("500 HTTP500: etcdserver: request is too large", code=500), True, True),
        (Refusal("500 InternalError: webhook", code=500), False, False),
        (Refusal("403 Forbidden: no", code=403), True, False),
        (Refusal("409 Conflict: no", code=409), False, False),
        (Refusal("422 Invalid: no", code=422, of_status=False), False, False),
    ],
)
def test_which_refusals_last_and_are_of_the_content(refusal: Refusal, lasts: bool, of_content: bool) -> None:
    assert (refusal.lasts, refusal.of_content) == (lasts, of_content)


# ---- the environment's status ----------------------------------------------------------------------------


def published(world: World) -> str:
    return str(next(one["message"] for one in world.status()["conditions"] if one["type"] == "Published"))


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: str(one[0]))
def test_a_refused_status_falls_back_to_conditions_and_counts(refusal: tuple[int, str, str]) -> None:
    world = first_run()
    refuse_statuses(world, refusal)
    world.forget_events()
    world.finish()
    world.settle()
    status = world.status()
    assert status.keys() == {"observedGeneration", "conditions", "summary", "internal"}
    assert status["summary"]["compatible"] == 1
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.condition("Published") == ("False", "StatusRefused")
    assert str(refusal[0]) in published(world)
    assert published(world).isprintable()
    about = {(event.type, event.reason) for event in world.events if event.kind == names.ENVIRONMENT_KIND}
    assert about == {("Warning", "StatusRefused"), ("Normal", "AllAnswered"), ("Normal", "Compatible")}
    assert world.label() == "Compatible"
    assert b'gpuenv_refused_writes_total{kind="GPUEnvironment"} 1.0' in world.metrics.text()


def test_a_status_without_details_stays_so_for_an_hour_and_keeps_its_conditions_true() -> None:
    world = first_run()
    lift = refuse_statuses(world)
    world.finish()
    world.run_for(60)
    world.kube.calls.clear()
    world.run_for(600)
    world.restart()
    world.run_for(600)
    assert world.kube.writes() == []
    world.node("n2")
    world.settle()
    assert world.condition("Ready") == ("False", "ValidationRunning")
    assert world.status()["summary"]["selected"] == 2
    world.finish(node="n2")
    world.settle()
    assert world.condition("Ready") == ("True", "AllAnswered")
    assert world.condition("Published") == ("False", "StatusRefused")
    lift()
    world.run_for(3600)
    assert world.condition("Published") == ("True", "UpToDate")
    assert {"image", "placement"} <= world.status().keys()
    assert REFUSED not in world.status()["internal"]


def test_a_status_that_is_refused_again_and_again_is_tried_once_an_hour() -> None:
    world = first_run()
    refuse_statuses(world)
    world.finish()
    world.run_for(60)
    world.kube.calls.clear()
    world.forget_events()
    world.run_for(3 * 3600)
    assert len(world.kube.writes()) <= 2 * 3 + 2
    assert world.condition("Published") == ("False", "StatusRefused")
    assert world.events == []


def test_a_specification_that_makes_no_sense_keeps_its_counts_in_a_short_status() -> None:
    world = validated()
    refuse_statuses(world)
    world.environment(image="makes no sense")
    world.settle()
    assert world.condition("Accepted") == ("False", "SpecInvalid")
    assert world.condition("Published") == ("False", "StatusRefused")
    assert world.status()["summary"]["selected"] == 1
