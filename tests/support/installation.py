"""A fixture that installs gpuenv's CRDs, namespaces and permissions into the shared control plane."""

from functools import partial

import pytest
import yaml
from tests.support.cluster import Kubectl
from tests.support.wait import wait_until

from gpuenv import manifests
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.session import is_established


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with both CRDs established and all manifests applied."""
    kubectl = Kubectl(control_plane)
    schemas = manifests.crds()
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(schemas))
    for one in schemas:
        wait_until(partial(is_established, control_plane.admin, one["metadata"]["name"]))
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests.load()))
    return control_plane
