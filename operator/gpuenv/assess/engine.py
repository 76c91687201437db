"""The assessment: a pure function from facts, expectations and tables to checks and a verdict.

To add a check, define its name in :mod:`gpuenv.api.check_names`, write one small policy (a function from a
:class:`~gpuenv.assess.case.Case` to checks) and add it to one of the lists in this module. A new reason is a row of
:mod:`gpuenv.api.reasons`. Checks are ordered by their status, the worst first. Among checks with the same status, the
one whose reason has the smallest ``depth`` comes first, because it explains the others
(:class:`gpuenv.api.reasons.row.Behaviour`). If the depths are equal too, the order of the policies decides. A driver that is
too old or too new comes after a build without code for the GPU, if only versions are known.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.spec.environment import Checks, Expectations
from gpuenv.api.spec.floor import Floor
from gpuenv.assess.case import Case, Policy, make_case
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Assessment, Check, Status, decide
from gpuenv.assess.policies import (
    architecture,
    driver,
    enough,
    expectations,
    image,
    image_start,
    kernel_module,
    kernels,
    left_out,
    start,
    surroundings,
    virtual_gpus,
)
from gpuenv.assess.policies import (
    floors as floor_policies,
)
from gpuenv.knowledge.model import Knowledge

IMAGE: Final[tuple[Policy, ...]] = (
    image.torch_present,  # torch is installed and can be imported
    image.cuda_build,  # torch was built with CUDA
    image.released_build,  # the PyTorch project released this build
    image.python_version,  # the PyTorch release has wheels for the image's Python
    image_start.platform,  # the image exists for the node's CPU
    image_start.requirements,  # NVIDIA's container toolkit starts the image
    image_start.compat_library,  # a cuda-compat that the image's programs load suits driver and GPU
)
DRIVER: Final[tuple[Policy, ...]] = (
    driver.visible,  # a driver is visible in the container
    kernel_module.of_one_version,  # the loaded kernel module and libcuda are of one version
    kernel_module.of_right_flavour,  # the loaded kernel module (open or proprietary) supports the GPU
    driver.supports_gpu,  # the driver's branch supports the GPU
    virtual_gpus.series,  # a virtual GPU is of a series on which CUDA runs
    driver.in_tables,  # the driver is not newer than the tables
    driver.new_enough,  # the driver is new enough for the image's CUDA
    driver.toolkit_rule_known,  # the Toolkit rule can be judged, if the environment asks for it
    start.cuda_starts,  # CUDA starts and finds a device
    start.nvml,  # NVML works
    start.warnings,  # PyTorch printed no warning that matters
    start.reported_errors,  # the meaning of pasted errors
    start.unrecognised,  # a pasted error that the tables do not contain
    driver.forward_compat,  # cuda-compat is in use
    driver.last_generation,  # newer drivers or toolkits drop the GPU's generation
)
ARCHITECTURE: Final[tuple[Policy, ...]] = (
    architecture.code_for_gpu,  # the build has code for each GPU
    architecture.cudnn_supports_gpu,  # the build's cuDNN has code for each GPU
    architecture.features,  # the toolkit can use all features of the GPU
)
KERNELS: Final[tuple[Policy, ...]] = (
    kernels.steps,  # no step failed
    kernels.all_ran,  # kernels ran on every GPU
)
EXPECTATIONS: Final[tuple[Policy, ...]] = (
    expectations.versions,  # PyTorch, CUDA, cuDNN, NCCL, Python and driver
    expectations.hardware,  # products, compute capabilities and memory
    expectations.imports,  # Python modules that must be importable
    expectations.compiles,  # torch.compile
    expectations.commands,  # the command checks of the environment
    floor_policies.floors,  # minimum results of benchmarks
    left_out.only_by_probe,  # what is left out without a probe
)
SURROUNDINGS: Final[tuple[Policy, ...]] = (
    surroundings.health,  # NVML reports that each GPU is healthy
    virtual_gpus.licences,  # every virtual GPU has its licence
    surroundings.container,  # environment variables, scratch space and privileges of the container
    enough.known_enough,  # build, driver and GPU are known
    enough.known_architecture,  # the GPU and the targets of the build are known
    enough.contradictions,  # the facts do not contradict each other
)
POLICIES: Final[tuple[Policy, ...]] = IMAGE + DRIVER + ARCHITECTURE + KERNELS + EXPECTATIONS + SURROUNDINGS
"""All policies, in the order in which a person would search for the cause of a problem."""
_OF_THE_DRIVER: Final = frozenset({reasons.DriverTooOld, reasons.DriverDroppedGpu})
_WHATEVER_THE_DRIVER: Final = frozenset({reasons.ArchNotInBuild, reasons.CudnnDroppedGpu})
"""Two groups of reasons that follow from versions: those that another driver cures, and those that none cures."""


def assess(
    facts: Facts,
    expect: Expectations | None,
    floors: tuple[Floor, ...],
    knowledge: Knowledge,
    *,
    peers: Mapping[str, float] | None = None,
    tried: Checks | None = None,
    cures: bool = True,
) -> Assessment:
    """Return the assessment of one image on one node.

    ``expect`` None means that nothing particular is expected. ``floors`` are the minimum results of benchmarks.
    ``peers`` maps a ``peer_key`` to the median result of a benchmark over all nodes with the same GPU product. It is
    needed only for floors that are a percentage of this median. ``tried`` is what the environment asks the probe to try
    besides its own kernels; None means nothing. ``cures`` False saves the search for builds and drivers that would help,
    for callers that need only the verdict.
    """
    case = make_case(facts, expect, floors, knowledge, peers, tried=tried)
    checks = [found for policy in POLICIES for found in policy(case)]
    if cures and any(found.curable for found in checks):
        from gpuenv.assess.cures.search import with_cures  # noqa: PLC0415 - a tenth of the time of gpuenv explain

        checks = with_cures(case, checks)
    in_vain = _is_driver_in_vain(case, checks)
    return decide(sorted(checks, key=lambda found: _depth(found, in_vain)))


def _is_driver_in_vain(case: Case, checks: Iterable[Check]) -> bool:
    """Return whether only versions are known, and the build has no code for the GPU.

    Another driver then changes nothing, so that nobody should read first that the driver is wrong. What was observed
    comes in the order in which it happens: programs meet the driver before the code.
    """
    observed = case.facts.errors or case.facts.torch.available is not None or case.cuda_works
    if observed or case.probed or case.facts.driver.cu_init is not None:
        return False
    return any(found.status is Status.FAIL and found.reason in _WHATEVER_THE_DRIVER for found in checks)


def _depth(found: Check, driver_in_vain: bool) -> float:
    """Return how deep the cause is that a check names; the deepest cause has the smallest number."""
    if driver_in_vain and found.reason in _OF_THE_DRIVER:
        return max(reasons.behaviour(reason).depth for reason in _WHATEVER_THE_DRIVER) + 0.5
    return reasons.behaviour(found.reason).depth
