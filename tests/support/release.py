"""Fixtures that build the operator's image from its Dockerfile and install the chart with Helm on a real node.

A conftest imports them. There is one release at a time: each test module installs and uninstalls its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.support import buildah
from tests.support.buildah import Buildah, requirements, wheels
from tests.support.cluster import Kubectl
from tests.support.helm import CHART, NAMESPACE, Helm
from tests.support.node import RealNode
from tests.support.rootfs import LayerError
from tests.support.wait import PATIENCE, PATIENTLY, wait_until

from gpuenv.api import names
from gpuenv_sandbox.control_plane.admin_client import ApiError
from gpuenv_sandbox.programs import catalogue

IMAGE = "localhost/gpuenv:test"
REFERENCE = "gpuenv.test/operator:v1"
SETTINGS = (
    "--set",
    "image.repository=gpuenv.test/operator,image.tag=v1,image.pullPolicy=Never,operator.retrySeconds=2",
)
PROBES = "gpuenv-probes"


@dataclass(frozen=True)
class Release:
    """An installed Helm release of gpuenv, with the means to inspect it."""

    helm: Helm
    kubectl: Kubectl
    node: RealNode

    def roll_out(self) -> None:
        """Wait until the operator's new pod is ready and no older one is left."""
        command = ("rollout", "status", "deployment/gpuenv-operator", "-n", NAMESPACE, "--timeout=2s")
        wait_until(lambda: self.kubectl.run(*command).returncode == 0, self.told)

    def answer(self, name: str, timeout: float = PATIENCE) -> dict[str, object]:
        """Wait until an environment is Ready, and return the status of its node report for the node."""
        command = ("wait", "--for=condition=Ready", f"genv/{name}", "--timeout=2s")
        wait_until(lambda: self.kubectl.run(*command).returncode == 0, self.told, timeout=timeout)
        return dict(self.kubectl.get("gnr", f"{name}.{self.node.name}")["status"])

    def label(self, name: str) -> str | None:
        """Return the value of the node's label for an environment, or None."""
        labels = self.kubectl.get("node", self.node.name)["metadata"]["labels"]
        return labels.get(names.node_label(name))

    def told(self) -> str:
        """Return objects, pods and the operator's log as text, for the message of a failed test."""
        environments = self.kubectl.run("get", "genv,gnr", "-o", "wide").stdout
        pods = self.kubectl.run("describe", "pods", "-n", NAMESPACE).stdout[-1500:]
        probes = self.kubectl.run("get", "pods", "-n", PROBES).stdout
        log = self.kubectl.run("logs", "-n", NAMESPACE, "deployment/gpuenv-operator", "--tail=20").stdout
        return "\n".join([environments, probes, log[-2500:], pods])


@pytest.fixture(scope="session")
def operator_images() -> Iterator[Buildah]:
    """An image store with the operator's image, built from operator/Dockerfile on a local base image."""
    if reason := buildah.why_not():
        pytest.skip(reason)
    try:
        base = buildah.local_base()
    except (LayerError, catalogue.BinaryError) as error:
        pytest.skip(str(error))
    with buildah.store() as store:
        local = store.base("localhost/base:1", base)
        arguments = {"BASE_IMAGE": local, "VERSION": "1.2.3", "REVISION": "abc"}
        pinned = [requirements("requirements.txt"), requirements("requirements-dev.txt", only="setuptools")]
        store.build("operator/Dockerfile", IMAGE, arguments, wheels(*pinned))
        yield store


@pytest.fixture(scope="session")
def operator_on_node(operator_images: Buildah, real_node: RealNode) -> RealNode:
    """The real node, after the operator's image was imported there."""
    archive = operator_images.save(IMAGE, REFERENCE)
    real_node.import_archive(archive)
    archive.unlink()
    return real_node


@pytest.fixture(scope="module")
def release(operator_on_node: RealNode, helm: Helm) -> Iterator[Release]:
    """The chart, installed and ready. At the end it is removed as a user would: first environments, then release."""
    with installed(operator_on_node, helm) as one:
        yield one
        one.kubectl("delete", "genv", "--all", PATIENTLY)
        one.helm("uninstall", "gpuenv", "-n", NAMESPACE, PATIENTLY)


@contextmanager
def installed(node: RealNode, helm: Helm, settings: Sequence[str] = SETTINGS) -> Iterator[Release]:
    """Install the chart with these flags of Helm, and uninstall it at the end, even after a failure."""
    one = Release(Helm(helm.program, node.cluster.admin_kubeconfig), Kubectl(node.cluster), node)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    try:
        node.cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    except ApiError as error:
        if error.status != 409:
            raise
    wait_until(lambda: not going(one.kubectl, PROBES))
    one.helm("install", "gpuenv", str(CHART), "-n", NAMESPACE, *settings)
    try:
        one.roll_out()
        yield one
    finally:
        one.helm.run("uninstall", "gpuenv", "-n", NAMESPACE, "--no-hooks")


def going(kubectl: Kubectl, namespace: str) -> bool:
    """Return whether a namespace is being deleted."""
    shown = kubectl.run("get", "namespace", namespace, "-o", "jsonpath={.status.phase}")
    return shown.returncode == 0 and shown.stdout == "Terminating"
