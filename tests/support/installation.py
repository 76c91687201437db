"""A fixture that installs gpuenv's CRDs, namespaces and permissions into the shared control plane."""

import pytest
import yaml
from tests.support.cluster import Kubectl
from tests.support.wait import PATIENTLY

from gpuenv import manifests
from gpuenv_sandbox.control_plane.cluster import ControlPlane


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with both CRDs established and all manifests applied."""
    kubectl = Kubectl(control_plane)
    schemas = manifests.crds()
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(schemas))
    kubectl(
        "wait",
        "--for=condition=Established",
        PATIENTLY,
        *(f"crd/{one['metadata']['name']}" for one in schemas),
    )
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests.load()))
    return control_plane
