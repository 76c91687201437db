"""What the operator touches, and that it takes it all back; what a refused pod looks like."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.operator_process import (
    ENVIRONMENTS,
    T4,
    OperatorProcess,
    apply,
    comparable,
    find,
    label,
    nodes,
    operator,
    probe_pods,
    remove,
    report,
    started,
    until_labelled,
)
from tests.support.probe_pods import built
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api import names
from gpuenv_sandbox.control_plane.cluster import ControlPlane

PRIORITY_CLASS = "/apis/scheduling.k8s.io/v1/priorityclasses/gpuenv-probe"
QUOTAS = "/api/v1/namespaces/gpuenv-probes/resourcequotas"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


@pytest.fixture(scope="module")
def running(plane: ControlPlane) -> Iterator[OperatorProcess]:
    with operator(plane) as one:
        wait_until(one.is_ready, one.tail)
        yield one


def users_things(plane: ControlPlane, node: str) -> dict[str, Any]:
    """Labels, an annotation and a taint on the node, and a pod of somebody's in the probe namespace."""
    labels = {"team": "vision", "compat.example.com/pytorch": "Compatible", "gpuenv-like": "x"}
    metadata = {"labels": labels, "annotations": {"note": "mine"}}
    taint = {"key": "mine", "value": "x", "effect": "PreferNoSchedule"}
    plane.admin.merge(f"/api/v1/nodes/{node}", {"metadata": metadata, "spec": {"taints": [taint]}})
    pod = built() | {"metadata": {"name": f"users-{node}"}}
    path = "/api/v1/namespaces/gpuenv-probes/pods"
    wait_until(lambda: find(plane, "/api/v1/namespaces/gpuenv-probes/serviceaccounts/default"))
    return dict(plane.admin.create(path, pod))


async def test_a_deleted_environment_leaves_no_trace(plane: ControlPlane, running: OperatorProcess) -> None:
    async with nodes(plane, T4, T4) as (_, found):
        pod = users_things(plane, found[0])
        before = [comparable(plane.admin.get(f"/api/v1/nodes/{node}")) for node in found]
        environment = apply(plane, found, publish={"nodeLabel": "Measured", "nodeCondition": "Measured"})
        other = apply(plane, found[:1])
        await until_labelled(plane, environment, found, "Compatible", running)
        await until_labelled(plane, other, found[:1], "Compatible", running)
        figures = running.page("metrics")[1]
        assert (
            f'gpuenv_probe_runs_total{{environment="{environment}",reason="",verdict="Compatible"}} 2.0'
            in figures
        )
        assert (
            f'gpuenv_node_reports{{basis="Measured",environment="{environment}",verdict="Compatible"}} 2.0'
            in figures
        )
        raw = plane.admin.get(f"/api/v1/nodes/{found[0]}")
        condition = names.node_label(environment)
        await wait_until_async(lambda: condition in conditions(plane, found[0]), running.tail)
        assert names.FINALIZER in find(plane, f"{ENVIRONMENTS}/{environment}")["metadata"]["finalizers"]
        assert [comparable(plane.admin.get(f"/api/v1/nodes/{node}")) for node in found] == before
        assert written_by_gpuenv(raw) <= {names.node_label(environment), names.node_label(other)}

        plane.admin.delete(f"{ENVIRONMENTS}/{environment}")
        await wait_until_async(lambda: find(plane, f"{ENVIRONMENTS}/{environment}") is None, running.tail)
        assert [label(plane, node, environment) for node in found] == [None, None]
        assert [report(plane, environment, node) for node in found] == [None, None]
        await wait_until_async(lambda: not probe_pods(plane, environment))
        assert condition not in conditions(plane, found[0])
        assert [comparable(plane.admin.get(f"/api/v1/nodes/{node}")) for node in found] == before
        # Its neighbour stays as it was, and so does what is none of ours.
        assert label(plane, found[0], other) == "Compatible"
        assert report(plane, other, found[0]) is not None
        mine = find(plane, f"/api/v1/namespaces/gpuenv-probes/pods/{pod['metadata']['name']}")
        assert mine["metadata"]["uid"] == pod["metadata"]["uid"]
        remove(plane, f"{ENVIRONMENTS}/{other}")


def conditions(plane: ControlPlane, node: str) -> set[str]:
    return {one["type"] for one in plane.admin.get(f"/api/v1/nodes/{node}")["status"]["conditions"]}


