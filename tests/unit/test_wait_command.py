"""``gpuenv wait``: which answers it waits for, also those that somebody has asked for on one node."""

import asyncio
from typing import Any

import pytest
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.wait import wait_until_async

from gpuenv.api import names
from gpuenv.cli import wait
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS

Raw = dict[str, Any]


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    """Environment ``e`` is ready, with reports on nodes a and b."""
    monkeypatch.setattr(wait, "POLL_SECONDS", 0.01)
    kube = FakeKube()
    ready = {"type": "Ready", "status": "True", "observedGeneration": 1}
    kube.add(ENVIRONMENTS, builders.environment("e") | {"status": {"conditions": [ready]}})
    for node in "ab":
        kube.add(REPORTS, builders.report("e", node, reason="", verdict="Compatible"))
    kube.add(REPORTS, builders.report("f", "a"))
    ask(kube, f"{REPORTS}/f.a", "other")
    return kube


def ask(kube: FakeKube, path: str, token: str) -> None:
    kube.touch(
        path,
        lambda one: (
            one["metadata"].setdefault("annotations", {}).update({names.ANNOTATION_REVALIDATE: token})
        ),
    )


def answer(kube: FakeKube, path: str, observed: str, **status: str) -> None:
    kube.touch(path, lambda one: one["status"].update(observedRevalidate=observed, **status))


async def missing(kube: FakeKube, seconds: float = 0.05) -> str:
    _, found = await wait._wait(kube, "e", seconds)  # type: ignore[arg-type]  # a stand-in
    return found


async def test_what_nobody_asked_for_is_not_waited_for(kube: FakeKube) -> None:
    assert await missing(kube) == ""
    answer(kube, f"{REPORTS}/e.b", "earlier")  # the token was taken away since
    assert await missing(kube) == ""


async def test_a_run_asked_for_on_one_node_is_waited_for(kube: FakeKube) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    assert await missing(kube) == "a new run on b was asked for and is not answered yet"
    answer(kube, f"{REPORTS}/e.b", "before")
    assert "on b was asked" in await missing(kube)
    waiting = asyncio.create_task(missing(kube, 20))
    await wait_until_async(lambda: ("GET", f"{REPORTS}/e.b") in kube.calls)
    answer(kube, f"{REPORTS}/e.b", "now")
    assert await waiting == ""


async def test_a_report_that_goes_is_not_waited_for(kube: FakeKube) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    waiting = asyncio.create_task(missing(kube, 20))
    await wait_until_async(lambda: ("GET", f"{REPORTS}/e.b") in kube.calls)
    kube.objects.pop(f"{REPORTS}/e.b")
    assert await waiting == ""


@pytest.mark.parametrize("reason", ["HeldOff", "GpuNotAdvertised", "ProbeStuck"])
async def test_where_nothing_may_run_nothing_is_waited_for(kube: FakeKube, reason: str) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    answer(kube, f"{REPORTS}/e.b", "", reason=reason)
    assert await missing(kube) == ""


async def test_nothing_is_waited_for_while_the_environment_is_suspended(kube: FakeKube) -> None:
    ask(kube, f"{REPORTS}/e.b", "now")
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["spec"].update(suspend=True))
    kube.touch(f"{ENVIRONMENTS}/e", lambda one: one["status"]["conditions"][0].update(observedGeneration=2))
    assert await missing(kube) == ""


async def test_a_token_longer_than_the_status_keeps_is_answered(kube: FakeKube) -> None:
    ask(kube, f"{ENVIRONMENTS}/e", "x" * 5000)
    assert await missing(kube) == "a new run on all nodes was asked for and is not answered yet"
    answer(kube, f"{ENVIRONMENTS}/e", "x" * 4096)
    assert await missing(kube) == ""
