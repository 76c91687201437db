"""Preparations for all tests: signal handling as at a terminal, and downloads and builds that take minutes.

They take place before the first test, because the time limit of a test would be too short for them.
"""

import signal

import hypothesis
import pytest
from tests.support import buildah, registry, rootfs
from tests.support.node import why_not
from tests.torch_releases import releases

from gpuenv_sandbox.programs import binaries, catalogue
from gpuenv_sandbox.programs.go_toolchain import GoError

# No deadlines: a busy machine may need any time to generate and run an example. A failure prints how to repeat it.
hypothesis.settings.register_profile(
    "gpuenv", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gpuenv")


def pytest_configure() -> None:
    """Restore the default handling of signals that a shell makes a background process ignore.

    Child processes inherit ignored signals, so tests of what a program does on Ctrl-C would fail in the background
    (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_11).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Download or build the programs, image layers and PyTorch releases that the collected tests need."""
    if session.config.option.collectonly:
        return
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            programs = (
                [*catalogue.API_SERVER, *catalogue.CONTROLLERS]
                if {"control_plane", "cluster"} & fixtures
                else []
            )
            if "real_node" in fixtures and why_not() is None:
                programs += catalogue.NODE
                rootfs.python_layer()
            if "helm" in fixtures:
                programs.append("helm")
            binaries.ensure(programs)
            if "images" in fixtures and buildah.why_not() is None:
                buildah.local_base()
            if "probe_images" in fixtures and why_not() is None:
                rootfs.torch_layer()
            if "torch_python" in fixtures or ("torch_wheel" in fixtures and why_not() is None):
                releases.ensure(releases.release(releases.DEFAULT))
            if "registry_program" in fixtures:
                registry.program()
        except (catalogue.BinaryError, GoError, rootfs.LayerError, releases.UnavailableError):
            """The fixture raises the same error again. Most fixtures then skip their tests with this reason."""
