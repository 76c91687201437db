"""Whatever a probe, a kubelet or a person says, both statuses are stored, and writing them comes to an end.

The fake API server validates statuses as the real one does, and a world fails its test if a write fails that no test
has refused.
"""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import builders
from tests.support.builders import terminated, waiting
from tests.support.world import KNOWLEDGE, World

from gpuenv.plan.actions import WriteReport
from gpuenv.plan.objects.node_report import read
from gpuenv_probe import codec

HUGE = ["x" * 251, "x" * 5000, "😀" * 2000, "e\u0301" * 1000, "\ud800" * 600, "a\n" * 600, "\u202e" * 300]
texts = st.sampled_from(HUGE) | st.text(max_size=12) | st.text(min_size=240, max_size=300)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([2**63, 10**300]) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def begun(**fields: Any) -> World:
    """An environment on two nodes, whose probes have started."""
    world = World()
    world.environment(**fields)
    for name in ("n1", "n2"):
        world.node(name)
    world.settle()
    return world


def settles(world: World) -> None:
    """Let the operator work until it rests, and again after a restart. What it wrote is what it reads back."""
    for planned in world.settle():
        for action in planned.actions:
            if isinstance(action, WriteReport):
                raw = world.get("reports", action.name) | {"status": action.status}
                assert read(raw).result == action.record.result
                assert read(raw).attempt == action.record.attempt
    world.restart()
    assert not world.settle()[0].actions


def leaves(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of single values within a probe report that an image fills."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    inner = [place for key, item in entries for place in leaves(item, (*here, key))]
    own = here and here[0] not in ("schema", "stage", "run", "complete")
    return inner or ([here] if own else [])


def probe_reports(run: str) -> dict[str, Any]:
    """The reports of both stages of a run, with something in every part."""
    command = {"name": "x", "exitCode": 1, "tail": "x"}
    return {
        "facts": builders.facts_report(run, ended="x", omitted=["x"]),
        "kernels": builders.kernels_report(run, ended="x", omitted=["x"], commands=[command]),
    }


PLACES = [(stage, place) for stage, report in probe_reports("x").items() for place in leaves(report)]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(PLACES), texts | values, min_size=1, max_size=8))
def test_whatever_a_probe_reports(changes: dict[tuple[str, tuple[Any, ...]], Any]) -> None:
    world = begun(publish={"nodeCondition": "Measured"})
    reports = probe_reports(world.run_id())
    for (stage, (*parents, last)), value in changes.items():
        target = reports[stage]
        for step in parents:
            target = target[step]
        target[last] = value
    try:
        messages = {stage: codec.encode(report, limit=1 << 20) for stage, report in reports.items()}
    except (ValueError, TypeError, AttributeError):
        return  # it has no form in a message
    world.finish(**messages)
    settles(world)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(texts, texts)
def test_whatever_a_kubelet_or_a_runtime_says(reason: str, message: str) -> None:
    world = begun(publish={"nodeCondition": "Measured"})
    now = world.now
    world.pod("Pending", scheduled=now, sandbox=now, facts=waiting(reason, message))
    world.pod(
        "Failed",
        node="n2",
        reason=reason,
        message=message,
        facts=terminated(message, code=1, reason=reason, at=now),
    )
    world.now += 4000
    settles(world)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_whatever_the_scheduler_or_a_webhook_says(message: str) -> None:
    world = begun()
    world.pod("Pending", unschedulable=message)
    world.now += 200
    world.kube.deny("POST", "/pods$", 403, "Forbidden", message)
    world.node("n3")
    settles(world)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_whatever_stands_in_a_specification(words: str) -> None:
    world = begun()
    world.environment(image=words, expect={"pytorch": words})
    settles(world)


def test_a_machine_with_a_long_name_does_not_keep_an_old_verdict() -> None:
    """The report and the environment's status name the platform in fewer characters than the probe's texts may have."""
    world = begun()
    for node in ("n1", "n2"):
        world.finish(node=node)
    world.settle()
    assert world.label() == "Compatible"
    world.now += 700_000
    world.settle()
    run = world.run_id()
    facts = builders.facts_report(run)
    facts["container"]["machine"] = "m" * 251
    world.finish(
        facts=facts,
        kernels=builders.kernels_report(
            run,
            steps=[
                {"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Fail", "detail": "no kernel image"}
            ],
        ),
    )
    settles(world)
    assert world.label() == "Incompatible"
    assert world.verdict() is not None
    assert world.condition("Compatible")[0] == "False"
    platforms = {one["platform"] for one in world.status()["image"]["digests"]}
    assert {len(one) for one in platforms} == {len("linux/amd64"), 256}


def test_a_problem_of_many_nodes_names_as_many_as_fit() -> None:
    world = World()
    world.environment(strategy={"maxConcurrent": "100%"})
    for number in range(30):
        world.node(f"n{number:02}")
    world.settle()
    for number in range(30):
        world.pod("Failed", node=f"n{number:02}", reason="Evicted", message="low on disk")
    settles(world)
    (problem,) = world.status()["problems"]
    assert (problem["nodeCount"], len(problem["nodes"])) == (30, 20)


def test_what_is_stored_shortened_is_not_written_again_and_again() -> None:
    """The words of the tables may be an administrator's own."""
    world = begun()
    rows = KNOWLEDGE.reasons
    world.knowledge = replace(
        KNOWLEDGE, reasons=rows | {"Evicted": replace(rows["Evicted"], cure="c" * 5000)}
    )
    world.pod("Failed", reason="Evicted", message="low on disk")
    settles(world)
    assert world.verdict() == ("Unknown", "Evicted")
    (remedy,) = world.get("reports", "pt.n1")["status"]["remedies"]
    assert (len(remedy["message"]), remedy["message"][-1]) == (1024, "…")
    world.node(conditions={"DiskPressure": "True"})
    settles(world)
