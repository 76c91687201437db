"""Writes the current time in the two formats of the Kubernetes API."""

from datetime import UTC, datetime


def now() -> str:
    """Return the current time in the format of ``metav1.Time``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_now() -> str:
    """Return the current time in the format of ``metav1.MicroTime``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
