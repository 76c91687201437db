"""Decide from which difference on people are told that the operator's clock and the API server's differ."""

from typing import Final

NOTED_SECONDS: Final = 30.0
"""Clocks that differ by more than this are noted."""
FORGOTTEN_SECONDS: Final = 20.0
"""A difference that was noted is forgotten below this, so that one near the limit does not come and go."""
STEP_SECONDS: Final = 10.0
"""A difference is rounded to this, so that the status of an environment is not written each time it is measured."""


def noted_skew(before: float, measured: float | None) -> float:
    """Return by how many seconds the operator's clock counts as ahead of the API server's; 0 if people need not know.

    ``before`` is what was returned last. It stays while the difference is about the same. ``measured`` is None if the
    difference is not known.
    """
    if measured is None:
        return before
    if abs(measured) <= (FORGOTTEN_SECONDS if before else NOTED_SECONDS):
        return 0.0
    if before and abs(measured - before) <= max(STEP_SECONDS, abs(before) / 5):
        return before
    return round(measured / STEP_SECONDS) * STEP_SECONDS


def skew_message(skew: float) -> str:
    """Return what people need to know about a difference that was noted, and what to do about it."""
    direction = "ahead of" if skew > 0 else "behind"
    return (
        f"the operator's clock is about {abs(skew):.0f} s {direction} the API server's: times that are shown are wrong, and "
        "results are renewed too early or too late; no run is ended by it. Synchronise the clocks of their machines (NTP)"
    )
