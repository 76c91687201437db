"""Tests against a real API server; skipped, with the reason, where its binaries cannot be had."""

from tests.support.control_plane import admin, control_plane, kubectl, namespace
from tests.support.installation import installed

__all__ = ["admin", "control_plane", "installed", "kubectl", "namespace"]
