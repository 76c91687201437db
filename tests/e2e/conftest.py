"""Fixtures of tests with a real kubelet. The tests are skipped, with the reason, where no kubelet can run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.control_plane import admin, control_plane, kubectl, namespace
from tests.support.helm import helm
from tests.support.node import RealNode, why_not
from tests.support.node_images import NodeImages
from tests.support.release import operator_images, operator_on_node, release
from tests.support.rootfs import LayerError
from tests.support.torch_image import torch_packages

from gpuenv_sandbox.programs.catalogue import BinaryError

__all__ = [
    "admin",
    "control_plane",
    "helm",
    "kubectl",
    "namespace",
    "operator_images",
    "operator_on_node",
    "probe_images",
    "real_node",
    "release",
    "torch_wheel",
]


@pytest.fixture(scope="session")
def real_node(request: pytest.FixtureRequest) -> Iterator[RealNode]:
    """A Ready node on this machine that advertises one ``nvidia.com/gpu``, as if a device plug-in had done it."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    try:
        node = RealNode(request.getfixturevalue("control_plane"))
    except (BinaryError, LayerError) as error:
        pytest.skip(str(error))
    with node:
        node.advertise({"nvidia.com/gpu": "1"})
        yield node


@pytest.fixture(scope="session")
def probe_images(real_node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> NodeImages:
    """Images for probe pods, imported on the node. ``probe_images["no_torch"]`` is the full name of one of them."""
    return NodeImages(real_node, tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="session")
def torch_wheel() -> Path:
    """The directory with the packages of the real PyTorch 2.9.1+cu128."""
    try:
        return torch_packages()
    except LayerError as error:
        pytest.skip(str(error))
