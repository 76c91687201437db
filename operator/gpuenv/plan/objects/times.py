"""Times of the API: RFC 3339 in UTC with whole seconds outside, seconds since the epoch inside."""

from datetime import UTC, datetime
from typing import Final

_END: Final = 253_000_000_000.0
"""In the year 9987: a later time may be one that cannot be shown in UTC."""


def read_time(value: object) -> float | None:
    """Seconds since the epoch; None for what is no time, and for the epoch itself (a kubelet's "never")."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _END else None


def show_time(seconds: float) -> str:
    """The time as the API writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
