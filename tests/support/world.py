"""A stand-in for an API server and the executor, in memory: it takes a plan's actions at their word.

What it stores goes through JSON and the record readers, as with a real server. It judges nothing.
"""

import json
from typing import TYPE_CHECKING, Any

from tests.support import builders

from gpuenv.api import names
from gpuenv.controller.cache import Cache
from gpuenv.knowledge import load
from gpuenv.plan.actions import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    OrphanedEnvironment,
    Plan,
    PostEvent,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.memo import Memo
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.planner import plan
from gpuenv.plan.snapshot import Attempt, PodRecord, ReportRecord, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

Raw = dict[str, Any]
KNOWLEDGE = load()


class World:
    """Objects by kind and name, a clock, and the operator's cache over them."""

    def __init__(self, *, memo: bool = True, **settings: Any) -> None:
        self.now = builders.NOW
        self.cache = Cache()
        self.cache.synced = True
        self.settings = Settings(config_map="gpuenv-probe-0123456789", **settings)
        self.raw: dict[str, dict[str, Raw]] = {
            "environments": {},
            "nodes": {},
            "pods": {},
            "reports": {},
        }
        self.events: list[PostEvent] = []
        self.knowledge = KNOWLEDGE
        self.memo = Memo() if memo else None
        self.refuse: Callable[[CreatePod], Attempt | None] = lambda _: None
        self._version = 0

    # ---- what tests change -------------------------------------------------------------------------------

    def put(self, kind: str, raw: Raw) -> Raw:
        """Stores an object, as JSON would leave it, and tells the cache."""
        self._version += 1
        stored: Raw = json.loads(json.dumps(raw), parse_float=_as_go_writes)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.raw[kind][stored["metadata"]["name"]] = stored
        self.cache.put(kind, stored)
        return stored

    def environment(self, name: str = "pt", **spec: Any) -> Raw:
        """Stores an environment; a later one of that name is its next generation."""
        metadata = {"uid": f"uid-{name}", "generation": 1, "finalizers": [names.FINALIZER]}
        raw = builders.environment(name, metadata=metadata, **{"schedule": {"maxConcurrent": 1000}, **spec})
        before = self.raw["environments"].get(name)
        if before is not None:
            raw["metadata"]["generation"] = before["metadata"]["generation"] + 1
            raw["status"] = before.get("status", {})
        return self.put("environments", raw)

    def annotate(self, kind: str, name: str, key: str, value: str) -> None:
        """Sets one annotation."""
        raw = self.raw[kind][name]
        raw["metadata"].setdefault("annotations", {})[key] = value
        self.put(kind, raw)

    def node(self, name: str = "n1", **changes: Any) -> Raw:
        """Stores a node; labels of ours that it has stay."""
        raw = builders.node(name, **changes)
        before = self.raw["nodes"].get(name)
        if before is not None and before["metadata"]["uid"] == raw["metadata"]["uid"]:
            ours = {
                k: v for k, v in before["metadata"]["labels"].items() if k.startswith(names.COMPAT_PREFIX)
            }
            raw["metadata"]["labels"] |= ours
        return self.put("nodes", raw)

    def restart(self) -> None:
        """Starts the operator anew: it knows nothing but what is stored."""
        self.cache, self.memo = Cache(), self.memo and Memo()
        self.cache.synced = True
        for kind, stored in self.raw.items():
            for raw in stored.values():
                self.cache.put(kind, raw)

    def gone(self, kind: str, name: str) -> None:
        """Removes an object, and the watch tells of it."""
        raw = self.raw[kind].pop(name)
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self.cache.remove(kind, raw)

    def pod(
        self, phase: str, *, environment: str = "pt", node: str = "n1", name: str = "", **changes: Any
    ) -> Raw:
        """Gives the newest probe pod of a pair, or the one of that name, another status."""
        before = self.raw["pods"][name] if name else self.pod_of(environment, node)
        return self.put("pods", builders.pod_status(before, phase, **changes))

    def pod_of(self, environment: str = "pt", node: str = "n1") -> Raw:
        """The newest probe pod of a pair. Raises LookupError when there is none."""
        found = self.pods_of(environment, node)
        if not found:
            raise LookupError(
                f"no probe pod of {environment} on {node}; there are {sorted(self.raw['pods'])}"
            )
        return found[-1]

    def pods_of(self, environment: str = "pt", node: str = "n1") -> list[Raw]:
        """All probe pods of a pair, oldest first."""
        mine = [
            raw
            for raw in self.raw["pods"].values()
            if raw["metadata"]["labels"][names.LABEL_ENVIRONMENT] == environment
            and raw["metadata"]["annotations"][names.ANNOTATION_NODE] == node
        ]
        return sorted(mine, key=lambda raw: raw["metadata"]["number"])

    def finish(
        self,
        *,
        environment: str = "pt",
        node: str = "n1",
        name: str = "",
        facts: Raw | str | None = None,
        kernels: Raw | str | None = None,
    ) -> Raw:
        """The pair's pod ends with these reports; by default with those of a healthy node."""
        before = self.raw["pods"][name] if name else self.pod_of(environment, node)
        run = before["metadata"]["annotations"][names.ANNOTATION_RUN]
        return self.pod(
            "Succeeded",
            name=before["metadata"]["name"],
            scheduled=self.now - 30,
            sandbox=self.now - 28,
            facts=builders.terminated(
                builders.facts_report(run) if facts is None else facts, at=self.now - 10
            ),
            kernels=builders.terminated(
                builders.kernels_report(run) if kernels is None else kernels, at=self.now
            ),
        )

    def finish_all(self) -> None:
        """Every pod ends well, and the operator takes it up."""
        for pod in list(self.cache.pods.values()):
            self.finish(environment=pod.environment, node=pod.node)
        self.settle()

    def busy(self) -> None:
        """The pod of pt on n1 finds no place until its clock runs out."""
        self.pod("Pending", unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        self.now += 121
        self.settle()

    def crash(self) -> None:
        """The pod of pt on n1 crashes in its second stage."""
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

    def run_id(self, environment: str = "pt", node: str = "n1") -> str:
        """Run id of the pair's newest pod."""
        return str(self.pod_of(environment, node)["metadata"]["annotations"][names.ANNOTATION_RUN])

    # ---- what the operator does ----------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Plans over the world as it is; nothing is done."""
        planned = plan(self.cache.snapshot(self.settings), self.now, self.knowledge, self.memo)
        assert not planned.faults, planned.faults
        return planned

    def step(self, seconds: float = 0.0) -> Plan:
        """Lets time pass, plans, and does what the plan says."""
        self.now += seconds
        seen = self.cache.snapshot(self.settings)
        planned = plan(seen, self.now, self.knowledge, self.memo)
        assert not planned.faults, planned.faults
        for action in planned.actions:
            self.apply(action)
        self.cache.carried_out(seen, planned)
        return planned

    def settle(self, limit: int = 20) -> list[Plan]:
        """Steps until there is nothing to do. Raises AssertionError when there always is."""
        plans = []
        for _ in range(limit):
            plans.append(self.step())
            if not plans[-1].actions:
                return plans
        raise AssertionError(f"still busy after {limit} plans: {plans[-1].actions}")

    def apply(self, action: Action) -> None:
        """Does what one action says."""
        match action:
            case CreatePod():
                self._create(action)
            case DeletePod(name=name):
                self.delete_pod(name)
            case WriteReport():
                self._write_report(action)
            case SetLabel(node=node):
                raw = self.raw["nodes"][node]
                assert raw["metadata"]["uid"] == action.node_uid
                labels, key = raw["metadata"]["labels"], names.node_label(action.environment)
                labels.pop(key, None)
                labels |= {} if action.value is None else {key: action.value}
                self.put("nodes", raw)
            case SetNodeCondition():
                self._set_condition(action)
            case LeaveNode():
                self._leave(action)
            case AddFinalizer(environment=name):
                raw = self.raw["environments"][name]
                raw["metadata"].setdefault("finalizers", []).append(names.FINALIZER)
                self.put("environments", raw)
            case Cleanup(environment=name):
                self._clean(name)
                self.gone("environments", name)
            case OrphanedEnvironment(environment=name):
                assert name not in self.raw["environments"]
                self._clean(name)
            case WriteStatus(environment=name):
                self.put("environments", self.raw["environments"][name] | {"status": action.status})
                self.events += action.events
            case PostEvent():
                self.events.append(action)

    def delete_pod(self, name: str, *, vanish: bool | None = None) -> None:
        """Orders the deletion of a pod; one that does not run goes at once."""
        raw = self.raw["pods"].get(name)
        if raw is None:
            return
        runs = raw.get("status", {}).get("phase") == "Running"
        raw["metadata"].setdefault("deletionTimestamp", show_time(self.now + 5))
        self.put("pods", raw)
        if not runs if vanish is None else vanish:
            self.gone("pods", name)

    def _create(self, action: CreatePod) -> None:
        refusal = self.refuse(action)
        if refusal is not None:
            self.cache.rejections[action.environment, action.node] = refusal
            return
        raw = json.loads(json.dumps(action.manifest))
        if raw["metadata"]["name"] in self.raw["pods"]:
            return
        raw["metadata"] |= {
            "uid": f"uid-{raw['metadata']['name']}-{self._version}",
            "creationTimestamp": show_time(self.now),
            "number": self._version,
        }
        raw["status"] = {"phase": "Pending"}
        self.put("pods", raw)

    def _write_report(self, action: WriteReport) -> None:
        assert action.exists == (action.name in self.raw["reports"])
        spec = {"environment": action.environment, "nodeName": action.node, "nodeUID": action.node_uid}
        fresh = {"metadata": {"name": action.name, "uid": f"uid-{action.name}"}, "spec": spec}
        raw = self.raw["reports"].get(action.name, fresh)
        before = self.report(action.environment, action.node)
        stored = self.put("reports", raw | {"status": action.status})
        self.cache.wrote_report((action.environment, action.node), stored, before)

    def _set_condition(self, action: SetNodeCondition) -> None:
        raw, kind = self.raw["nodes"][action.node], names.node_label(action.environment)
        kept = [item for item in raw["status"]["conditions"] if item["type"] != kind]
        if action.status is not None:
            kept.append({"type": kind, "status": action.status, "reason": action.reason})
        raw["status"]["conditions"] = kept
        self.put("nodes", raw)

    def _leave(self, action: LeaveNode) -> None:
        live = self.raw["nodes"].get(action.node)
        there = live is not None and live["metadata"]["uid"] == action.node_uid
        if action.gone and there:
            return
        if there and live is not None:
            self._unmark(live, action.environment)
        for raw in self.pods_of(action.environment, action.node):
            self.delete_pod(raw["metadata"]["name"])
        report = self.cache.reports.get((action.environment, action.node))
        if report is not None:
            self.gone("reports", report.name)

    def _unmark(self, raw: Raw, environment: str) -> None:
        key = names.node_label(environment)
        raw["metadata"]["labels"].pop(key, None)
        raw["status"]["conditions"] = [item for item in raw["status"]["conditions"] if item["type"] != key]
        self.put("nodes", raw)

    def _clean(self, environment: str) -> None:
        for raw in list(self.raw["nodes"].values()):
            self._unmark(raw, environment)
        for raw in list(self.raw["pods"].values()):
            if raw["metadata"]["labels"][names.LABEL_ENVIRONMENT] == environment:
                self.gone("pods", raw["metadata"]["name"])
        for raw in list(self.raw["reports"].values()):
            if raw["spec"]["environment"] == environment:
                self.gone("reports", raw["metadata"]["name"])
        for name, pod in list(self.cache.pods.items()):
            if pod.environment == environment:
                del self.cache.pods[name]

    # ---- what tests look at --------------------------------------------------------------------------------

    def report(self, environment: str = "pt", node: str = "n1") -> ReportRecord | None:
        """The pair's report as the operator knows it."""
        return self.cache.reports.get((environment, node))

    def verdict(self, environment: str = "pt", node: str = "n1") -> tuple[str, str] | None:
        """(verdict, reason) as the report displays them; None when there is no report."""
        record = self.report(environment, node)
        return None if record is None else (record.verdict.value, record.reason)

    def label(self, environment: str = "pt", node: str = "n1") -> str | None:
        """The node's label for an environment."""
        value = self.raw["nodes"][node]["metadata"]["labels"].get(names.node_label(environment))
        return None if value is None else str(value)

    def status(self, environment: str = "pt") -> Raw:
        """The environment's status."""
        return dict(self.raw["environments"][environment].get("status", {}))

    def condition(self, kind: str, environment: str = "pt") -> tuple[str, str]:
        """(status, reason) of one of its conditions."""
        found = next(item for item in self.status(environment)["conditions"] if item["type"] == kind)
        return found["status"], found["reason"]

    def live_pods(self) -> list[PodRecord]:
        """Probe pods that hold a device."""
        pods = self.cache.pods.values()
        return [pod for pod in pods if not pod.vanished and pod.phase not in ("Succeeded", "Failed")]


def _as_go_writes(text: str) -> float | int:
    """The API server writes 12.0 as 12."""
    return int(float(text)) if float(text).is_integer() else float(text)


def fleet(count: int, /, *, settings: Raw | None = None, **spec: Any) -> World:
    """One environment and so many nodes, nothing planned yet."""
    made = World(**(settings or {}))
    made.environment(**spec)
    for index in range(count):
        made.node(f"n{index:02}")
    return made


def first_run(**spec: Any) -> World:
    """One environment, one node, its first probe pod."""
    made = World()
    made.environment(**spec)
    made.node()
    made.settle()
    return made


def validated(**spec: Any) -> World:
    """One environment, one node, one good verdict, nothing to do."""
    made = first_run(**spec)
    made.finish()
    made.settle()
    assert made.verdict() == ("Compatible", "")
    assert not made.raw["pods"]
    return made


def kinds(planned: Plan) -> list[str]:
    """Names of a plan's actions."""
    return [type(action).__name__ for action in planned.actions]
