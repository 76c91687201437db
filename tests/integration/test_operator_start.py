"""From start to stop: what is missing, who may act, how it ends."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster import CRD_INTERVAL_SECONDS, Kubectl
from tests.support.operator_process import (
    ENVIRONMENTS,
    QUICK,
    T4,
    OperatorProcess,
    apply,
    label,
    nodes,
    operator,
    probe_pods,
    started,
    until_labelled,
)
from tests.support.wait import finished, wait_until, wait_until_async

from gpuenv import manifests
from gpuenv_sandbox.control_plane.admin_client import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpuenv-system/leases/gpuenv-operator"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """Without anything of ours."""
    yield from started(install=False)


async def test_from_missing_kinds_to_missing_kinds(bare: ControlPlane) -> None:
    """It waits for what is missing, works when all is there, and lets go when the kinds are taken away."""
    kubectl = Kubectl(bare)
    account = [one for one in manifests.load() if one["kind"] in {"Namespace", "ServiceAccount"}]
    kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(account))
    with operator(bare) as running:
        wait_until(lambda: "waiting until" in running.log, running.tail)
        assert running.page("healthz") == (200, "ok\n")
        assert running.page("readyz")[0] == 503
        assert "gpuenvironments.gpuenv.dev is missing: apply crds/" in running.log
        assert "missing permission: get, list, watch nodes, needed to" in running.log
        kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(manifests.crds()))
        kubectl(
            "create",
            "-f",
            "-",
            stdin=yaml.safe_dump_all([one for one in manifests.load() if one not in account]),
        )
        wait_until(running.is_ready, running.tail)
        assert running.log.count("gpunodereports.gpuenv.dev is missing") == 1
        assert "gpuenv_last_sweep_timestamp_seconds" in running.page("metrics")[1]
        names = kubectl.get("configmaps", "-n", "gpuenv-probes")["items"]
        assert [one["immutable"] for one in names if one["metadata"]["name"].startswith("gpuenv-probe-")]
        assert running.stop() == 0
    for line in running.log.splitlines():
        assert line.startswith("20"), f"more than one line an entry: {line!r}"

    async with nodes(bare, T4) as (_, found):
        last = OperatorProcess(bare)
        environment = apply(bare, found)
        await until_labelled(bare, environment, found, "Compatible", last)
        await asyncio.to_thread(kubectl.delete_crds, "gpunodereports.gpuenv.dev")
        await wait_until_async(lambda: "watch of reports" in last.page("readyz")[1], last.tail)
        assert last.page("healthz") == (200, "ok\n")  # the kind may come back
        assert last.stop() == 0
        kubectl("delete", "crd", "--wait=false", "gpuenvironments.gpuenv.dev")
        with operator(bare) as restarted:
            await wait_until_async(
                lambda: kubectl.crds_are_gone("gpuenvironments.gpuenv.dev"),
                lambda: [kubectl("get", "crd"), restarted.tail()],
                interval=CRD_INTERVAL_SECONDS,
            )
            assert label(bare, found[0], environment) is None
            assert restarted.page("healthz") == (200, "ok\n")


def environments_are_served(cluster: ControlPlane) -> bool:
    """Return whether the API server serves environments, which takes a moment after their kind was created."""
    try:
        cluster.admin.get(ENVIRONMENTS)
    except ApiError:
        return False
    return True


async def test_the_kinds_may_be_taken_away_and_put_back_while_an_operator_runs(bare: ControlPlane) -> None:
    kubectl = Kubectl(bare)
    crds = yaml.safe_dump_all(manifests.crds())
    kubectl("create", "-f", "-", stdin=crds)
    kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(manifests.load()))
    with operator(bare) as running:
        async with nodes(bare, T4) as (_, found):
            environment = apply(bare, found)
            await until_labelled(bare, environment, found, "Compatible", running)
            for kind in ("gpunodereports.gpuenv.dev", "gpuenvironments.gpuenv.dev"):
                kubectl("delete", "crd", "--wait=false", kind)
                await wait_until_async(
                    lambda: kubectl.crds_are_gone(kind),  # noqa: B023 - awaited here
                    running.tail,
                    interval=CRD_INTERVAL_SECONDS,
                )
            assert label(bare, found[0], environment) is None
            kubectl("create", "-f", "-", stdin=crds)
            await wait_until_async(lambda: environments_are_served(bare), running.tail)
            again = apply(bare, found)
            await until_labelled(bare, again, found, "Compatible", running)
            assert running.exit_code is None


async def test_of_two_operators_one_acts_and_the_other_takes_over(plane: ControlPlane) -> None:
    first = OperatorProcess(plane)
    await wait_until_async(first.is_ready, first.tail)
    with operator(plane) as second:
        await wait_until_async(lambda: "is held by" in second.log, second.tail)
        async with nodes(plane, T4, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", first)
            assert second.page("readyz")[0] == 503
            assert second.page("healthz")[0] == 200
            assert "knows" not in second.log
        # Killed without a word: the lease has to run out.
        first.signal(signal.SIGKILL)
        await wait_until_async(second.is_ready, second.tail)
        async with nodes(plane, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", second)
        # Told to stop: the next one need not wait.
        with operator(plane) as third:
            await wait_until_async(lambda: "is held by" in third.log, third.tail)
            holder = plane.admin.get(LEASE)["spec"]["holderIdentity"]
            assert second.stop() == 0
            assert plane.admin.get(LEASE)["spec"].get("holderIdentity") != holder
            await wait_until_async(third.is_ready, third.tail)


async def test_an_operator_that_lost_its_lease_ends(plane: ControlPlane) -> None:
    running = OperatorProcess(plane, *QUICK, "--log-format", "json")
    await wait_until_async(running.is_ready, running.tail)
    plane.admin.merge(LEASE, {"spec": {"holderIdentity": "somebody-else"}})
    await wait_until_async(lambda: running.exit_code is not None, running.tail)
    assert running.exit_code == 1
    assert "is held by somebody-else; this operator ends" in running.log
    plane.admin.merge(LEASE, {"spec": {"holderIdentity": None}})
    entries = [json.loads(line) for line in running.log.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(entries[-1])


async def test_a_restart_repeats_nothing(plane: ControlPlane) -> None:
    async with nodes(plane, T4) as (_, found):
        with operator(plane) as running:
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", running)
            await wait_until_async(lambda: not probe_pods(plane, environment))
        before = written_by_operator(plane, found[0])
        with operator(plane) as running:
            await wait_until_async(running.is_ready, running.tail)
            await wait_until_async(lambda: "gpuenv_plan_duration_seconds_count" in running.page("metrics")[1])
            assert "gpuenv_probe_runs_total{" not in running.page("metrics")[1]
            assert probe_pods(plane, environment) == []
        assert before == written_by_operator(plane, found[0]) != []


def written_by_operator(plane: ControlPlane, node: str) -> list[dict[str, Any]]:
    """Return what the operator wrote on a node, and when. Others write on it too, some of them late."""
    metadata = plane.admin.get(f"/api/v1/nodes/{node}")["metadata"]
    return [entry for entry in metadata["managedFields"] if entry["manager"] == "gpuenv-operator"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--kubeconfig", "/nonexistent"], "no kubeconfig at /nonexistent"),
        (["--max-probes", "0"], "--max-probes"),
        (["--log-format", "xml"], "--log-format"),
        (["--limits", "/nonexistent"], "File '/nonexistent' does not exist"),
        (["--limits", __file__], "test_operator_start.py: is no YAML"),
        (["--metrics-bind-address", "8080"], "is no address; write :8080"),
        (["--health-probe-bind-address", ":0"], "is no address; write :8080"),
    ],
)
def test_unusable_flags_are_one_line_and_exit_code_2(flags: list[str], words: str) -> None:
    done = finished([sys.executable, "-m", "gpuenv", "operator", *flags])
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line(plane: ControlPlane, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        flags = [
            "--health-probe-bind-address",
            f":{port}",
            "--metrics-bind-address",
            "0",
            "--kubeconfig",
            str(plane.admin_kubeconfig),
        ]
        done = finished([sys.executable, "-m", "gpuenv", "operator", *flags])
    assert done.returncode == 2
    assert "cannot start" in done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
