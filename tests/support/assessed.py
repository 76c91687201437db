"""Facts of a healthy A100 and variants of them, for tests of the assessment's policies."""

from dataclasses import replace
from typing import Any

from gpuenv.api.spec.environment import Checks, Expectations
from gpuenv.api.spec.floor import Floor
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Gpu,
    Libcuda,
    NodeFacts,
    Source,
    Stage,
    Step,
    StepStatus,
    TorchFacts,
)
from gpuenv.assess.model import Assessment, Status
from gpuenv.knowledge import load

K = load()
A100 = Gpu(0, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0), memory_mib=81920, memory_free_mib=81000)
STEPS = tuple(
    Step(name, 0, dtype, status=StepStatus.PASS)
    for name in ("alloc", "matmul", "conv", "attention", "train")
    for dtype in ("fp32", "bf16")
)
HEALTHY = Facts(
    source=Source.PROBE,
    stages=frozenset(Stage),
    container=ContainerFacts(python="3.11.7", uid=1000, shm_mib=1024, writable=("/tmp",)),
    driver=DriverFacts(
        version="570.124.06",
        cuda_version=12080,
        cu_init=0,
        device_count=1,
        libcuda=Libcuda("/usr/lib/libcuda.so.1", "host"),
    ),
    gpus=(A100,),
    torch=TorchFacts(
        version="2.9.1+cu128",
        cuda="12.8",
        cudnn=91002,
        nccl="2.27.5",
        arch_flags=("sm_70", "sm_80", "sm_90"),
        available=True,
    ),
    node=NodeFacts(name="n", driver_version="570.124.06", platform="gfd"),
    steps=STEPS,
)


def judge(
    facts: Facts,
    expect: Expectations | None = None,
    *floors: Floor,
    peers: dict[str, float] | None = None,
    tried: Checks | None = None,
) -> Assessment:
    """Assess facts with the knowledge tables of the project."""
    return assess(facts, expect, floors, K, peers=peers, tried=tried)


def told(found: Assessment) -> list[tuple[Status, str, str]]:
    """Return status, reason and message of each check that did not pass."""
    return [
        (check.status, check.reason, check.message)
        for check in found.checks
        if check.status is not Status.PASS
    ]


def driver(**changes: Any) -> Facts:
    """Return the healthy facts with changes to those of the driver."""
    return replace(HEALTHY, driver=replace(HEALTHY.driver, **changes))


def torch(**changes: Any) -> Facts:
    """Return the healthy facts with changes to those of PyTorch."""
    return replace(HEALTHY, torch=replace(HEALTHY.torch, **changes))


def stopped(**changes: Any) -> Facts:
    """Return facts of a node on which CUDA does not start, so that no kernels ran. ``changes`` are driver facts."""
    base = (
        driver(cu_init=None, device_count=None, **changes)
        if "cu_init" not in changes
        else driver(device_count=None, **changes)
    )
    return replace(
        base, torch=replace(base.torch, available=False), steps=(), stages=frozenset({Stage.FACTS})
    )


def failing(*steps: Step) -> Facts:
    """Return the healthy facts with these steps in place of the steps of the same names."""
    return replace(
        HEALTHY, steps=(*steps, *(step for step in STEPS if step.name not in {bad.name for bad in steps}))
    )
