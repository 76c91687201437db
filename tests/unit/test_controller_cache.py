"""The cache: identity, order of arrival, deletions, tombstones."""

import copy
from typing import Any

import pytest
from tests.support import builders
from tests.support.actions import write

from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import KINDS
from gpuenv.plan.actions import Plan
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Attempt, Rejection


@pytest.fixture
def cache() -> Cache:
    return Cache()


def at(version: int, one: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return a copy of an object with another resource version and other metadata."""
    later = copy.deepcopy(one)
    later["metadata"] |= {"resourceVersion": str(version)} | metadata
    return later


def test_an_event_that_changes_nothing_keeps_the_record(cache: Cache) -> None:
    woken: list[int] = []
    cache.changed = lambda: woken.append(1)
    cache.observe("nodes", None, at(1, builders.node("a")))
    record = cache.nodes["a"]
    heartbeat = at(2, builders.node("a"), annotations={"time": "now"})
    cache.observe("nodes", "MODIFIED", heartbeat)
    assert cache.nodes["a"] is record
    assert woken == [1]
    cache.observe("nodes", "MODIFIED", at(3, builders.node("a", labels={"x": "y"})))
    assert cache.nodes["a"] is not record
    assert woken == [1, 1]


def test_a_late_event_does_not_undo_a_newer_state(cache: Cache) -> None:
    cache.put("nodes", at(7, builders.node("a", labels={"x": "new"})))
    cache.observe("nodes", "MODIFIED", at(5, builders.node("a", labels={"x": "old"})))
    assert cache.nodes["a"].labels["x"] == "new"


def test_versions_that_are_no_numbers_are_taken_as_they_come(cache: Cache) -> None:
    cache.put("nodes", at(1, builders.node("a", labels={"x": "1"}), resourceVersion="abc"))
    cache.put("nodes", at(1, builders.node("a", labels={"x": "2"}), resourceVersion="aaa"))
    assert cache.nodes["a"].labels["x"] == "2"


def test_a_deleted_object_does_not_come_back_with_an_old_list(cache: Cache) -> None:
    cache.put("nodes", at(1, builders.node("a")))
    cache.observe("nodes", "DELETED", at(9, builders.node("a")))
    assert not cache.put("nodes", at(5, builders.node("a")))
    assert cache.nodes == {}
    # But one that matches the watch's selector again does,
    assert cache.put("nodes", at(10, builders.node("a")))
    # and so does another node of that name.
    cache.gone("nodes", "a")
    assert not cache.put("nodes", at(11, builders.node("a")))
    assert cache.put("nodes", at(12, builders.node("a"), uid="another"))


def test_the_deletion_of_a_former_node_does_not_remove_its_successor(cache: Cache) -> None:
    cache.put("nodes", at(5, builders.node("a"), uid="new"))
    cache.observe("nodes", "DELETED", at(4, builders.node("a")))
    assert cache.nodes["a"].uid == "new"


def test_a_deleted_pod_stays_as_a_tombstone_with_its_last_state(cache: Cache) -> None:
    cache.put("pods", at(1, builders.pod("e", "a")))
    name = builders.pod("e", "a")["metadata"]["name"]
    cache.observe("pods", "DELETED", at(2, builders.pod("e", "a", phase="Succeeded")))
    assert cache.pods[name].vanished
    assert cache.pods[name].phase == "Succeeded"
    assert cache.names("pods") == []
    seen = cache.snapshot(Settings())
    cache.carried_out(seen, Plan(validations={("e", "a"): (write("e", "a"),)}))
    assert name in cache.pods
    cache.carried_out(seen, Plan())
    assert name not in cache.pods


def test_a_tombstone_that_no_plan_has_seen_is_kept(cache: Cache) -> None:
    cache.put("pods", at(1, builders.pod("e", "a")))
    seen = cache.snapshot(Settings())
    cache.gone("pods", builders.pod("e", "a")["metadata"]["name"])
    cache.carried_out(seen, Plan())
    (pod,) = cache.pods.values()
    assert pod.vanished


def test_a_rejection_is_kept_until_a_plan_has_written_it(cache: Cache) -> None:
    attempt = Attempt("r", "ProbeRejected", "words", (), 0.0, "i", "f", 1)
    cache.rejections["e", "a"] = Rejection(attempt)
    seen = cache.snapshot(Settings())
    cache.carried_out(seen, Plan(validations={("e", "a"): (write("e", "a"),)}))
    assert cache.rejections
    cache.carried_out(seen, Plan())
    assert not cache.rejections


def test_reports_are_found_by_environment_and_node(cache: Cache) -> None:
    cache.put("reports", at(1, builders.report("e", "a")))
    assert cache.reports["e", "a"].node == "a"
    cache.observe("reports", "DELETED", at(2, builders.report("e", "a")))
    assert cache.reports == {}


def test_only_the_report_of_the_operators_name_counts(cache: Cache) -> None:
    """A report of another name is not what was found on the node, whoever made it: a person, or a restore."""
    cache.put("reports", at(1, builders.report("e", "a", reason="Ours")))
    record = cache.reports["e", "a"]
    woken: list[int] = []
    cache.changed = lambda: woken.append(1)
    forged = builders.report("e", "a", reason="Theirs") | {"metadata": {"name": "e.b", "uid": "u"}}
    cache.observe("reports", "ADDED", at(2, forged))
    assert cache.reports == {("e", "a"): record}
    assert not cache.outdated("reports", at(2, forged)), "a sweep finds nothing that the watch had missed"
    cache.observe("reports", "DELETED", at(3, forged))
    assert cache.reports == {("e", "a"): record}
    assert woken == [1], "a deleted object of any kind wakes the planner"


def test_the_name_of_a_long_node_is_that_of_its_report(cache: Cache) -> None:
    cache.put("reports", at(1, builders.report("e", "n" * 253)))
    assert list(cache.reports) == [("e", "n" * 253)]


def test_a_report_that_is_about_another_node_now_is_forgotten(cache: Cache) -> None:
    cache.put("reports", at(1, builders.report("e", "a")))
    moved = builders.report("e", "b") | {"metadata": builders.report("e", "a")["metadata"]}
    cache.observe("reports", "MODIFIED", at(2, moved))
    assert cache.reports == {}
    cache.observe("reports", "DELETED", at(3, moved))
    assert cache.reports == {}


def test_snapshots_share_what_has_not_changed(cache: Cache) -> None:
    """Copies of 50,000 records took longer than a plan in which nothing changes."""
    cache.put("nodes", at(1, builders.node("a")))
    cache.put("pods", at(1, builders.pod("pt", "a")))
    first = cache.snapshot(Settings())
    cache.put("nodes", at(2, builders.node("a"), annotations={"time": "now"}))
    second = cache.snapshot(Settings())
    assert (second.nodes, second.pods) == (first.nodes, first.pods)
    assert second.nodes is first.nodes
    assert second.pods is first.pods
    cache.put("nodes", at(3, builders.node("a", labels={"x": "y"})))
    cache.gone("pods", next(iter(first.pods)))
    third = cache.snapshot(Settings())
    assert third.nodes["a"] is not first.nodes["a"]
    assert [one.vanished for one in third.pods.values()] == [True]
    assert [one.vanished for one in first.pods.values()] == [False]
    cache.carried_out(third, Plan())
    assert cache.snapshot(Settings()).pods == {}
    assert len(third.pods) == 1


def test_a_snapshot_does_not_change_afterwards(cache: Cache) -> None:
    cache.put("nodes", at(1, builders.node("a")))
    seen = cache.snapshot(Settings())
    cache.gone("nodes", "a")
    assert list(seen.nodes) == ["a"]
    assert not seen.synced


ODD: list[Any] = [
    {"metadata": {"name": "a", "uid": "u"}},
    {"metadata": {"name": "a"}, "spec": [], "status": "x"},
    {"metadata": {"name": "a", "labels": 3, "annotations": [1]}, "status": {"capacity": None}},
    {"metadata": None},
    {},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("kind", ["environments", "nodes", "pods", "reports"])
def test_an_odd_object_never_ends_the_watch(cache: Cache, kind: Any, odd: Any) -> None:
    for type_ in (None, "MODIFIED", "DELETED"):
        cache.observe(kind, type_, odd)


@pytest.mark.parametrize(
    "odd", [{}, {"metadata": None}, {"metadata": ["a"]}, {"metadata": "a"}, {"metadata": {}}], ids=str
)
@pytest.mark.parametrize("type_", [None, "DELETED"])
def test_no_event_is_too_odd(cache: Cache, odd: dict[str, Any], type_: str | None) -> None:
    for kind in KINDS:
        cache.observe(kind, type_, odd)
    assert cache.names("nodes") == []
