"""``gpuenv wait``: what it says while it waits, what it answers, and what it asks the API server for."""

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.wait import wait_until_async

from gpuenv.api import names
from gpuenv.cli import wait
from gpuenv.cli.shared import completeness
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, NODES, REPORTS
from gpuenv.plan.demand import MAX_TOKEN, demand
from gpuenv.plan.validation.selection import label_selector

Raw = dict[str, Any]
ASKED = "a new run was asked for and is not answered yet"


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    """Environment ``e`` is ready, and compatible with the nodes a and b."""
    monkeypatch.setattr(wait, "POLL_SECONDS", 0.01)
    kube = FakeKube()
    kube.add(ENVIRONMENTS, builders.environment("e"))
    for node in "ab":
        kube.add(NODES, builders.node(node))
        kube.add(REPORTS, builders.report("e", node, reason="", verdict="Compatible"))
    kube.add(REPORTS, builders.report("f", "a"))
    ask(kube, f"{REPORTS}/f.a", "other")
    settle(kube)
    return kube


def settle(kube: FakeKube, selected: int = 2, **counts: int) -> None:
    """Write the status of the environment that says that all its nodes have their answers."""
    ready = {"type": "Ready", "status": "True"}
    summary = {"selected": selected} | (counts or {"compatible": selected})
    token = completeness.token_of(kube.objects[f"{ENVIRONMENTS}/e"])
    generation = kube.objects[f"{ENVIRONMENTS}/e"]["metadata"]["generation"]
    status = {"conditions": [ready], "summary": summary, "observedGeneration": generation}
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one.update(status=status | {"observedRevalidate": token}))


def ask(kube: FakeKube, path: str, token: str) -> None:
    annotation = {names.ANNOTATION_REVALIDATE: token}
    kube.touch(path, lambda one: one["metadata"].setdefault("annotations", {}).update(annotation))


def say(kube: FakeKube, node: str, **status: Any) -> None:
    kube.touch(f"{REPORTS}/e.{node}", lambda one: one["status"].update(status))


async def looked(kube: FakeKube, seconds: float = 0.05) -> Any:
    return await wait._wait(kube, "e", seconds)  # type: ignore[arg-type]  # a stand-in


async def missing(kube: FakeKube) -> str:
    return str((await looked(kube)).missing)


async def result(kube: FakeKube) -> str:
    look = await looked(kube)
    assert not look.missing
    return completeness.result(look.environment, look.answers) + (f"; older: {look.older}" * bool(look.older))


async def test_what_nobody_asked_for_is_not_waited_for(kube: FakeKube) -> None:
    assert await result(kube) == "2/2 compatible"
    say(kube, "b", observedRevalidate="earlier")  # the annotation was removed since
    assert await result(kube) == "2/2 compatible"


async def test_a_run_asked_for_on_one_node_is_waited_for(kube: FakeKube) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    assert await missing(kube) == f"{ASKED}: b"
    say(kube, "b", observedRevalidate="before")
    assert await missing(kube) == f"{ASKED}: b"
    kube.calls.clear()
    waiting = asyncio.create_task(looked(kube, 20))
    await wait_until_async(lambda: ("GET", REPORTS) in kube.calls)
    say(kube, "b", observedRevalidate="now")
    assert (await waiting).missing == ""


@pytest.mark.parametrize("token", ["now", "x" * (MAX_TOKEN + 1)])
async def test_a_run_asked_for_on_all_nodes_is_waited_for(kube: FakeKube, token: str) -> None:
    ask(kube, f"{ENVIRONMENTS}/e", token)
    assert await missing(kube) == f"{ASKED}: a, b"
    observed = {"observedEnvironmentRevalidate": demand(token, "").environment}
    say(kube, "a", internal=observed)
    assert await missing(kube) == f"{ASKED}: b"
    say(kube, "b", internal=observed)
    assert await missing(kube) == completeness.BEHIND
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["status"].update(observedRevalidate=token[:MAX_TOKEN]))
    assert await result(kube) == "2/2 compatible"


async def test_a_report_that_somebody_deletes_is_waited_for(kube: FakeKube) -> None:
    kube.objects.pop(f"{REPORTS}/e.b")
    assert await missing(kube) == "1 node report is missing"


async def test_a_report_without_a_verdict_is_waited_for(kube: FakeKube) -> None:
    kube.touch(f"{REPORTS}/e.b", lambda one: one.pop("status"))
    assert await missing(kube) == "not answered yet: b"


