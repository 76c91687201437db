"""Watches that are refused, broken or silent: they start again inside the operator, and nothing else stops."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from tests.support.http_proxy import Answer, HttpProxy
from tests.support.operator_process import (
    ENVIRONMENTS,
    PROBES,
    QUICK,
    T4,
    OperatorProcess,
    apply,
    nodes,
    operator,
    remove,
    report,
    started,
    until_labelled,
)
from tests.support.wait import wait_until_async

from gpuenv_sandbox.control_plane.cluster import ControlPlane

STATUS = '{"kind": "Status", "metadata": {}, "reason": "Because", "message": "as told by the test"}'
REFUSALS = {
    "401": (401, STATUS),
    "403": (403, STATUS),
    "404": (404, "404 page not found"),
    "400": (400, STATUS),
    "410": (410, STATUS),
    "503": (503, STATUS),
    "HTML": (200, "<html>Welcome to nginx!</html>"),
    "a list": (200, "[]"),
    "a number": (200, "17"),
    "half an object": (200, '{"type": "ADDED", "obj'),
}
QUIET = (*QUICK, "--sweep-seconds", "3600")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


@contextmanager
def behind_a_proxy(plane: ControlPlane, *flags: str) -> Iterator[tuple[HttpProxy, OperatorProcess]]:
    """Run an operator that reaches the API server through a proxy only."""
    with HttpProxy(plane.server).running() as proxy, operator(plane, *flags, server=proxy.url) as running:
        yield proxy, running


def refused(answer: Answer) -> Callable[[web.BaseRequest], Answer | None]:
    """Return a rule that refuses each new watch."""
    return lambda request: answer if "watch" in request.query else None


def forward(request: web.BaseRequest) -> None:
    """Forward every request: a rule."""


def refusals(proxy: HttpProxy, before: int) -> int:
    """Return for how many kinds a watch was asked for since there were ``before`` requests."""
    return len({path.partition("?")[0] for _, path in proxy.requests[before:] if "watch=true" in path})


def restarts(running: OperatorProcess) -> dict[tuple[str, str], float]:
    """Return how many watches the operator has started again, by kind and reason."""
    found = re.findall(
        r'^gpuenv_watch_restarts_total\{kind="(\w+)",reason="(\w+)"\} ([\d.]+)$',
        running.page("metrics")[1],
        re.M,
    )
    return {(kind, reason): float(count) for kind, reason, count in found}


def streams(running: OperatorProcess) -> int:
    """Return how many of the four watches are open."""
    return len(re.findall(r'^gpuenv_watch_up\{kind="\w+"\} 1\.0$', running.page("metrics")[1], re.M))


async def works(plane: ControlPlane, running: OperatorProcess) -> None:
    """Validate a new node, which needs the watches of all four kinds: there is no sweep that could help."""
    async with nodes(plane, T4) as (_, found):
        environment = apply(plane, found)
        await until_labelled(plane, environment, found, "Compatible", running)
    remove(plane, f"{ENVIRONMENTS}/{environment}")


async def test_a_refused_watch_starts_again_inside_the_process(plane: ControlPlane) -> None:
    with behind_a_proxy(plane, *QUIET) as (proxy, running):
        await wait_until_async(lambda: running.is_ready() and streams(running) == 4, running.tail)
        for what, answer in REFUSALS.items():
            proxy.rule = refused(answer)
            proxy.cut()
            before = len(proxy.requests)
            await wait_until_async(lambda: refusals(proxy, before) >= 4, what)  # noqa: B023 - called at once
            proxy.rule = forward
            await wait_until_async(lambda: streams(running) == 4, running.tail)
            assert running.page("healthz") == (200, "ok\n")
        await works(plane, running)
        assert restarts(running)["nodes", "refused"] >= 3
        proxy.rule = refused(REFUSALS["403"])
        proxy.cut()
        await wait_until_async(
            lambda: "watch of nodes: not open for" in running.page("readyz")[1], running.tail
        )
        assert running.page("healthz") == (200, "ok\n")
        proxy.rule = forward
        await wait_until_async(running.is_ready, running.tail)
        assert_calm(running)


@pytest.mark.parametrize("what", ["401", "HTML", "a list"])
async def test_an_api_server_that_answers_nonsense_to_everything_is_an_outage(
    plane: ControlPlane, what: str
) -> None:
    with behind_a_proxy(plane, *QUIET) as (proxy, running):
        await wait_until_async(lambda: running.is_ready() and streams(running) == 4, running.tail)
        proxy.rule = lambda request: REFUSALS[what]
        proxy.cut()
        await wait_until_async(lambda: "lease" in running.page("readyz")[1], running.tail)
        assert running.page("healthz") == (200, "ok\n")
        assert "gpuenv_lease_held 0.0" in running.page("metrics")[1]
        proxy.rule = forward
        await wait_until_async(lambda: running.is_ready() and streams(running) == 4, running.tail)
        await works(plane, running)
        assert_calm(running)


def denied(request: web.BaseRequest) -> Answer:
    """Answer as an API server does that has just started and does not know the roles yet: a rule."""
    _, _, resource = request.path.rpartition("/")
    verb = "create" if request.method == "POST" else "get"
    words = f'{resource} is forbidden: User "gpuenv" cannot {verb} resource "{resource}" in API group ""'
    return 403, json.dumps({"kind": "Status", "metadata": {}, "reason": "Forbidden", "message": words})


async def test_an_api_server_that_denies_everything_for_a_moment_rejects_no_pod(plane: ControlPlane) -> None:
    with behind_a_proxy(plane, *QUIET) as (proxy, running):
        await wait_until_async(lambda: running.is_ready() and streams(running) == 4, running.tail)
        async with nodes(plane, T4, T4, T4) as (_, found):
            proxy.rule = lambda request: (
                denied(request) if (request.method, request.path) == ("POST", PROBES) else None
            )
            environment = apply(plane, found)

            def refused_pods() -> int:
                posts = [path for method, path in proxy.requests if method == "POST"]
                return sum(path.partition("?")[0] == PROBES for path in posts)

            await wait_until_async(lambda: refused_pods() >= 4, running.tail)
            proxy.rule = denied
            proxy.cut()
            before = len(proxy.requests)
            await wait_until_async(lambda: len(proxy.requests) > before + 10, running.tail)
            proxy.rule = forward
            await until_labelled(plane, environment, found, "Compatible", running)
            for node in found:
                assert "lastAttempt" not in report(plane, environment, node)["status"]
        remove(plane, f"{ENVIRONMENTS}/{environment}")
        assert "the plan waits until the API server is well" in running.log
        assert_calm(running)


async def test_a_stop_while_everything_is_nonsense_is_a_stop(plane: ControlPlane) -> None:
    """The Lease cannot be given back then."""
    with behind_a_proxy(plane, *QUIET) as (proxy, running):
        await wait_until_async(running.is_ready, running.tail)
        proxy.rule = lambda request: REFUSALS["HTML"]
        proxy.cut()
        assert running.stop() == 0
        assert_calm(running)


async def test_a_silent_watch_is_noticed_by_what_the_operator_writes_itself(plane: ControlPlane) -> None:
    """No sweep helps: they are an hour apart. The streams stay open and deliver nothing."""
    with behind_a_proxy(plane, *QUIET) as (proxy, running):
        await wait_until_async(lambda: running.is_ready() and streams(running) == 4, running.tail)
        proxy.is_silent = lambda path: path.endswith("/gpunodereports")
        async with nodes(plane, T4, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", running)
            await wait_until_async(lambda: ("reports", "silent") in restarts(running), running.tail)
            proxy.is_silent = lambda path: False
            await wait_until_async(lambda: streams(running) == 4, running.tail)
        assert set(restarts(running)) == {("reports", "silent")}
        assert_calm(running)


def assert_calm(running: OperatorProcess) -> None:
    """Check that the process has not lost its Lease, and that nothing in it has failed unseen."""
    assert running.log.count("holding lease") == 1
    assert "never retrieved" not in running.log
    assert "Logging error" not in running.log
    assert "Unclosed" not in running.log
