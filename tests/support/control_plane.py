"""The fixtures that tests against a real API server share. The conftest.py files import them."""

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
    """A control plane with controllers, which all tests share.

    So tests must use unique names, or the fixture ``namespace``.
    """
    try:
        cluster = ControlPlane().start()
    except BinaryError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster
        cluster.check()


@pytest.fixture
def admin(control_plane: ControlPlane) -> RestClient:
    """A blocking client of the shared control plane, with full rights."""
    return control_plane.admin


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl for the shared control plane, with full rights."""
    return Kubectl(control_plane)


@pytest.fixture
def namespace(admin: RestClient) -> Iterator[str]:
    """The name of a new namespace in which pods can be created. It is deleted after the test."""
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
