"""Fixtures of tests against a real API server. The tests are skipped, with the reason, if it is not available."""

from tests.support.control_plane import admin, control_plane, kubectl, namespace
from tests.support.installation import installed, oldest_installed, policed
from tests.support.kstatus import kstatus

__all__ = [
    "admin",
    "control_plane",
    "installed",
    "kstatus",
    "kubectl",
    "namespace",
    "oldest_installed",
    "policed",
]
