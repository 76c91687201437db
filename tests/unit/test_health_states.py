"""What /healthz, /readyz and the metrics say in each state of the operator, compared with the table for people.

The operator is the one that ships, with a fake API server. Kopf is replaced, so the tests open and close streams.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_kube import FakeKube
from tests.support.wait import PATIENCE, wait_until_async

from gpuenv import knowledge
from gpuenv.api import names
from gpuenv.api.limits.limits import Limits
from gpuenv.controller import run, selfcheck
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KINDS, NODES
from gpuenv.controller.lease import Lease
from gpuenv.controller.monitoring.health import ProcessHealth
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.options import Options
from gpuenv.controller.reconcile import Reconciler
from gpuenv.controller.watch import signs, watch

PAGE = Path(__file__).parents[2] / "docs" / "operator.md"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{names.OPERATOR_NAMESPACE}/leases"
AWAY = "the API server is away, or answers 401, 403 or no JSON to everything, for 15 seconds"
DENIED = 'leases is forbidden: User "x" cannot get resource "leases" in API group "c" in the namespace "n"'


def table() -> dict[str, list[str]]:
    """Return the table of states: for each state the cells of its row, without the state."""
    text = PAGE.read_text(encoding="utf-8")
    rows = text.partition("| state | `/healthz` |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {state: rest for state, *rest in cells}


class QuietKopf:
    """Stands in for Kopf's tasks: it runs, and delivers nothing."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, *_: Any) -> "QuietKopf":
        return cls()

    async def end(self) -> bool:
        return True


