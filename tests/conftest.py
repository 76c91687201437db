"""Before the first test: signals as at a terminal; what takes minutes, outside of any test's time limit."""

import signal

import hypothesis
import pytest
from tests.support import buildah, rootfs
from tests.support.node import why_not
from tests.torch_releases import releases

from gpuenv_sandbox.programs import binaries, catalogue

# On a busy machine an example may take any time, and drawing it too. A failure prints how to repeat it.
hypothesis.settings.register_profile(
    "gpuenv", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gpuenv")


def pytest_configure() -> None:
    """A run in the background inherits ignored signals and hands them on to every program it starts.

    Then Ctrl-C means nothing to the programs whose answer to Ctrl-C is tested
    (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_11).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the programs, image layers and releases of PyTorch that the collected tests will need."""
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
        except (catalogue.BinaryError, rootfs.LayerError, releases.UnavailableError):
            """The fixture meets it again, and skips its tests with this reason."""