async def test_verdicts_that_the_status_does_not_include_yet_are_waited_for(kube: FakeKube) -> None:
    say(kube, "b", verdict="Incompatible", reason="UvmMissing")
    assert await missing(kube) == completeness.BEHIND
    settle(kube, compatible=1, incompatible=1)
    assert await result(kube) == "1/2 compatible; UvmMissing on 1 node"


async def test_an_environment_without_nodes_is_waited_for(kube: FakeKube) -> None:
    settle(kube, 0)
    ready = {"type": "Ready", "status": "True", "message": "the selector matches no node with GPUs"}
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["status"].update(conditions=[ready]))
    assert await missing(kube) == "the selector matches no node with GPUs"


async def test_many_nodes_are_named_in_part(kube: FakeKube) -> None:
    for number in range(8):
        kube.add(NODES, builders.node(f"n{number}"))
        kube.add(REPORTS, builders.report("e", f"n{number}", reason="", verdict="Compatible"))
        ask(kube, f"{REPORTS}/e.n{number}", "now")
    settle(kube, 10)
    assert await missing(kube) == f"{ASKED}: n0, n1, n2, n3, n4 and 3 more"


BLOCKED: list[tuple[Raw, str]] = [
    ({"unschedulable": True}, "the node is cordoned"),
    ({"gpus": (8, 0)}, "the node advertises 8 nvidia.com/gpu, of which 0 can be used"),
    ({"ready": False}, "the node is not ready"),
]


@pytest.mark.parametrize(("change", "why"), BLOCKED, ids=str)
async def test_where_no_run_can_start_the_reason_is_named(kube: FakeKube, change: Raw, why: str) -> None:
    kube.add(NODES, builders.node("b", **change))
    ask(kube, f"{REPORTS}/e.b", "now")
    assert await missing(kube) == f"{ASKED}: b ({why})"


@pytest.mark.parametrize("reason", ["HeldOff", "GpuNotAdvertised", "ProbeStuck"])
async def test_a_reason_that_the_report_names_is_quoted(kube: FakeKube, reason: str) -> None:
    say(kube, "b", verdict="Unknown", reason=reason, message="held off: the node is cordoned")
    ask(kube, f"{REPORTS}/e.b", "now")
    assert await missing(kube) == f"{ASKED}: b (held off: the node is cordoned)"


async def test_a_suspended_environment_answers_no_new_question(kube: FakeKube) -> None:
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["spec"].update(suspend=True))
    settle(kube)
    assert await result(kube) == "2/2 compatible"
    ask(kube, f"{REPORTS}/e.b", "now")
    assert await missing(kube) == f"{ASKED}: b (spec.suspend is true)"


@pytest.mark.parametrize(
    ("status", "why"), [(403, ""), (404, " (the node does not exist any more)")], ids=["forbidden", "gone"]
)
async def test_a_node_that_cannot_be_read_is_named_all_the_same(
    kube: FakeKube, status: int, why: str
) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    kube.deny("GET", f"{NODES}/", status)
    assert await missing(kube) == f"{ASKED}: b{why}"


async def test_an_older_verdict_counts_as_unknown_where_no_run_could_start(kube: FakeKube) -> None:
    ask(kube, f"{ENVIRONMENTS}/e", "now")
    say(kube, "a", internal={"observedEnvironmentRevalidate": demand("now", "").environment})
    settle(kube)
    assert await missing(kube) == f"{ASKED}: b", "a run can start there again"
    kube.add(NODES, builders.node("b", unschedulable=True))
    assert await result(kube) == "1/2 compatible; older: b (the node is cordoned)"
    kube.deny("GET", f"{NODES}/", 403)
    assert await result(kube) == "1/2 compatible; older: b (no run could start there)"


async def test_an_older_verdict_counts_as_unknown_where_the_run_gave_no_answer(kube: FakeKube) -> None:
    say(kube, "b", internal={"owesAnswer": True}, lastAttempt={"reason": "GpusBusy"})
    assert await result(kube) == "1/2 compatible; older: b (GpusBusy, the run ended without a result)"


