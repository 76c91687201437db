"""A cluster with an operator in it, in memory: a fake API server, and the cache, planner and executor that ship.

Tests play everybody else: they create and change objects, end pods, let time pass, and look at what the operator wrote.
"""

import asyncio
import atexit
import contextlib
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support import builders
from tests.support.fake_kube import FakeKube, is_selected

from gpuenv.api import names
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import EVENTS, KINDS, KindName, Scope
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.executor import Executed, Executor
from gpuenv.controller.write.writes import Writes
from gpuenv.knowledge import load
from gpuenv.plan.actions import (
    Action,
    AddFinalizer,
    Cleanup,
    DeletePod,
    EnvironmentAction,
    OrphanedEnvironment,
    Plan,
    PostEvent,
    ValidationAction,
    WriteStatus,
)
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.clock_skew import noted_skew
from gpuenv.plan.memo import Memo
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.planner import plan
from gpuenv.plan.run.manifest import GRACE_SECONDS
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import PodRecord, ReportRecord, Snapshot, ValidationKey

Raw = dict[str, Any]
T = TypeVar("T")
KNOWLEDGE = load()
PAUSE_SECONDS = 2.0
"""How far the executor's clock moves on between two steps: then the status of each environment may be written again."""
LONGEST_PAUSE_SECONDS = 30.0
"""After this time the operator plans again although nothing has changed."""

_loop = asyncio.new_event_loop()
atexit.register(_loop.close)