class Running:
    """An operator that runs, and what it shows. ``skipped`` is how far the clock of its health is ahead, in seconds."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.kube = FakeKube()
        self.kube.answers["/version"] = {"major": "1", "minor": "36"}
        served = [{"name": one} for one in (names.ENVIRONMENT_PLURAL, names.REPORT_PLURAL)]
        self.kube.answers[f"/apis/{names.API_VERSION}"] = {"resources": served}
        self.kube.answers["/apis"] = {"groups": []}
        self.cache = Cache()
        self.metrics = Metrics(self.cache)
        self.health = ProcessHealth(lambda: asyncio.get_running_loop().time() + self.skipped)
        self.signs: dict[str, signs.Signs] = {}
        self.stop = asyncio.Event()

    def start(self) -> None:
        operator = run.Operator(
            Options(),
            kube=self.kube,  # type: ignore[arg-type]  # a fake
            lease_kube=self.kube,  # type: ignore[arg-type]  # a fake
            cache=self.cache,
            metrics=self.metrics,
            alive=self.health,
            tables=knowledge.load(),
            limits=Limits(),
        )
        build = operator._watch

        def built(kind: Any, *rest: Any) -> Any:
            one = build(kind, *rest)
            self.signs[kind] = one.signs
            return one

        operator._watch = built  # type: ignore[method-assign]  # to reach the signs of each watch
        self.task = asyncio.create_task(operator.run(self.stop))

    async def until_well(self) -> None:
        """Open all streams, and wait until the operator is ready and has made a plan."""
        await wait_until_async(lambda: len(self.signs) == len(KINDS))
        for one in self.signs.values():
            one.opened()
        await wait_until_async(lambda: not self.waiting() and self.metrics.last_plan)

    def waiting(self) -> list[str]:
        """Return what /readyz names, without the words behind it."""
        lines = self.health.problems() + self.health.waiting()
        return sorted({line.partition(":")[0] for line in lines})

    def check(self, state: str) -> None:
        """Compare what is shown with the row of the table."""
        healthz, readyz, _, metrics = table()[state]
        problems = self.health.problems()
        assert healthz[:3] == ("503" if problems else "200"), problems
        assert readyz[:3] == ("503" if self.waiting() else "200"), self.waiting()
        named = set(re.findall(r"`([^`]+)`", readyz.partition(";")[0]))
        if "and so on" in readyz:
            named |= {f"watch of {kind}" for kind in KINDS}
        assert set(self.waiting()) == named
        shown = self.metrics.text().decode()
        for name, value in re.findall(r"`(gpuenv_[^` ]+) (\d+)`", metrics):
            assert f"\n{name} {float(value)}\n" in shown
        for name in re.findall(r"no `(gpuenv_\w+)`", metrics):
            assert f"\n{name} " not in shown


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(watch, "KopfTasks", QuietKopf)
    monkeypatch.setattr(watch, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(signs, "TOLERATED_SECONDS", 0.1)
    monkeypatch.setattr(signs, "ECHO_SECONDS", 0.1)
    monkeypatch.setattr(run, "_take_signals", lambda stop: None)
    monkeypatch.setattr(run, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(run, "Lease", partial(Lease, duration=1.0, renew=0.1, retry=0.05))
    monkeypatch.setattr(selfcheck, "wait", partial(selfcheck.wait, retry=0.01))
    one = Running()
    yield one
    one.kube.down = None
    one.stop.set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({one.task})


async def test_permissions_are_missing(running: Running) -> None:
    running.kube.allowed = lambda asked: asked["resource"] != "pods"
    running.start()
    await wait_until_async(lambda: "missing permission" in str(running.health.waiting()))
    for name in ("lease", "probe files", "lists"):
        running.health.done(name)  # they come after it
    running.check("CRDs or permissions are missing, or Kubernetes is too old")


async def test_another_operator_holds_the_lease(running: Running) -> None:
    spec = {"holderIdentity": "b", "leaseDurationSeconds": 3600}
    running.kube.add(LEASES, {"metadata": {"name": names.OPERATOR}, "spec": spec})
    running.start()
    await wait_until_async(lambda: "permissions" not in running.waiting())
    for name in ("probe files", "lists"):
        running.health.done(name)
    running.check("another operator holds the Lease")


async def test_the_first_lists_are_not_complete(running: Running) -> None:
    running.kube.deny("GET", f"{NODES}$", 503)
    running.start()
    await wait_until_async(lambda: len(running.signs) == len(KINDS))
    running.check("the first lists are not complete")


async def test_all_is_well(running: Running) -> None:
    running.start()
    await running.until_well()
    running.check("all is well")


@pytest.mark.parametrize(
    "answer",
    [
        ApiError(0, "Unreachable", "nobody answers"),
        ApiError(401, "Unauthorized", "no"),
        ApiError(403, "Forbidden", DENIED),
        ApiError(0, "NotJSON", "the answer is not the API server's: '<html>'"),
    ],
)
async def test_the_api_server_is_of_no_use(running: Running, answer: ApiError) -> None:
    running.start()
    await running.until_well()
    running.kube.down = answer
    for one in running.signs.values():
        one.refused(str(answer))
    await wait_until_async(lambda: len(running.waiting()) == 5)
    assert answer.reason in str(running.health.waiting())
    running.check(AWAY)
    running.kube.down = None
    await running.until_well()
    running.check("all is well")


async def test_a_watch_is_refused(running: Running) -> None:
    running.start()
    await running.until_well()
    running.signs["nodes"].refused("the API server answered 404 Not Found")
    await wait_until_async(running.waiting)
    assert "404 Not Found" in str(running.health.waiting())
    running.check("a watch is refused, for 15 seconds")


async def test_a_watch_is_silent(running: Running) -> None:
    running.start()
    await running.until_well()
    running.signs["nodes"].learned(10**9)
    await wait_until_async(running.waiting)
    running.check("a watch is silent")
    restarted = 'gpuenv_watch_restarts_total{kind="nodes",reason="silent"} 1.0'
    await wait_until_async(lambda: restarted in running.metrics.text().decode())


async def test_the_lease_is_lost(running: Running) -> None:
    running.start()
    await running.until_well()
    lease = f"{LEASES}/{names.OPERATOR}"
    running.kube.touch(lease, lambda raw: raw["spec"].update(holderIdentity="b", leaseDurationSeconds=3600))
    async with asyncio.timeout(PATIENCE):
        code = await running.task
    assert table()["another operator has taken the Lease"][0] == f"the process ends with {code}"


async def test_a_loop_is_stuck(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Reconciler) -> None:
        await asyncio.Event().wait()

    running.start()
    await running.until_well()
    monkeypatch.setattr(Reconciler, "once", hang)
    running.cache.changed()
    await wait_until_async(lambda: running.health._beats["plan"])
    running.skipped = 2 * 180
    await wait_until_async(lambda: [one[:5] for one in running.health.problems()] == ["plan:"])
    running.check("a loop is stuck, for three minutes")


async def test_a_plan_fails(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Reconciler) -> None:
        raise ValueError("a fault")

    running.start()
    await running.until_well()
    monkeypatch.setattr(Reconciler, "once", fail)
    running.cache.changed()
    await wait_until_async(running.waiting)
    running.check("a plan fails by a fault of gpuenv")
    assert 'gpuenv_errors_total{where="plan"} 1.0' in running.metrics.text().decode()


async def test_the_clock_is_wrong(running: Running) -> None:
    running.start()
    await running.until_well()
    running.metrics.skew = lambda: 60.0
    running.check("the operator's clock is wrong by more than 30 seconds")


async def test_the_operator_stops(running: Running) -> None:
    running.start()
    await running.until_well()
    running.stop.set()
    async with asyncio.timeout(PATIENCE):
        assert await running.task == 0
    running.metrics.lease_held = lambda: False
    assert "operator" in running.waiting()


def test_the_table_has_each_state_and_no_other() -> None:
    tried = set(re.findall(r'(?:check\(|table\(\)\[)"([^"]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert set(table()) == tried | {AWAY, "the operator stops"}
