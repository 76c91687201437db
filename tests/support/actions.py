"""Short ways to write down actions of a plan, for tests of what carries them out."""

from typing import Any

from tests.support import builders

from gpuenv.api import names
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import CreatePod, Plan, SetLabel, WriteReport
from gpuenv.plan.snapshot import ReportRecord


def create(environment: str, node: str, run_id: str = "run1") -> CreatePod:
    """Return the action that creates the probe pod of one run."""
    manifest = builders.pod(environment, node, run_id)
    return CreatePod(environment, node, run_id, "inputs", "fingerprint", manifest)


def label(node: str, value: str | None = "Compatible", environment: str = "e") -> SetLabel:
    """Return the action that sets a node's label for one environment."""
    return SetLabel(environment, node, f"uid-{node}", value)


def write(environment: str, node: str, *, exists: bool = False, **fields: Any) -> WriteReport:
    """Return the action that writes a node report without a result; ``fields`` are those of its record."""
    status = {"verdict": "Unknown", "reason": "GpusBusy"}
    name = names.report_name(environment, node)
    values: dict[str, Any] = {
        "name": name,
        "uid": "",
        "environment": environment,
        "node": node,
        "node_uid": f"uid-{node}",
        "verdict": Verdict.UNKNOWN,
        "reason": "",
        "message": "",
        "environment_generation": 1,
    }
    record = ReportRecord(**values | fields)
    return WriteReport(environment, f"uid-{environment}", node, f"uid-{node}", name, exists, status, record)


def kinds(planned: Plan) -> list[str]:
    """Return the names of a plan's actions."""
    return [type(action).__name__ for action in planned.actions]
