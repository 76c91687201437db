"""The policy on what only a probe can judge: without one, these expectations are left out, and one note says so."""

from collections.abc import Iterator

from gpuenv.api import check_names, reasons
from gpuenv.assess.case import Case, check
from gpuenv.assess.model import Check, Status


def only_by_probe(case: Case) -> Iterator[Check]:
    """Yield one Note that names the expectations that only a probe can judge, if there was no probe."""
    parts = [] if case.probed else list(_left_out(case))
    if parts:
        message = f"only a probe on the node can judge {', '.join(parts)}: left out here"
        title = check_names.EXPECT.of("probe")
        yield check(case, title, Status.NOTE, reasons.ExpectationUnknown, message, ())


def _left_out(case: Case) -> Iterator[str]:
    tried, expect = case.tried, case.expect
    if tried.imports:
        yield f"imports ({', '.join(tried.imports)})"
    if tried.compile:
        yield "torch.compile"
    if tried.commands:
        yield f"commands ({', '.join(command.name for command in tried.commands)})"
    if case.floors:
        yield f"floors ({', '.join(dict.fromkeys(floor.benchmark for floor in case.floors))})"
    if expect.nccl is not None and case.facts.torch.nccl is None:
        yield "the version of NCCL"
    if expect.min_memory_bytes is not None and not knows_memory(case):
        yield "the memory of the GPUs"


def knows_memory(case: Case) -> bool:
    """Return whether the memory size of some GPU is known."""
    return any(gpu.memory_mib is not None for gpu in case.facts.gpus)
