"""Times as the API writes them (RFC 3339, UTC, whole seconds) and as the planner counts them (epoch seconds)."""

from datetime import UTC, datetime
from typing import Final

_END: Final = 253_000_000_000.0
"""A time in the year 9987. Later ones may have no form in UTC."""


def read_time(value: object) -> float | None:
    """Return epoch seconds, or None if there is no time. The epoch itself is a kubelet's way to say "never"."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _END else None


def show_time(seconds: float) -> str:
    """Return the time as the API writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
