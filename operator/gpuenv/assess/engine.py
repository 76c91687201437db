"""The assessment: facts, expectations and tables in; checks and verdict out. A pure function.

Adding a check: write one small policy (a function from a :class:`~gpuenv.assess.case.Case` to checks), and name it in
the list here. Within one status, the deeper cause comes first (the depth of its reason), then the order of the list.
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
    image.torch_present,
    image.cuda_build,
    image.released_build,
    image.python_version,
)
DRIVER: Final[tuple[Policy, ...]] = (
    driver.visible,
    driver.supports_gpu,
    driver.new_enough,
    driver.toolkit_rule_known,
    start.cuda_starts,
    start.nvml,
    start.warnings,
    start.reported_errors,
    start.unrecognised,
    driver.forward_compat,
    driver.last_generation,
)
ARCHITECTURE: Final[tuple[Policy, ...]] = (
    architecture.code_for_gpu,
    architecture.cudnn_supports_gpu,
    architecture.features,
)
KERNELS: Final[tuple[Policy, ...]] = (kernels.steps, kernels.all_ran)
EXPECTATIONS: Final[tuple[Policy, ...]] = (
    expectations.versions,
    expectations.hardware,
    expectations.imports,
    expectations.compiles,
    expectations.commands,
    floor_policies.floors,
)
SURROUNDINGS: Final[tuple[Policy, ...]] = (
    surroundings.health,
    surroundings.container,
    enough.known_enough,
    enough.known_architecture,
    enough.contradictions,
)
POLICIES: Final[tuple[Policy, ...]] = IMAGE + DRIVER + ARCHITECTURE + KERNELS + EXPECTATIONS + SURROUNDINGS
"""All policies, in the order in which a person would look."""


def assess(
    facts: Facts,
    expect: Expectations | None,
    floors: tuple[Floor, ...],
    knowledge: Knowledge,
    *,
    peers: Mapping[str, float] | None = None,
) -> Assessment:
    """Judges one image on one node. ``peers`` maps :func:`~gpuenv.assess.policies.floors.peer_key` to a median figure."""
    case = make_case(facts, expect, floors, knowledge, peers)
    checks = [found for policy in POLICIES for found in policy(case)]
    return decide(sorted(checks, key=lambda found: reasons.behaviour(found.reason).depth))
