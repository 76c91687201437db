"""Fixtures that install gpuenv's CRDs, namespaces, permissions and policies into control planes."""

import os
from collections.abc import Iterator
from functools import partial

import pytest
import yaml
from tests.support.cluster import Kubectl
from tests.support.wait import wait_until

from gpuenv import manifests
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.programs import binaries, catalogue
from gpuenv_sandbox.session import is_established

BUILD_OLDEST = "GPUENV_BUILD_OLDEST_KUBERNETES"
"""Environment variable that makes the tests of policies build the oldest supported Kubernetes if it is missing."""


def oldest_is_available() -> bool:
    """Return whether the oldest Kubernetes that the chart admits is on this machine, or may be built."""
    if os.environ.get(BUILD_OLDEST):
        return True
    wanted = ("kube-apiserver", *catalogue.CONTROLLERS)
    try:
        return all(binaries.find(one, catalogue.OLDEST_KUBERNETES) for one in wanted)
    except catalogue.BinaryError:
        return False


OPERATOR_ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"

VERSIONS = ("newest", "oldest") if oldest_is_available() else ("newest",)
"""The Kubernetes versions against which policies are tried."""


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with both CRDs established and all manifests applied."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def oldest_installed() -> Iterator[ControlPlane]:
    """A control plane of the oldest Kubernetes that the chart admits, with the same objects."""
    try:
        cluster = ControlPlane(programs=catalogue.OLDEST_KUBERNETES).start()
    except catalogue.BinaryError as error:
        pytest.skip(str(error))
    with cluster:
        install(cluster)
        yield cluster
        cluster.check()


@pytest.fixture(scope="session", params=VERSIONS)
def policed(request: pytest.FixtureRequest) -> ControlPlane:
    """A control plane with gpuenv's policies in force: the newest Kubernetes, then the oldest if it is available."""
    cluster: ControlPlane = request.getfixturevalue(
        "installed" if request.param == "newest" else "oldest_installed"
    )
    wait_until(partial(_policies_are_in_force, cluster))
    return cluster


def install(cluster: ControlPlane) -> None:
    """Create gpuenv's objects in a control plane, and wait until the API server serves the new kinds."""
    kubectl = Kubectl(cluster)
    schemas = manifests.crds()
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(schemas))
    for one in schemas:
        wait_until(partial(is_established, cluster.admin, one["metadata"]["name"]))
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests.load()))


def _policies_are_in_force(cluster: ControlPlane) -> bool:
    """Return whether the API server refuses what the policy refuses that was created last.

    It watches all policies and bindings together, so those that were created before are in force as well.
    """
    lease = ("create", "-f", "-", "--dry-run=server", "-n", OPERATOR_NAMESPACE, f"--as={OPERATOR_ACCOUNT}")
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "another"},
        "spec": {"holderIdentity": "nobody"},
    }
    return "ValidatingAdmissionPolicy" in Kubectl(cluster).run(*lease, stdin=yaml.safe_dump(body)).stderr
