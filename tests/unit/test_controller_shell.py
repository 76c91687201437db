"""Logs, health, self-check, Kopf's settings, the probe's ConfigMap: the parts around the planner."""

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import aiohttp
import kopf
import pytest
from tests.support.fake_kube import FakeKube
from tests.support.wait import PATIENCE

from gpuenv.api import names
from gpuenv.controller import probe_files, selfcheck
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KINDS, KindName, Scope
from gpuenv.controller.logs import JsonFormatter, KopfFailures, TextFormatter
from gpuenv.controller.monitoring import bind_address
from gpuenv.controller.monitoring.bind_address import BindAddress
from gpuenv.controller.monitoring.health import ProcessHealth
from gpuenv.controller.monitoring.http_server import Server, serve
from gpuenv.controller.options import Options
from gpuenv.controller.watch import handlers
from gpuenv.controller.watch.settings import kopf_settings

SCOPE = Scope("probes")
CONFIG_MAPS = "/api/v1/namespaces/probes/configmaps"


# ---- logs -----------------------------------------------------------------------------------------------


def record(message: str) -> logging.LogRecord:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return logging.LogRecord("gpuenv.x", logging.ERROR, __file__, 1, message, (), sys.exc_info())


def test_every_entry_is_one_line() -> None:
    text = TextFormatter().format(record("what\nhappened"))
    assert "\n" not in text
    assert "ERROR gpuenv.x: what happened | ValueError: two lines (at " in text
    entry = json.loads(JsonFormatter().format(record("what\nhappened")))
    assert entry["message"] == "what happened"
    assert entry["exception"].startswith("ValueError: two lines")
    assert entry["level"] == "error"


def test_an_attempt_that_is_repeated_is_no_error() -> None:
    def level(name: str, message: str) -> str:
        entry = logging.LogRecord(name, logging.ERROR, __file__, 1, message, (), None)
        assert KopfFailures().filter(entry)
        return entry.levelname

    assert level("kopf._cogs.clients.api", "Request attempt #1 failed; will retry: GET x") == "WARNING"
    assert level("kopf._cogs.clients.api", "Request attempt #9 failed; escalating: GET x") == "ERROR"
    assert level("kopf._cogs.aiokits.aiotasks", "Watcher for nodes has failed: x") == "WARNING"
    assert level("gpuenv.x", "will retry") == "ERROR"
    assert level("gpuenv.x", "sweep has failed: x") == "ERROR"


LOST_AT_EXIT = """
import asyncio
from gpuenv.controller import logs

async def fail():
    raise ValueError("lost")

async def main():
    global task
    asyncio.get_running_loop().set_exception_handler(logs.unhandled)
    task = asyncio.create_task(fail())
    await asyncio.wait([task])

logs.configure("text", "info")
asyncio.run(main())
"""


def test_a_lost_exception_does_not_disturb_the_end_of_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST_AT_EXIT], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stderr == ""


# ---- health -----------------------------------------------------------------------------------------------


def test_a_silent_loop_is_a_problem_and_waiting_is_not() -> None:
    now = 0.0
    health = ProcessHealth(clock=lambda: now)
    health.beat("plan", 10)
    health.beat("start", 10)
    trouble = ""
    health.expect("watch of nodes", lambda: trouble)
    health.wait("lease", "held by b")
    assert health.problems() == []
    assert health.waiting() == ["lease: held by b"]
    health.stopped("start")
    now, trouble = 11.0, "not open for 20 s"
    assert health.problems() == ["plan: no sign of life for 11 s"]
    health.done("lease")
    assert health.waiting() == ["watch of nodes: not open for 20 s"]


