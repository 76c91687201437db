"""Losing sight of the cluster: an API server that goes away, a watch that misses a deletion."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from tests.support.operator_process import (
    ENVIRONMENTS,
    PROBES,
    QUICK,
    T4,
    apply,
    find,
    label,
    nodes,
    operator,
    probe_pods,
    remove,
    report,
    restart_api_server,
    started,
    until_labelled,
)
from tests.support.proxy import Proxy
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api import names
from gpuenv_sandbox.control_plane.cluster import ControlPlane


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


async def test_an_outage_removes_no_label_and_ends_no_operator(plane: ControlPlane) -> None:
    with operator(plane) as running:
        async with nodes(plane, T4, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", running)
            uids = [report(plane, environment, node)["metadata"]["uid"] for node in found]

            def down() -> None:
                wait_until(lambda: "nothing is written until it is renewed" in running.log, running.tail)

            await asyncio.to_thread(restart_api_server, plane, down=down)
            assert [label(plane, node, environment) for node in found] == ["Compatible"] * 2
            async with nodes(plane, T4) as (_, more):
                another = apply(plane, more)
                await until_labelled(plane, another, more, "Compatible", running)
            assert running.exit_code is None
            assert [label(plane, node, environment) for node in found] == ["Compatible"] * 2
            assert [report(plane, environment, node)["metadata"]["uid"] for node in found] == uids
            assert running.page("healthz") == (200, "ok\n")


async def test_deletions_that_the_watch_missed_are_found(plane: ControlPlane) -> None:
    """Cut off, the operator misses deletions; a restarted API server no longer knows its place (410 Gone)."""
    address = urlsplit(plane.server)
    with Proxy(address.hostname or "", address.port or 0).running() as proxy:
        server = f"https://127.0.0.1:{proxy.port}"
        with operator(plane, *QUICK, "--sweep-seconds", "3600", server=server) as running:
            async with nodes(plane, T4, T4, T4 | {"fault": "probeHangs"}) as (_, found):
                environment = apply(plane, found, strategy={"maxConcurrent": 3})
                kept, lost, probing = found
                await until_labelled(plane, environment, [kept, lost], "Compatible", running)
                await wait_until_async(lambda: probe_pods(plane, environment), running.tail)
                (pod,) = [
                    one["metadata"]["name"]
                    for one in probe_pods(plane, environment)
                    if one["metadata"]["annotations"][names.ANNOTATION_NODE] == probing
                ]
                proxy.cut()
                remove(plane, f"/api/v1/nodes/{lost}")
                plane.admin.delete(f"{PROBES}/{pod}", {"gracePeriodSeconds": 0})
                await asyncio.to_thread(restart_api_server, plane)
                proxy.mend()

                def tried() -> str | None:
                    status = (report(plane, environment, probing) or {}).get("status") or {}
                    return (status.get("lastAttempt") or {}).get("reason")

                await wait_until_async(lambda: tried() == "ProbePodDeleted", running.tail)

                def selected() -> int:
                    status = find(plane, f"{ENVIRONMENTS}/{environment}")["status"]
                    return int(status["summary"]["selected"])

                await wait_until_async(lambda: selected() == 2, running.tail)
                assert "the watch of nodes had missed 0 changes and 1 deletions" in running.log
                assert label(plane, kept, environment) == "Compatible"