def written_by_gpuenv(raw: dict[str, Any]) -> set[str]:
    """Labels that the operator's field manager owns; anything else of it fails."""
    found = set()
    for entry in raw["metadata"]["managedFields"]:
        if entry["manager"] != "gpuenv-operator" or entry.get("subresource"):
            continue
        fields = entry["fieldsV1"]
        assert set(fields) == {"f:metadata"}, fields
        assert set(fields["f:metadata"]) == {"f:labels"}, fields
        found |= {key.removeprefix("f:") for key in fields["f:metadata"]["f:labels"] if key != "."}
    return found


async def test_a_settled_environment_is_left_alone(plane: ControlPlane, running: OperatorProcess) -> None:
    """Plan after plan finds what the last one wrote: a status that the API server changes would be written
    for ever.
    """

    def plans() -> float:
        lines = running.page("metrics")[1].splitlines()
        return next(
            float(line.split()[1]) for line in lines if line.startswith("gpuenv_plan_duration_seconds_count")
        )

    def versions() -> list[str]:
        objects = [find(plane, f"{ENVIRONMENTS}/{environment}"), report(plane, environment, found[0])]
        return [one["metadata"]["resourceVersion"] for one in objects]

    async with nodes(plane, T4) as (_, found):
        environment = apply(plane, found)
        await until_labelled(plane, environment, found, "Compatible", running)

        def is_ready() -> bool:
            return conditions_of(find(plane, f"{ENVIRONMENTS}/{environment}")).get("Ready") == "True"

        await wait_until_async(lambda: is_ready() and not probe_pods(plane, environment), running.tail)
        before, started_at = versions(), plans()
        for number in range(4):
            seen = plans()
            plane.admin.merge(f"/api/v1/nodes/{found[0]}", {"metadata": {"labels": {"poke": str(number)}}})
            await wait_until_async(lambda: plans() > seen, running.tail)  # noqa: B023 - awaited here
        assert plans() >= started_at + 4
        assert versions() == before
        remove(plane, f"{ENVIRONMENTS}/{environment}")


def conditions_of(raw: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in (raw.get("status") or {}).get("conditions") or []}


async def test_transitions_are_seen_by_describe(plane: ControlPlane, running: OperatorProcess) -> None:
    async with nodes(plane, T4) as (_, found):
        # A first verdict that is Compatible gets no Event.
        environment = apply(plane, found, expect={"driver": ">=999"})
        await until_labelled(plane, environment, found, "Incompatible", running)
        kubectl = Kubectl(plane)
        name = names.report_name(environment, found[0])
        await wait_until_async(
            lambda: "gpuenv-operator" in kubectl("describe", "gnr", name),
            lambda: kubectl("describe", "gnr", name),
        )
        remove(plane, f"{ENVIRONMENTS}/{environment}")


@pytest.mark.parametrize("cause", ["priority class", "quota"])
async def test_a_refused_pod_is_unknown_in_the_servers_words_until_the_cause_is_gone(
    plane: ControlPlane, running: OperatorProcess, cause: str
) -> None:
    if cause == "quota":
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        plane.admin.create(QUOTAS, quota)
        wait_until(lambda: (find(plane, f"{QUOTAS}/none").get("status") or {}).get("hard"))
        words = "exceeded quota: none"
    else:
        priority = plane.admin.get(PRIORITY_CLASS)
        plane.admin.delete(PRIORITY_CLASS)
        words = "no PriorityClass with name gpuenv-probe was found"
    async with nodes(plane, T4) as (_, found):
        environment = apply(plane, found)
        await wait_until_async(
            lambda: (report(plane, environment, found[0]) or {}).get("status"), running.tail
        )
        status = report(plane, environment, found[0])["status"]
        assert (status["verdict"], status["reason"]) == ("Unknown", "ProbeRejected")
        assert words in status["message"]
        assert status["remedies"]
        await wait_until_async(
            lambda: report(plane, environment, found[0])["status"]["lastAttempt"]["count"] >= 2, running.tail
        )
        if cause == "quota":
            plane.admin.delete(f"{QUOTAS}/none")
        else:
            metadata = {"name": "gpuenv-probe"}
            plane.admin.create(PRIORITY_CLASS.rpartition("/")[0], priority | {"metadata": metadata})
        await until_labelled(plane, environment, found, "Compatible", running)
        remove(plane, f"{ENVIRONMENTS}/{environment}")