async def asked(address: BindAddress, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{address.port}/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_each_address_serves_its_own_pages(unused_tcp_port_factory: Any) -> None:
    own, other = (BindAddress(host, unused_tcp_port_factory()) for host in ("127.0.0.1", ""))
    health = ProcessHealth()
    health.wait("lease", "held by b")
    async with serve(health, lambda: b"gpuenv_x 1\n", {Server.HEALTH: own, Server.METRICS: other}):
        assert await asked(own, "healthz") == (200, "ok\n")
        assert await asked(own, "readyz") == (503, "lease: held by b\n")
        assert await asked(other, "metrics") == (200, "gpuenv_x 1\n")
        assert (await asked(other, "healthz"))[0] == 404
        assert (await asked(own, "metrics"))[0] == 404
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked(own, "healthz")


async def test_both_may_share_an_address_and_none_is_served(unused_tcp_port_factory: Any) -> None:
    shared = BindAddress("127.0.0.1", unused_tcp_port_factory())
    health = ProcessHealth()
    async with serve(health, lambda: b"x 1\n", {Server.HEALTH: shared, Server.METRICS: shared}):
        assert await asked(shared, "healthz") == (200, "ok\n")
        assert await asked(shared, "metrics") == (200, "x 1\n")
    async with serve(health, lambda: b"x 1\n", {Server.HEALTH: None, Server.METRICS: shared}):
        assert (await asked(shared, "healthz"))[0] == 404
        assert await asked(shared, "metrics") == (200, "x 1\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8080", BindAddress("", 8080)),
        ("127.0.0.1:1", BindAddress("127.0.0.1", 1)),
        ("[::1]:65535", BindAddress("::1", 65535)),
        ("localhost:80", BindAddress("localhost", 80)),
        ("0", None),
    ],
)
def test_an_address_is_read_as_kubernetes_writes_it(text: str, address: BindAddress | None) -> None:
    assert bind_address.parse(text) == address
    if address is not None:
        assert str(address) == text


