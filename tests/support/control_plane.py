"""The fixtures that tests against a real API server share; conftest files import them."""

from collections.abc import Iterator

import pytest
from tests.support.cluster import Kubectl
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv_sandbox.control_plane.admin_client import ApiError, RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.programs.catalogue import BinaryError


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A whole control plane with controllers, one for all tests: make names unique, or use ``namespace``."""
    try:
        cluster = ControlPlane().start()
    except BinaryError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster
        cluster.check()


@pytest.fixture
def admin(control_plane: ControlPlane) -> RestClient:
    """A blocking client with full rights."""
    return control_plane.admin


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl with full rights."""
    return Kubectl(control_plane)


@pytest.fixture
def namespace(admin: RestClient) -> Iterator[str]:
    """A fresh namespace, in which pods can be created at once; deleted afterwards."""
    name = unique("test")
    admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    wait_until(lambda: _exists(admin, f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    yield name
    admin.delete(f"/api/v1/namespaces/{name}")


def _exists(admin: RestClient, path: str) -> bool:
    try:
        admin.get(path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
