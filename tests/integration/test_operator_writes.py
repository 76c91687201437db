"""How much the operator writes for one validation, counted in the API server's audit log."""

from collections import Counter

from tests.bench.harness import audit
from tests.bench.harness.audit import Request
from tests.bench.harness.fleet_run import fleet_run

from gpuenv.controller.write.executor import STATUS_BURST, STATUS_PER_SECOND
from gpuenv_sandbox.scenario.model import Fault

FIRST = Counter(
    {
        "create pods": 1,
        "create gpunodereports": 1,
        "patch gpunodereports/status": 1,
        "patch nodes": 1,
        "delete pods": 1,
    }
)
OTHER_LABEL = FIRST - Counter({"create gpunodereports": 1})
CHANGED_INPUTS = OTHER_LABEL + Counter({"patch gpunodereports/status": 1, "patch nodes": 1})
"""Before the run, report and label say that the old verdict is not about this image."""
SAME_LABEL = OTHER_LABEL - Counter({"patch nodes": 1})
STATUS = "patch gpuenvironments/status"


async def test_each_object_is_written_once_for_a_validation() -> None:
    """Five writes the first time, four later, three if the label stays; the environment's own are few, and limited."""
    async with fleet_run(1) as fleet:
        await fleet.ready()
        first = await fleet.validate()
        same = await fleet.revalidate("same")
        (node,) = fleet.fleet.scenario.nodes
        await fleet.fleet.change(node.name, fault=Fault.UVM_MISSING)
        other = await fleet.revalidate("other")
        inputs = await fleet.change_image()
        fleet.operator.stop()
    assert audit.writes(first.requests) == FIRST
    assert audit.writes(same.requests) == SAME_LABEL
    assert audit.writes(other.requests) == OTHER_LABEL
    assert audit.writes(inputs.requests) == CHANGED_INPUTS
    for measured in (first, same, other, inputs):
        written = audit.others(measured.requests)[STATUS]
        assert written <= STATUS_BURST + STATUS_PER_SECOND * lasted(measured.requests)


def lasted(requests: list[Request]) -> float:
    """Return the time from the first to the last write of an environment's status, in seconds."""
    times = [one.began for one in requests if one.kind == STATUS]
    return max(times, default=0.0) - min(times, default=0.0)
