"""A stand-in cluster with an executor on it, and short ways to write down what a plan asks of it."""

from typing import Any

from tests.support import builders
from tests.support.fake_kube import FakeKube

from gpuenv.api import names
from gpuenv.assess.model import Verdict
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.kinds import Scope
from gpuenv.controller.metrics import Metrics
from gpuenv.controller.write.executor import Executed, Executor
from gpuenv.controller.write.writes import Writes
from gpuenv.plan.actions import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    EnvironmentAction,
    OrphanedEnvironment,
    Plan,
    PostEvent,
    SetLabel,
    ValidationAction,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.snapshot import ReportRecord, ValidationKey

SCOPE = Scope("probes")
LABEL = "compat.gpuenv.dev/e"


class Posted:
    """A stand-in for the event poster."""

    def __init__(self) -> None:
        self.events: list[PostEvent] = []

    def post(self, event: PostEvent) -> None:
        self.events.append(event)


class World:
    """A stand-in cluster with an executor on it, and a clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.kube = FakeKube()
        self.cache = Cache()
        self.metrics = Metrics(self.cache, clock=lambda: self.now)
        self.posted = Posted()
        writes = Writes(self.kube, self.cache, SCOPE, clock=lambda: self.now)
        self.executor = Executor(writes, self.posted, self.metrics, clock=lambda: self.now)

    def add(self, kind: Any, one: dict[str, Any]) -> dict[str, Any]:
        stored = self.kube.add(SCOPE.path(kind), one)
        self.cache.put(kind, stored)
        return stored

    def get(self, kind: Any, name: str) -> dict[str, Any]:
        return self.kube.objects[SCOPE.item(kind, name)]

    async def run(self, *actions: Action) -> Executed:
        return await self.executor.run(self.plan(*actions))

    def plan(self, *actions: Action) -> Plan:
        """A plan of these actions, in their order within each validation."""
        environments: dict[str, EnvironmentAction] = {}
        validations: dict[ValidationKey, tuple[ValidationAction, ...]] = {}
        events: list[PostEvent] = []
        for action in actions:
            match action:
                case PostEvent():
                    events.append(action)
                case AddFinalizer() | Cleanup() | OrphanedEnvironment() | WriteStatus():
                    environments[action.environment] = action
                case DeletePod(name=name):
                    pod = self.cache.pods[name]
                    key = (pod.environment, pod.node)
                    validations[key] = (*validations.get(key, ()), action)
                case _:
                    key = (action.environment, action.node)
                    validations[key] = (*validations.get(key, ()), action)
        return Plan(environments, validations, tuple(events))


def record(environment: str, node: str, **fields: Any) -> ReportRecord:
    name = names.report_name(environment, node)
    base = {"uid": "", "node_uid": f"uid-{node}", "verdict": Verdict.UNKNOWN, "reason": "", "message": ""}
    return ReportRecord(
        name=name, environment=environment, node=node, **base | {"answered_generation": 1} | fields
    )


def write(environment: str, node: str, *, exists: bool = False, **fields: Any) -> WriteReport:
    status = {"verdict": "Unknown", "reason": "GpusBusy", "message": None}
    return WriteReport(
        environment,
        f"uid-{environment}",
        node,
        f"uid-{node}",
        names.report_name(environment, node),
        exists,
        status,
        record(environment, node, **fields),
    )


def create(environment: str, node: str, run_id: str = "run1") -> CreatePod:
    return CreatePod(
        environment, node, run_id, "inputs", "fingerprint", builders.pod(environment, node, run_id)
    )


def label(node: str, value: str | None = "Compatible", environment: str = "e") -> SetLabel:
    return SetLabel(environment, node, f"uid-{node}", value)
