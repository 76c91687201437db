"""Trials: a setup is assessed by versions alone, to find out whether a change solves a problem and does no harm."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gpuenv.api import check_names
from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.assess.case import Policy
from gpuenv.assess.cures.changes import Change
from gpuenv.assess.cures.setup import Setup, case_of
from gpuenv.assess.model import Status
from gpuenv.assess.policies import architecture, driver, enough, expectations, image
from gpuenv.knowledge.model import Knowledge

POLICIES: Final[tuple[Policy, ...]] = (
    image.cuda_build,
    driver.supports_gpu,
    driver.new_enough,
    driver.toolkit_rule_known,
    architecture.code_for_gpu,
    architecture.cudnn_supports_gpu,
    expectations.versions,
    enough.known_enough,
    enough.known_architecture,
    enough.contradictions,
)
"""The policies that versions alone decide, without an error, a kernel, a figure or a setting of the container."""
_WARN: Final = Status.WARN.severity
_EXPECT: Final = check_names.EXPECT.of("")
_EXPECTED_DRIVER: Final = check_names.EXPECT.of("driver")

CACHE_BYTES: Final = 4 * 2**20
"""How many bytes the setups hold that have been tried. Nodes of similar kinds share candidates."""
Outcome = Mapping[str, int]
"""Maps the name of each check that is worse than a Note to its severity."""


@bounded_cache(CACHE_BYTES)
def outcome(setup: Setup, knowledge: Knowledge) -> Outcome:
    """Return what the policies find in a setup."""
    case = case_of(setup, knowledge)
    found: dict[str, int] = {}
    for policy in POLICIES:
        for one in policy(case):
            severity = one.status.severity
            if severity >= _WARN and severity > found.get(one.name, 0):
                found[one.name] = severity
    return found


@dataclass(slots=True)
class Trial:
    """Finds out which changes of a setup solve a problem of a severity."""

    setup: Setup
    knowledge: Knowledge
    severity: int
    before: Outcome = field(init=False)

    def __post_init__(self) -> None:
        """Assess the setup as it is."""
        self.before = outcome(self.setup, self.knowledge)

    def by_toolkit_rule(self) -> "Trial":
        """Return a trial in which only a driver as new as the toolkit's own is new enough."""
        expect = replace(self.setup.expect, driver_rule="Toolkit")
        return Trial(replace(self.setup, expect=expect), self.knowledge, Status.FAIL.severity)

    def helps(self, change: Change) -> bool:
        """Return whether a change solves the problem and makes nothing worse.

        Everything that remains has to be less severe than the problem and as it was before. Only facts that are missing
        may be missed more than before, and expectations on parts that are not replaced may stay unmet, since they are
        problems of their own. A build counts only if it is certain that it has code for the GPUs.
        """
        after = outcome(change.applied(self.setup, self.knowledge), self.knowledge)
        if change.build is not None and self.setup.gpus and check_names.ARCHITECTURE in after:
            return False
        return all(
            name == check_names.KNOWN
            or (self.before.get(name) == now and (now < self.severity or _is_of_kept_part(name, change)))
            for name, now in after.items()
        )


def _is_of_kept_part(name: str, change: Change) -> bool:
    """Return whether a check is that of an expectation on a part that the change does not replace."""
    if name == _EXPECTED_DRIVER:
        return not change.driver
    return name.startswith(_EXPECT) and change.build is None
