"""Two operators, of which the first loses the Lease without noticing it: the audit log shows who wrote what."""

import base64
import json
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.support.operator_process import (
    T4,
    OperatorProcess,
    apply,
    nodes,
    operator,
    probe_pods,
    restart_api_server,
    started,
    until_labelled,
)
from tests.support.proxy import Proxy
from tests.support.wait import wait_until_async

from gpuenv_sandbox.control_plane.cluster import ControlPlane

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpuenv-system/leases/gpuenv-operator"
SLOW = ("--retry-seconds", "1", "--writes-per-second", "1")
"""Actions of an operator with these flags wait for the rate limit most of the time."""
READS = {"get", "list", "watch"}
CREDENTIAL = "authentication.kubernetes.io/credential-id"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """Yield a control plane that writes an audit log."""
    for cluster in started():
        policy = cluster.directory / "audit-policy.yaml"
        rules = [
            {"level": "Metadata", "userGroups": ["system:serviceaccounts:gpuenv-system"]},
            {"level": "None"},
        ]
        policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
        restart_api_server(
            cluster, flags=[f"--audit-policy-file={policy}", f"--audit-log-path={audit_log(cluster)}"]
        )
        yield cluster


def audit_log(plane: ControlPlane) -> Path:
    """Return the path of the API server's audit log."""
    return plane.directory / "audit.log"


def credential(one: OperatorProcess) -> str:
    """Return the id that the audit log gives to the token of an operator."""
    token = yaml.safe_load(one.kubeconfig.read_text())["users"][0]["user"]["token"]
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"


def writes(plane: ControlPlane, one: OperatorProcess) -> list[dict[str, Any]]:
    """Return the audit events of everything that an operator has changed, in the order of their arrival.

    Access reviews change nothing. Requests that the API server refused have changed nothing either.
    """
    found = []
    for line in audit_log(plane).read_text().splitlines():
        event = json.loads(line)
        mine = credential(one) in (event["user"].get("extra") or {}).get(CREDENTIAL, [])
        done = (event.get("responseStatus") or {}).get("code", 0) < 400
        if mine and done and event["verb"] not in READS and "accessreviews" not in event["requestURI"]:
            found.append(event)
    return sorted(found, key=lambda event: str(event["requestReceivedTimestamp"]))


def stop(first: OperatorProcess, proxy: Proxy) -> Callable[[], None]:
    """Stop the process, and return what lets it go on."""
    first.signal(signal.SIGSTOP)
    return lambda: first.signal(signal.SIGCONT)


def cut_off(first: OperatorProcess, proxy: Proxy) -> Callable[[], None]:
    """Cut the process off from the API server, and return what lets it go on."""
    proxy.cut()
    return proxy.mend


@pytest.mark.parametrize("lose", [stop, cut_off])
async def test_an_operator_that_has_lost_the_lease_writes_nothing_any_more(
    plane: ControlPlane, lose: Callable[[OperatorProcess, Proxy], Callable[[], None]]
) -> None:
    address = urlsplit(plane.server)
    with Proxy(address.hostname or "", address.port or 0).running() as proxy:
        first = OperatorProcess(plane, *SLOW, server=f"https://127.0.0.1:{proxy.port}")
        await wait_until_async(first.is_ready, first.tail)
        async with nodes(plane, *[T4] * 12) as (_, found):
            environment = apply(plane, found, strategy={"maxConcurrent": 12})
            await wait_until_async(lambda: probe_pods(plane, environment), first.tail)
            go_on = lose(first, proxy)
            with operator(plane) as second:
                await until_labelled(plane, environment, found, "Compatible", second)
                taken = plane.admin.get(LEASE)["spec"]["acquireTime"]
                go_on()
                await wait_until_async(lambda: first.exit_code is not None, first.tail)
                assert first.exit_code == 1
                assert "this operator ends" in first.log
                mine = writes(plane, first)
                assert any("/pods" in event["requestURI"] for event in mine), "it did write before"
                late = [
                    (event["verb"], event["requestURI"], event["requestReceivedTimestamp"])
                    for event in mine
                    if datetime.fromisoformat(event["stageTimestamp"]) > datetime.fromisoformat(taken)
                ]
                assert late == []
                assert writes(plane, second)
