"""Convert times between the Kubernetes API's form (RFC 3339, UTC, whole seconds) and epoch seconds."""

from datetime import UTC, datetime
from typing import Final

AHEAD_SECONDS: Final = 30.0
"""How far a stored time may be ahead of the operator's clock. Clocks of two operators may differ by so much."""
_END: Final = 253_000_000_000.0
"""The upper limit of valid times, in epoch seconds. It is in the year 9987; Python's datetime ends with 9999."""


def read_time(value: object) -> float | None:
    """Return a time in epoch seconds, or None if ``value`` is not a valid time.

    The epoch itself (1970-01-01) counts as not valid too: the kubelet writes it for a time that never came.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _END else None


def is_ahead(at: float, now: float) -> bool:
    """Return whether a stored time lies in the future at ``now``, because a clock was wrong when it was stored.

    Nothing may wait for such a time: it may be an hour or years ahead.
    """
    return at > now + AHEAD_SECONDS


def show_time(seconds: float) -> str:
    """Return a time, given in epoch seconds, in the form of the API, such as ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_micro_time(seconds: float) -> str:
    """Return a time, given in epoch seconds, in the API's form for Leases, with microseconds (``metav1.MicroTime``)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
