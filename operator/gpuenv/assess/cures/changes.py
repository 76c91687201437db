"""A change of image or node that may solve a problem: another build, another driver, or another single part."""

from dataclasses import dataclass, replace
from enum import StrEnum

from gpuenv.api.reasons import Part
from gpuenv.assess.cures.builds import Build
from gpuenv.assess.cures.setup import Setup
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import api_number, parse_version


class DriverRole(StrEnum):
    """What a change says about the driver."""

    KEPT = "kept"
    """Nothing: the node's own driver suffices."""
    NEEDED = "needed"
    """The oldest driver that suffices. The node's own driver is not known."""
    UPGRADED = "upgraded"
    """The oldest driver that suffices. The node's own driver has to be replaced by it or by a newer one."""
    OTHER_BRANCH = "other-branch"
    """The driver branch that has to be installed, because newer branches do not support the GPU."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that may solve a problem.

    ``build`` is the PyTorch build to use, None if the image keeps its own. ``driver`` is the driver that ``role`` is
    about: a version, or the number of a branch; "" stands for any newer version. ``part`` is another part to be changed
    instead.
    """

    build: Build | None = None
    role: DriverRole = DriverRole.KEPT
    driver: str = ""
    part: Part | None = None

    def applied(self, setup: Setup, knowledge: Knowledge) -> Setup:
        """Return a setup in which the change is made. A newer driver without a version changes nothing."""
        if self.part in (Part.LIBCUDA, Part.COMPAT_LIBRARY):
            return replace(setup, loaded=None, stale=False)
        if self.part is Part.DRIVER_RULE:
            return replace(setup, expect=replace(setup.expect, driver_rule="MinorVersion"))
        if self.part is Part.FORWARD_COMPAT and setup.cuda is not None:
            return replace(setup, loaded=api_number(setup.cuda), observed=True)
        driver = parse_version(self.driver)
        if self.build is not None:
            setup = setup.with_build(self.build, knowledge)
        return setup.with_driver(driver) if driver else setup
