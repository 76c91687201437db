"""What the annotation ``gpuenv.dev/revalidate`` starts, and when the status says that a value of it is answered."""

from typing import Any

import pytest
from tests.support.started_worlds import first_run, fleet, validated
from tests.support.world import World

from gpuenv.api import names
from gpuenv.plan.demand import MAX_TOKEN, demand

ASKABLE = {"environments": "pt", "reports": "pt.n1"}


def ask(world: World, kind: Any, token: str) -> None:
    world.annotate(kind, ASKABLE[kind], names.ANNOTATION_REVALIDATE, token)
    world.settle()


def observed(world: World, kind: Any) -> str | None:
    """Return what ``kubectl wait --for=jsonpath='{.status.observedRevalidate}'=TOKEN`` looks at."""
    found = world.get(kind, ASKABLE[kind])["status"].get("observedRevalidate")
    return None if found is None else str(found)


def finish(world: World, node: str = "n1") -> None:
    world.finish(node=node)
    world.settle()


@pytest.mark.parametrize("kind", ASKABLE)
def test_each_value_starts_one_run_and_is_observed_when_that_run_has_ended(kind: str) -> None:
    world = validated()
    before = None
    for token in ("a", "b"):
        ask(world, kind, token)
        assert len(world.pods_of()) == 1
        assert observed(world, kind) == before
        finish(world)
        assert not world.objects("pods")
        assert observed(world, kind) == token
        before = token
    ask(world, kind, "")
    assert not world.objects("pods"), "a value that was taken away asks for nothing"


@pytest.mark.parametrize("kind", ASKABLE)
def test_a_value_that_comes_during_a_run_asks_for_another_one(kind: str) -> None:
    world = validated()
    ask(world, kind, "first")
    run = world.run_id()
    ask(world, kind, "second")
    assert world.run_id() == run
    finish(world)
    assert observed(world, kind) == ("first" if kind == "reports" else None), (
        "the run that took the first value into account reports exactly that one; an environment skips it"
    )
    assert world.run_id() != run
    finish(world)
    assert observed(world, kind) == "second"
    assert not world.objects("pods")


def test_the_values_of_environment_and_report_are_kept_apart() -> None:
    world = validated()
    world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "all")
    world.annotate("reports", "pt.n1", names.ANNOTATION_REVALIDATE, "one")
    world.settle()
    finish(world)
    assert (observed(world, "environments"), observed(world, "reports")) == ("all", "one")
    assert not world.objects("pods"), "one run answers both"
    status = world.get("reports", "pt.n1")["status"]
    assert status["internal"]["observedEnvironmentRevalidate"] == demand("all", "").environment
    ask(world, "environments", "all again")
    finish(world)
    assert (observed(world, "environments"), observed(world, "reports")) == ("all again", "one")


@pytest.mark.parametrize("kind", ASKABLE)
def test_a_value_longer_than_the_status_keeps_counts_up_to_there(kind: str) -> None:
    world = validated()
    ask(world, kind, "x" * (MAX_TOKEN + 1))
    finish(world)
    assert observed(world, kind) == "x" * MAX_TOKEN
    assert not world.objects("pods")
    ask(world, kind, "x" * (MAX_TOKEN + 2))
    assert not world.objects("pods")


def test_the_environments_value_is_observed_with_the_last_report() -> None:
    world = fleet(3)
    world.settle()
    world.finish_all()
    ask(world, "environments", "now")
    for node in ("n00", "n01", "n02"):
        assert observed(world, "environments") is None
        finish(world, node)
    assert observed(world, "environments") == "now"


def test_a_node_where_no_run_can_start_is_not_waited_for_until_one_can() -> None:
    world = fleet(2)
    world.settle()
    world.finish_all()
    world.node("n01", unschedulable=True)
    ask(world, "environments", "now")
    finish(world, "n00")
    assert observed(world, "environments") == "now"
    world.node("n01")
    world.settle()
    assert observed(world, "environments") is None, "its verdict is older than what was asked"
    finish(world, "n01")
    assert observed(world, "environments") == "now"


