"""Writes the current time in the two formats of the Kubernetes API."""

import time

from gpuenv.plan.objects.times import show_micro_time, show_time


def now() -> str:
    """Return the current time in the format of ``metav1.Time``."""
    return show_time(time.time())


def micro_now() -> str:
    """Return the current time in the format of ``metav1.MicroTime``."""
    return show_micro_time(time.time())