@pytest.mark.parametrize("text", ["", "8080", ":0", ":65536", "::1:80", "a b:80", ":80x", "http://a:80"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address; write :8080"):
        bind_address.parse(text)


# ---- self-check -------------------------------------------------------------------------------------------


def complete() -> FakeKube:
    kube = FakeKube()
    kube.answers["/version"] = {"major": "1", "minor": "36+"}
    served = [names.ENVIRONMENT_PLURAL, f"{names.ENVIRONMENT_PLURAL}/status", names.REPORT_PLURAL]
    kube.answers[f"/apis/{names.API_VERSION}"] = {"resources": [{"name": one} for one in served]}
    kube.answers["/apis"] = {"groups": [{"name": "apps"}]}
    return kube


async def test_nothing_is_missing_where_all_is_there() -> None:
    assert await selfcheck.problems(complete(), Options()) == []


async def test_each_missing_thing_is_one_line_with_its_cure() -> None:
    kube = complete()
    kube.answers["/version"]["minor"] = "31"
    del kube.answers[f"/apis/{names.API_VERSION}"]
    kube.allowed = lambda asked: (
        (asked["verb"], asked["resource"], asked["subresource"])
        != (
            "patch",
            "nodes",
            "status",
        )
    )
    old, first, second, permission = await selfcheck.problems(kube, Options())
    assert old.startswith("Kubernetes 1.31 is too old: gpuenv needs 1.32")
    assert "gpuenvironments.gpuenv.dev is missing" in first
    assert "gpunodereports.gpuenv.dev is missing" in second
    assert permission.startswith("missing permission: patch nodes/status, needed to ")


def test_permissions_follow_the_flags() -> None:
    options = Options(lease_namespace="ops", lease_name="mine", probe_namespace="probes")
    leases = [one for one in selfcheck.permissions(options) if one.resource == "leases"]
    assert {(one.verbs, one.namespace, one.name) for one in leases} == {
        (("create",), "ops", ""),
        (("get",), "ops", "mine"),
        (("patch",), "ops", "mine"),
    }
    assert {one.namespace for one in selfcheck.permissions(options) if one.resource == "pods"} == {"probes"}


async def test_the_operator_waits_for_what_is_missing_and_says_so_once(caplog: Any) -> None:
    kube = complete()
    kube.allowed = lambda asked: asked["resource"] != "pods"
    waiting: list[str] = []

    def give(why: str) -> None:
        waiting.append(why)
        if len(waiting) == 3:
            kube.allowed = lambda asked: True

    async def meanwhile() -> None:
        raise ApiError(404, "NotFound", "no environments there")

    async with asyncio.timeout(PATIENCE):
        await selfcheck.wait(
            kube, Options(), waiting=give, meanwhile=meanwhile, beat=lambda: None, retry=0.01
        )
    lines = [one.message for one in caplog.records if "missing permission: create pods" in one.message]
    assert len(lines) == 1
    assert len(waiting) == 3


# ---- Kopf -------------------------------------------------------------------------------------------------


def test_kopf_never_takes_our_finalizer_for_its_own() -> None:
    assert kopf_settings(SCOPE).persistence.finalizer != names.FINALIZER


@pytest.mark.parametrize("kind", KINDS)
def test_kopf_only_watches(kind: KindName) -> None:
    registry = handlers.build(kind, no_login, lambda type_, raw: None)
    (handler,) = registry._watching.get_all_handlers()
    assert asyncio.iscoroutinefunction(handler.fn)
    for other in (registry._indexing, registry._spawning, registry._changing, registry._webhooks):
        assert not other.get_all_handlers()


async def no_login() -> kopf.AiohttpSession:
    raise AssertionError("nobody logs in")


def test_only_probe_pods_are_watched_and_nodes_as_told() -> None:
    def selectors(scope: Scope, plural: str) -> list[str]:
        resource = kopf.Resource(group="", version="v1", plural=plural)
        return kopf_settings(scope).watching.label_selectors.collect(resource)

    assert selectors(SCOPE, "pods") == ["gpuenv.dev/component=probe"]
    assert selectors(SCOPE, "nodes") == []
    assert selectors(Scope("probes", "a=b"), "nodes") == ["a=b"]


def test_kopf_retries_for_ever() -> None:
    pauses = iter(kopf_settings(SCOPE).networking.error_backoffs)
    assert [next(pauses) for _ in range(1000)][-1] == 5.0


# ---- the probe's ConfigMap
# ----------------------------------------------------------------------------------


async def test_the_config_map_is_made_once_and_repaired() -> None:
    kube, wanted = FakeKube(), probe_files.config_map(b"probe", "probes")
    name = wanted["metadata"]["name"]
    assert name.startswith("gpuenv-probe-")
    assert wanted["immutable"] is True
    await probe_files.ensure(kube, SCOPE, wanted)
    await probe_files.ensure(kube, SCOPE, wanted)
    assert [call[0] for call in kube.writes()] == ["POST"]
    kube.touch(f"{CONFIG_MAPS}/{name}", lambda raw: raw.update(binaryData={"gpuenv-probe.pyz": "else"}))
    await probe_files.ensure(kube, SCOPE, wanted)
    assert kube.objects[f"{CONFIG_MAPS}/{name}"]["binaryData"] == wanted["binaryData"]


async def test_former_probes_go_when_no_pod_uses_them() -> None:
    kube = FakeKube()
    current, used, unused = (probe_files.config_map(one, "probes") for one in (b"new", b"used", b"old"))
    for one in (current, used, unused, {"metadata": {"name": "somebodys"}}):
        kube.add(CONFIG_MAPS, one)
    volume = {"name": "probe", "configMap": {"name": used["metadata"]["name"]}}
    labels = {names.LABEL_COMPONENT: names.COMPONENT_PROBE}
    pod = {"metadata": {"name": "p", "labels": labels}, "spec": {"volumes": [volume]}}
    kube.add("/api/v1/namespaces/probes/pods", pod)
    await probe_files.prune(kube, SCOPE, current["metadata"]["name"])
    left = {path.rpartition("/")[2] for path in kube.objects if path.startswith(CONFIG_MAPS)}
    assert left == {current["metadata"]["name"], used["metadata"]["name"], "somebodys"}