async def test_reports_of_nodes_that_left_do_not_count(kube: FakeKube) -> None:
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["spec"].update(nodes={"selector": LEFT}))
    settle(kube, 1)
    ask(kube, f"{REPORTS}/e.b", "never answered")
    kube.touch(f"{NODES}/a", lambda one: one["metadata"]["labels"].update(pool="a"))
    assert await result(kube) == "1/1 compatible"
    lift = kube.deny("GET", f"{NODES}$", 403)
    assert await missing(kube) == f"{ASKED}: b"
    say(kube, "b", observedRevalidate="never answered")
    assert await missing(kube) == "1 node report is left of nodes that are not selected any more"
    lift()
    assert await result(kube) == "1/1 compatible"


LEFT: Raw = {"matchLabels": {"pool": "a"}}
EXPRESSIONS = [
    {"key": "zone", "operator": "In", "values": ["a", "b"]},
    {"key": "zone", "operator": "NotIn", "values": ["c"]},
    {"key": "gpu", "operator": "Exists"},
    {"key": "old", "operator": "DoesNotExist"},
]


def test_a_selector_is_written_as_the_api_server_reads_it() -> None:
    assert label_selector({}) == ""
    assert label_selector(LEFT | {"matchExpressions": EXPRESSIONS}) == (
        "pool=a,zone in (a,b),zone notin (c),gpu,!old"
    )


@pytest.mark.parametrize("status", [410, 503])
async def test_a_read_that_fails_is_tried_again(kube: FakeKube, status: int) -> None:
    kube.fail("GET", REPORTS, status)
    assert await result(kube) == "2/2 compatible"


async def test_a_read_that_is_refused_ends_it(kube: FakeKube) -> None:
    kube.fail("GET", REPORTS, 403)
    with pytest.raises(ApiError):
        await looked(kube)


async def test_reports_are_read_only_once_the_environment_is_ready(kube: FakeKube) -> None:
    """The reports of a large fleet are many megabytes."""
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["spec"].update(suspend=True))
    assert await missing(kube) == completeness.NOT_SEEN
    assert ("GET", REPORTS) not in kube.calls


async def test_the_nodes_that_are_probed_are_named_before_the_environment_is_ready(kube: FakeKube) -> None:
    ready = {"type": "Ready", "status": "False", "message": "3 of 4 nodes without answer (2 running)"}
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["status"].update(conditions=[ready]))
    pods = f"/api/v1/namespaces/{names.PROBE_NAMESPACE}/pods"
    for node, phase in (("b", "Running"), ("a", "Pending"), ("c", "Succeeded")):
        kube.add(pods, builders.pod("e", node, phase=phase))
    kube.add(pods, builders.pod("f", "d", phase="Running"))
    assert await missing(kube) == "3 of 4 nodes without answer (2 running); probed now: a, b"
    kube.fail("GET", pods, 403, "Forbidden", "no")
    look = await wait._look(kube, "e")  # type: ignore[arg-type]  # a stand-in
    assert look.missing == "3 of 4 nodes without answer (2 running)", "who may not list pods gets fewer names"


async def test_a_more_severe_problem_is_named_first(kube: FakeKube) -> None:
    say(kube, "a", verdict="Degraded", reason="BelowFloor")
    say(kube, "b", verdict="Incompatible", reason="UvmMissing")
    settle(kube, degraded=1, incompatible=1)
    assert await result(kube) == "0/2 compatible; UvmMissing on 1 node, 1 more problem"


async def test_labels_that_a_mass_change_holds_back_are_not_waited_for(kube: FakeKube) -> None:
    """They wait for a person. The answers are there, in the node reports."""
    say(kube, "b", verdict="Incompatible", reason="DriverTooOld")
    settle(kube, compatible=1, incompatible=1)
    assert await result(kube) == "1/2 compatible; DriverTooOld on 1 node"
    for reason, message in (("MassChange", ""), ("LabelRefused", "1 result is not written yet")):
        held = {"type": "Ready", "status": "False", "reason": reason, "message": message}
        kube.touch(f"{ENVIRONMENTS}/e", lambda one, held=held: one["status"].update(conditions=[held]))
        assert await missing(kube) == message


def test_the_command_that_accepts_a_mass_change_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"id": "7f3c01aa", "message": "2 of 2 nodes would leave Compatible: x (2)"}
    look = wait._Look(builders.environment("e") | {"status": {"massChange": change}})
    monkeypatch.setattr(wait.cluster, "ask", lambda *_: look)
    found = CliRunner().invoke(wait.command, ["e"])
    assert found.stderr.rstrip().endswith(
        "kubectl annotate --overwrite genv/e gpuenv.dev/accept-change=7f3c01aa"
    )
    assert found.stderr.count("\n") == 1
