"""The present on the two time scales of a plan: what clocks show, and what has passed.

Clocks are set forwards and back, and those of the operator, the API server and the nodes differ. So a plan compares
times of the day only with each other, for what is stored and shown. How long something has lasted is measured on the
steady scale, which is the operator's monotonic clock and never jumps.
"""

from typing import NamedTuple


class Moment(NamedTuple):
    """A moment: the time of the operator's clock in epoch seconds, and the same moment in steady seconds."""

    wall: float
    steady: float

    def steady_at(self, wall: float) -> float:
        """Return when, in steady seconds, the operator's clock will show a time, if nobody sets the clock."""
        return self.steady + (wall - self.wall)

    def wall_at(self, steady: float) -> float:
        """Return what the operator's clock would have shown at a steady time, if nobody had set the clock."""
        return self.wall + (steady - self.steady)