def test_a_node_that_is_cordoned_during_its_run_is_waited_for() -> None:
    world = validated()
    ask(world, "environments", "now")
    world.node(unschedulable=True)
    world.settle()
    assert observed(world, "environments") is None
    finish(world)
    assert observed(world, "environments") == "now"


def test_a_suspended_environment_answers_nothing_that_its_next_run_would() -> None:
    world = validated()
    world.environment(suspend=True)
    ask(world, "environments", "now")
    world.environment()
    world.settle()
    assert observed(world, "environments") is None
    finish(world)
    assert observed(world, "environments") == "now"


def test_a_new_node_and_a_replaced_one_are_waited_for() -> None:
    world = validated()
    ask(world, "environments", "now")
    world.node("n2")
    world.settle()
    finish(world)
    assert observed(world, "environments") is None
    finish(world, "n2")
    assert observed(world, "environments") == "now"
    world.node("n2", uid="another machine")
    world.step()
    assert observed(world, "environments") is None
    world.settle()
    finish(world, "n2")
    assert observed(world, "environments") == "now"


def test_a_report_that_somebody_deletes_is_waited_for() -> None:
    world = validated()
    ask(world, "environments", "now")
    finish(world)
    world.delete("reports", "pt.n1")
    world.settle()
    assert observed(world, "environments") is None
    finish(world)
    assert observed(world, "environments") == "now"


def test_a_refused_run_answers_only_what_was_asked_before_it() -> None:
    """The value changes after the API server has refused the pod, and before the report says so."""
    world = validated()
    lift = world.kube.deny("POST", "/pods$", 403, "Forbidden", "no")
    world.annotate("reports", "pt.n1", names.ANNOTATION_REVALIDATE, "first")
    world.step()
    world.annotate("reports", "pt.n1", names.ANNOTATION_REVALIDATE, "second")
    lift()
    world.settle()
    assert observed(world, "reports") == "first"
    finish(world)
    assert observed(world, "reports") == "second"


def test_an_operator_that_starts_anew_neither_forgets_nor_repeats() -> None:
    world = validated()
    world.annotate("reports", "pt.n1", names.ANNOTATION_REVALIDATE, "now")
    ask(world, "environments", "now")
    world.restart()
    world.settle()
    assert len(world.pods_of()) == 1
    finish(world)
    world.restart()
    world.settle()
    assert not world.objects("pods")
    assert [observed(world, kind) for kind in ASKABLE] == ["now", "now"]


def test_the_first_run_answers_what_was_asked_before_it() -> None:
    world = World()
    world.environment()
    world.node()
    ask(world, "environments", "now")
    finish(world)
    assert observed(world, "environments") == "now"
    assert not world.objects("pods")


def test_the_first_run_does_not_answer_what_was_asked_during_it() -> None:
    world = first_run()
    ask(world, "environments", "now")
    first = world.run_id()
    finish(world)
    assert observed(world, "environments") is None
    assert world.run_id() != first


def test_a_report_remembers_that_a_run_that_was_asked_for_gave_no_answer() -> None:
    world = validated()
    world.annotate("reports", "pt.n1", names.ANNOTATION_REVALIDATE, "now")
    ask(world, "environments", "now")
    world.busy()
    assert world.verdict() == ("Compatible", ""), "the earlier verdict stays"
    assert [observed(world, kind) for kind in ASKABLE] == ["now", "now"]
    assert owes(world)
    world.restart()
    world.now += 3600
    world.settle()
    world.busy()
    assert owes(world), "a second run without an answer changes nothing"
    world.now += 3600
    world.settle()
    finish(world)
    assert not owes(world)


def test_a_run_that_nobody_asked_for_owes_no_answer() -> None:
    world = validated()
    world.now += 2 * 604800
    world.settle()
    world.busy()
    assert world.verdict() == ("Compatible", "")
    assert not owes(world)


def owes(world: World) -> bool:
    """Return whether the report says that its verdict is older than a run that was asked for."""
    status = world.get("reports", "pt.n1")["status"]
    assert "lastAttempt" in status or "internal" not in status or "owesAnswer" not in status["internal"]
    return bool(status.get("internal", {}).get("owesAnswer", False))
