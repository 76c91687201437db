"""Whatever stands in an object, it becomes a record, and a plan over such records never raises."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import builders
from tests.support.builders import NOW
from tests.support.started_worlds import validated
from tests.support.world import KNOWLEDGE, World

from gpuenv.controller.kube.kinds import KINDS
from gpuenv.plan import memo
from gpuenv.plan.actions import CreatePod, WriteReport
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.context import Validation
from gpuenv.plan.objects import records
from gpuenv.plan.planner import plan
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Snapshot
from gpuenv.plan.validation.desired_state import DesiredState, desired_state

texts = st.text(max_size=12) | st.sampled_from(
    ["", "Failed", "True", "-1", "1e400", "2027-01-15T08:00:00Z", "\x00\ud800"]
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def lived() -> World:
    """A small cluster in which something of everything has happened."""
    world = World()
    world.environment(expect={"pytorch": "==2.9.*"}, publish={"nodeCondition": "Measured"})
    for name in ("n1", "n2", "n3"):
        world.node(name)
    world.settle()
    world.finish()
    world.finish(node="n2", kernels="garbage")
    world.settle()
    return world


LIVED = lived()
WORLD = {kind: LIVED.objects(kind) for kind in KINDS}


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places within an object."""
    found = [here] if here else []
    if isinstance(value, dict):
        for key in value:
            found += paths(value[key], (*here, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += paths(item, (*here, index))
    return found


def replaced(raw: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one place changed."""
    changed = copy.deepcopy(raw)
    target = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return changed


@st.composite
def odd_worlds(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """The cluster with up to three places in it replaced by something else."""
    changed = copy.deepcopy(WORLD)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(sorted(changed)))
        name = draw(st.sampled_from(sorted(changed[kind])))
        found = paths(changed[kind][name])
        if found:
            changed[kind][name] = replaced(
                changed[kind][name], draw(st.sampled_from(found)), draw(json_values)
            )
    return changed


def snapshot(raw: dict[str, dict[str, Any]]) -> Snapshot:
    environments = [records.environment_record(item) for item in raw["environments"].values()]
    nodes = [records.node_record(item) for item in raw["nodes"].values()]
    pods = [records.pod_record(item) for item in raw["pods"].values()]
    reports = [records.report_record(item) for item in raw["reports"].values()]
    return Snapshot(
        environments={one.name: one for one in environments},
        nodes={one.name: one for one in nodes},
        pods={one.name: one for one in pods},
        reports={(one.environment, one.node): one for one in reports},
        settings=Settings(config_map="x"),
    )


@settings(max_examples=400)
@given(odd_worlds(), st.sampled_from([0, 130, 4000, 10**7]))
def test_a_plan_never_raises(raw: dict[str, dict[str, Any]], after: int) -> None:
    seen = snapshot(raw)
    planned = plan(seen, NOW + after, KNOWLEDGE)
    assert planned.faults == ()
    assert planned == plan(seen, NOW + after, KNOWLEDGE)


def test_a_time_that_cannot_be_shown_is_no_time() -> None:
    raw = copy.deepcopy(WORLD)
    raw["reports"]["pt.n1"]["status"]["validationTime"] = "9999-12-31T23:59:59-23:00"
    assert plan(snapshot(raw), NOW, KNOWLEDGE).faults == ()


def test_a_validation_that_cannot_be_judged_keeps_nobody_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(validation: Validation, now: float, allowance: Allowance) -> DesiredState:
        if validation.node.name == "n1":
            raise ZeroDivisionError("by design")
        return desired_state(validation, now, allowance)

    monkeypatch.setattr(memo, "desired_state", faulty)
    world = World()
    world.environment()
    for name in ("n1", "n2"):
        world.node(name)
    planned = plan(world.cache.snapshot(world.settings), NOW, KNOWLEDGE)
    assert planned.faults == ("environment pt on node n1 cannot be judged: ZeroDivisionError: by design",)
    assert [one.node for one in planned.actions if isinstance(one, CreatePod)] == ["n2"]


def test_a_validation_that_could_not_be_judged_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any) -> DesiredState:
        raise MemoryError

    world = World()
    world.environment()
    world.node("n1")
    world.step()  # adds the finalizer
    seen = world.cache.snapshot(world.settings)
    with monkeypatch.context() as patch:
        patch.setattr(memo, "desired_state", faulty)
        assert plan(seen, NOW, KNOWLEDGE, world.memo).faults
    assert plan(seen, NOW, KNOWLEDGE, world.memo).faults, "it is not tried in every plan"
    later = replace(seen, steady=seen.steady + 61)
    assert not plan(later, NOW + 61, KNOWLEDGE, world.memo).faults


@settings(max_examples=150)
@given(json_values, json_values, json_values)
def test_any_object_becomes_a_record(metadata: Any, spec: Any, status: Any) -> None:
    raw = {"metadata": metadata, "spec": spec, "status": status}
    assert records.environment_record(raw).spec is None or isinstance(spec, dict)
    records.node_record(raw)
    records.pod_record(raw)
    records.report_record(raw)


PLACES = [("facts", path) for path in paths(builders.facts_report("x"))] + [
    ("kernels", path) for path in paths(builders.kernels_report("x"))
]


@settings(max_examples=200)
@given(st.sampled_from(PLACES), json_values)
def test_whatever_a_probe_reports_is_stored_so_that_it_reads_back_equal(
    place: tuple[str, tuple[Any, ...]], value: Any
) -> None:
    """The image is not trusted: ill-typed, endless or unprintable facts neither crash nor loop."""
    stage, path = place
    world = World()
    world.environment()
    world.node()
    world.settle()
    run = world.run_id()
    reports = {"facts": builders.facts_report(run), "kernels": builders.kernels_report(run)}
    reports[stage] = replaced(reports[stage], path, value)
    try:
        world.finish(facts=reports["facts"], kernels=reports["kernels"])
    except (ValueError, TypeError, AttributeError, RecursionError, KeyError, IndexError):
        return  # the encoder refuses it: it cannot arrive
    planned = world.step()
    written = [action.record for action in planned.actions if isinstance(action, WriteReport)]
    read = world.report()
    assert len(written) == 1
    assert read is not None
    assert (written[0].result, written[0].attempt) == (read.result, read.attempt)
    world.settle()


def test_reports_of_a_fleet_hold_what_is_equal_in_them_once() -> None:
    """Each of 50,000 records used to hold a kilobyte that others held, too. They are read from JSON of their own."""
    raw = validated().get("reports", "pt.n1")
    one, other = (records.report_record(json.loads(json.dumps(raw))) for _ in range(2))
    assert one == other
    assert one.result is not None
    assert other.result is not None
    for name in ("inputs_hash", "assessment_key", "image_digest", "checks", "versions"):
        assert getattr(one.result, name) is getattr(other.result, name), name
        assert getattr(one.result, name), name
    for name in ("environment", "node", "message", "observed_demand"):
        assert getattr(one, name) is getattr(other, name), name