class World:
    """A cluster and its operator.

    ``now`` is the time, which only tests move, and only forwards. Tests may set by how much the clocks of the operator,
    the API server and the nodes differ from it: ``clock_error``, ``server_error`` and ``node_error``. The executor's
    clock, which must be monotonic, also moves on between two steps. With ``watch`` False the cache knows only what the
    operator itself reads and writes, and what tests ``put``. Other keywords are settings of the operator.
    """

    def __init__(self, *, memo: bool = True, watch: bool = True, **settings: Any) -> None:
        self.now = builders.NOW
        self.clock_error = self.server_error = self.node_error = 0.0
        self.settings = Settings(config_map="gpuenv-probe-0123456789", **settings)
        self.scope = Scope(self.settings.probe_namespace)
        self.knowledge = KNOWLEDGE
        self.assessed_per_plan: int | None = None
        """How many results one plan may assess; None means all."""
        self.kube = FakeKube(lambda: self.server_time)
        if watch:
            self.kube.watchers.append(self._observe)
        self._kinds: dict[str, KindName] = {self.scope.path(kind): kind for kind in KINDS}
        self._has_memo = memo
        self._paused = 0.0
        self.restart()

    def restart(self) -> None:
        """Start the operator anew: it knows nothing but what the API server has stored."""
        self.cache = Cache(clock=lambda: self.now, server_time=lambda: self.server_time)
        self.memo = Memo() if self._has_memo else None
        self.metrics = Metrics(self.cache, lambda: self.wall)
        self.poster = EventPoster(
            self.kube,  # type: ignore[arg-type]  # a fake
            "test",
            clock=lambda: self.wall,
            monotonic=lambda: self.now,
        )
        self.metrics.skew = lambda: self.wall - self.server_time
        self.writes = Writes(self.kube, self.cache, self.scope, clock=lambda: self.wall)  # type: ignore[arg-type]  # a fake
        self.executor = Executor(
            self.writes, self.poster, self.metrics, clock=lambda: self.now + self._paused
        )
        for kind in KINDS:
            for raw in self.objects(kind).values():
                self.cache.put(kind, raw)
        self.cache.synced = True

    # ---- what people, nodes and kubelets do ------------------------------------------------------------------

    def put(self, kind: KindName, raw: Raw) -> Raw:
        """Store an object as it is, tell the cache, and return a copy."""
        stored = self.kube.add(self.scope.path(kind), raw)
        self.cache.put(kind, stored)
        return stored

    def change(self, kind: KindName, name: str, change: Callable[[Raw], object]) -> Raw:
        """Let ``change`` alter a stored object, and return a copy."""
        return self.kube.touch(self.scope.item(kind, name), change)

    def annotate(self, kind: KindName, name: str, key: str, value: str) -> None:
        """Set one annotation."""
        self.change(
            kind, name, lambda raw: raw["metadata"].setdefault("annotations", {}).update({key: value})
        )

    def delete(self, kind: KindName, name: str) -> None:
        """Delete an object as a person does: it stays while it has finalizers, and a pod while it runs."""
        self.kube.terminate(self.scope.item(kind, name))

    def gone(self, kind: KindName, name: str) -> None:
        """Make an object disappear, whatever still holds it."""
        self.kube.remove(self.scope.item(kind, name))

    def environment(self, name: str = "pt", **spec: Any) -> Raw:
        """Apply an environment: create it with our finalizer, or replace the specification of the existing one."""
        raw = builders.environment(name, **{"strategy": {"maxConcurrent": 1000}, **spec})
        before = self.objects("environments").get(name)
        raw["metadata"] = (
            {"name": name, "finalizers": [names.FINALIZER]} if before is None else before["metadata"]
        )
        return self.put("environments", {**(before or {}), **raw})

    def node(self, name: str = "n1", **changes: Any) -> Raw:
        """Create or replace a node. Unless it is another machine, it keeps our labels and conditions."""
        raw = builders.node(name, **changes)
        before = self.objects("nodes").get(name)
        if before is not None and before["metadata"]["uid"] == raw["metadata"]["uid"]:
            labels, conditions = before["metadata"]["labels"], before["status"]["conditions"]
            raw["metadata"]["labels"] |= {key: labels[key] for key in labels if _is_ours(key)}
            raw["status"]["conditions"] += [one for one in conditions if _is_ours(one["type"])]
        return self.put("nodes", raw)

    def pod(
        self, phase: str, *, environment: str = "pt", node: str = "n1", name: str = "", **changes: Any
    ) -> Raw:
        """Give the newest probe pod of a validation, or the pod of that name, another status."""
        before = self.get("pods", name) if name else self.pod_of(environment, node)
        return self.put("pods", builders.pod_status(before, phase, **changes))

    def delete_pod(self, name: str, *, vanish: bool) -> None:
        """Mark a pod as deleted, and let it disappear at once or linger."""
        self.change(
            "pods",
            name,
            lambda raw: raw["metadata"].update(
                {
                    "deletionTimestamp": show_time(self.now + GRACE_SECONDS),
                    "deletionGracePeriodSeconds": GRACE_SECONDS,
                }
                | raw["metadata"]
            ),
        )
        if vanish:
            self.gone("pods", name)

    def finish(
        self,
        *,
        environment: str = "pt",
        node: str = "n1",
        name: str = "",
        facts: Raw | str | None = None,
        kernels: Raw | str | None = None,
    ) -> Raw:
        """End a pod with these probe reports, by default with those of a healthy node."""
        before = self.get("pods", name) if name else self.pod_of(environment, node)
        run = before["metadata"]["annotations"][names.ANNOTATION_RUN]
        facts = builders.facts_report(run) if facts is None else facts
        kernels = builders.kernels_report(run) if kernels is None else kernels
        return self.pod(
            "Succeeded",
            name=before["metadata"]["name"],
            scheduled=self.server_time - 30,
            sandbox=self.node_time - 28,
            facts=builders.terminated(facts, at=self.node_time - 10),
            kernels=builders.terminated(kernels, at=self.node_time),
        )

    def finish_all(self) -> None:
        """End every pod well, and let the operator take that up."""
        for pod in self.live_pods():
            self.finish(environment=pod.environment, node=pod.node)
        self.settle()

    def busy(self) -> None:
        """Let the pod of pt on n1 wait for a GPU until its time is up."""
        self.pod("Pending", unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        self.now += 121
        self.settle()

    def crash(self) -> None:
        """Let the pod of pt on n1 crash in its second stage."""
        run = self.run_id()
        self.pod(
            "Failed",
            scheduled=self.now,
            sandbox=self.now,
            facts=builders.terminated(builders.facts_report(run), at=self.now),
            kernels=builders.terminated(
                builders.kernels_report(run, complete=False, ended="during conv"), code=139
            ),
        )
        self.settle()

    def slow_down(self, seconds: float) -> None:
        """Let each write to a node take so long."""

        def wait(method: str, path: str, body: Any) -> None:
            if method == "PATCH" and self._kinds.get(path.rpartition("/")[0]) == "nodes":
                self.now += seconds

        self.kube.hooks.append(wait)

    # ---- what the operator does ------------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """What the operator's clock shows."""
        return self.now + self.clock_error

    @property
    def server_time(self) -> float:
        """What the API server's clock shows."""
        return self.now + self.server_error

    @property
    def node_time(self) -> float:
        """What the clocks of all nodes show."""
        return self.now + self.node_error

    def plan(self) -> Plan:
        """Return the plan for the world as it is, and carry nothing out."""
        return self._planned(self.cache.snapshot(self.settings))

    def _planned(self, seen: Snapshot) -> Plan:
        left = itertools.count(1)
        most = self.assessed_per_plan
        allowance = Allowance(lambda: most is None or next(left) <= most)
        planned = plan(seen, self.wall, self.knowledge, self.memo, allowance)
        assert not planned.faults, planned.faults
        return planned

    def step(self, seconds: float = 0.0) -> Plan:
        """Let time pass, make one plan, carry it out, and return it."""
        self.now += seconds
        self._paused += PAUSE_SECONDS
        planned, _ = self._plan_and_run()
        return planned

    def settle(self, limit: int = 20) -> list[Plan]:
        """Step until there is nothing to do, and return the plans. Raises AssertionError after ``limit`` plans."""
        plans = []
        for _ in range(limit):
            plans.append(self.step())
            if not plans[-1].actions and not plans[-1].put_off:
                return plans
        raise AssertionError(f"still busy after {limit} plans: {plans[-1].actions}")

    def turn(self) -> Plan:
        """Make one plan and carry it out. Then let time pass until the operator's loop would plan again."""
        planned, executed = self._plan_and_run()
        due = [] if planned.wake_at is None else [planned.wake_at]
        if executed.retry_at is not None:
            due.append(executed.retry_at - self._paused)
        self.now = max(self.now + 1, min([self.now + LONGEST_PAUSE_SECONDS, *due]))
        return planned

    def run_for(self, seconds: float) -> None:
        """Let the operator work for so long."""
        end = self.now + seconds
        while self.now < end:
            self.turn()

    async def run(self, *actions: Action) -> Executed:
        """Carry out these actions, and return what became of them."""
        return await self._carry_out(self.plan_of(*actions))

    def plan_of(self, *actions: Action) -> Plan:
        """Return a plan of these actions, in their order within each validation."""
        environments: dict[str, EnvironmentAction] = {}
        validations: dict[ValidationKey, tuple[ValidationAction, ...]] = {}
        events: list[PostEvent] = []
        for action in actions:
            match action:
                case PostEvent():
                    events.append(action)
                case AddFinalizer() | Cleanup() | OrphanedEnvironment() | WriteStatus():
                    environments[action.environment] = action
                case _:
                    about = self.cache.pods[action.name] if isinstance(action, DeletePod) else action
                    key = (about.environment, about.node)
                    validations[key] = (*validations.get(key, ()), action)
        return Plan(environments, validations, tuple(events))

    def drive(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and return its result. All worlds share one event loop."""
        return _loop.run_until_complete(coroutine)

    def _plan_and_run(self) -> tuple[Plan, Executed]:
        self.cache.clock_skew = noted_skew(self.cache.clock_skew, self.metrics.skew())
        seen = self.cache.snapshot(self.settings)
        planned = self._planned(seen)
        refusals = self.kube.refusals
        executed = self.drive(self._carry_out(planned))
        assert executed.failed <= self.kube.refusals - refusals, "an action failed that nobody has refused"
        self.cache.carried_out(seen, planned)
        return planned, executed

    async def _carry_out(self, planned: Plan) -> Executed:
        """Carry out a plan and post its Events."""
        executed = await self.executor.run(planned)
        posting = asyncio.create_task(self.poster.run())
        await asyncio.sleep(0)  # The fake API server answers at once, so that all Events are posted now.
        posting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await posting
        return executed

    def _observe(self, type_: str, collection: str, raw: Raw) -> None:
        """Bring an event of the watch to the cache."""
        kind = self._kinds.get(collection)
        if kind is not None and is_selected(raw, {"labelSelector": self.scope.selector(kind)}):
            self.cache.observe(kind, type_, raw)

    # ---- what tests look at ----------------------------------------------------------------------------------

    def objects(self, kind: KindName) -> dict[str, Raw]:
        """Return the stored objects of a kind by name, in the order of their creation. They must not be altered."""
        start = f"{self.scope.path(kind)}/"
        return {
            path.removeprefix(start): raw for path, raw in self.kube.objects.items() if path.startswith(start)
        }

    def get(self, kind: KindName, name: str) -> Raw:
        """Return a copy of a stored object."""
        copied: Raw = json.loads(json.dumps(self.kube.objects[self.scope.item(kind, name)]))
        return copied

    def pod_of(self, environment: str = "pt", node: str = "n1") -> Raw:
        """Return the newest probe pod of a validation. Raises LookupError when there is none."""
        found = self.pods_of(environment, node)
        if not found:
            raise LookupError(
                f"no probe pod of {environment} on {node}; there are {sorted(self.objects('pods'))}"
            )
        return found[-1]

    def pods_of(self, environment: str = "pt", node: str = "n1") -> list[Raw]:
        """Return all probe pods of a validation, oldest first."""
        return [
            self.get("pods", name)
            for name, raw in self.objects("pods").items()
            if raw["metadata"]["labels"][names.LABEL_ENVIRONMENT] == environment
            and raw["metadata"]["annotations"][names.ANNOTATION_NODE] == node
        ]

    def live_pods(self) -> list[PodRecord]:
        """Return the probe pods that hold a device."""
        pods = self.cache.pods.values()
        return [pod for pod in pods if not pod.vanished and pod.phase not in ("Succeeded", "Failed")]

    def run_id(self, environment: str = "pt", node: str = "n1") -> str:
        """Return the run id of the newest pod of a validation."""
        return str(self.pod_of(environment, node)["metadata"]["annotations"][names.ANNOTATION_RUN])

    def report(self, environment: str = "pt", node: str = "n1") -> ReportRecord | None:
        """Return the node report of a validation as the operator knows it."""
        return self.cache.reports.get((environment, node))

    def verdict(self, environment: str = "pt", node: str = "n1") -> tuple[str, str] | None:
        """Return verdict and reason as the node report displays them; None when there is no report."""
        record = self.report(environment, node)
        return None if record is None else (record.verdict.value, record.reason)

    def label(self, environment: str = "pt", node: str = "n1") -> str | None:
        """Return the node's label for an environment."""
        value = self.objects("nodes")[node]["metadata"]["labels"].get(names.node_label(environment))
        return None if value is None else str(value)

    def status(self, environment: str = "pt") -> Raw:
        """Return the environment's status."""
        return dict(self.get("environments", environment).get("status", {}))

    def condition(self, kind: str, environment: str = "pt") -> tuple[str, str]:
        """Return status and reason of one of the environment's conditions."""
        found = next(item for item in self.status(environment)["conditions"] if item["type"] == kind)
        return found["status"], found["reason"]

    @property
    def events(self) -> list[PostEvent]:
        """The Events that exist, once for each time that they were posted."""
        found = []
        for path, raw in self.kube.objects.items():
            if path.startswith(f"{EVENTS}/"):
                about = raw["involvedObject"]
                told = PostEvent(
                    about["kind"], about["name"], about["uid"], raw["type"], raw["reason"], raw["message"]
                )
                found += [told] * raw["count"]
        return found

    def forget_events(self) -> None:
        """Remove all Events, as the API server does after an hour."""
        for path in [path for path in self.kube.objects if path.startswith(f"{EVENTS}/")]:
            self.kube.remove(path)


def _is_ours(key: str) -> bool:
    return key.startswith(names.COMPAT_PREFIX)
