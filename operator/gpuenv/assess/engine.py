"""The assessment: facts, expectations and tables in; checks and verdict out. A pure function.

To add a check, name it in :mod:`gpuenv.api.check_names`, write one small policy (a function from a
:class:`~gpuenv.assess.case.Case` to checks) and put it into a list here; a new reason is a row of
:mod:`gpuenv.api.reasons`. Within one status, the deeper cause comes first (the depth of its reason), then the order
of the lists.
"""

from collections.abc import Mapping
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.environment import Expectations, Floor
from gpuenv.assess.case import Policy, make_case
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Assessment, decide
from gpuenv.assess.policies import (
    architecture,
    driver,
    enough,
    expectations,
    image,
    kernels,
    start,
    surroundings,
)
from gpuenv.assess.policies import (
    floors as floor_policies,
)
from gpuenv.knowledge.model import Knowledge

IMAGE: Final[tuple[Policy, ...]] = (
    image.torch_present,  # torch is there and imports
    image.cuda_build,  # it was built with CUDA
    image.released_build,  # such a build was released
    image.python_version,  # the release has wheels for this Python
)
DRIVER: Final[tuple[Policy, ...]] = (
    driver.visible,  # a driver is visible in the container
    driver.supports_gpu,  # its branch supports the GPU
    driver.new_enough,  # it is new enough for the image's CUDA
    driver.toolkit_rule_known,  # the Toolkit rule can be judged, where it was asked for
    start.cuda_starts,  # CUDA starts and finds a device
    start.nvml,  # NVML works, too
    start.warnings,  # what PyTorch warned of
    start.reported_errors,  # what pasted errors mean
    start.unrecognised,  # a pasted error that no table knows
    driver.forward_compat,  # cuda-compat is in use
    driver.last_generation,  # the GPU's generation is near its end
)
ARCHITECTURE: Final[tuple[Policy, ...]] = (
    architecture.code_for_gpu,  # the build has code for each GPU
    architecture.cudnn_supports_gpu,  # so has its cuDNN
    architecture.features,  # features that the toolkit cannot reach
)
KERNELS: Final[tuple[Policy, ...]] = (
    kernels.steps,  # every step that went wrong
    kernels.all_ran,  # kernels ran on every GPU
)
EXPECTATIONS: Final[tuple[Policy, ...]] = (
    expectations.versions,  # PyTorch, CUDA, cuDNN, NCCL, Python and driver
    expectations.hardware,  # products, compute capabilities and memory
    expectations.imports,  # modules with kernels of their own
    expectations.compiles,  # torch.compile
    expectations.commands,  # the environment's own commands
    floor_policies.floors,  # figures of benchmarks
)
SURROUNDINGS: Final[tuple[Policy, ...]] = (
    surroundings.health,  # what NVML says of each GPU
    surroundings.container,  # environment variables, workspace, openness
    enough.known_enough,  # build, driver and GPU are known
    enough.known_architecture,  # GPU and targets are known
    enough.contradictions,  # given facts do not contradict each other
)
POLICIES: Final[tuple[Policy, ...]] = IMAGE + DRIVER + ARCHITECTURE + KERNELS + EXPECTATIONS + SURROUNDINGS
"""All policies, in the order in which a person would look for the cause."""


def assess(
    facts: Facts,
    expect: Expectations | None,
    floors: tuple[Floor, ...],
    knowledge: Knowledge,
    *,
    peers: Mapping[str, float] | None = None,
) -> Assessment:
    """Return the assessment of one image on one node. ``peers`` maps a ``peer_key`` to a median figure."""
    case = make_case(facts, expect, floors, knowledge, peers)
    checks = [found for policy in POLICIES for found in policy(case)]
    return decide(sorted(checks, key=lambda found: reasons.behaviour(found.reason).depth))
