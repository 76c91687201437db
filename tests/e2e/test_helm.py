"""The way people meet gpuenv: its image, its chart, a cluster with a kubelet. Built, installed, used, removed."""

import time
from collections.abc import Iterator

import pytest
from tests.support import buildah
from tests.support.buildah import Buildah, BuildError, requirements, wheels
from tests.support.cluster import Kubectl
from tests.support.environments import environment
from tests.support.helm import CHART, NAMESPACE, Helm, helm
from tests.support.node import RealNode
from tests.support.node_images import NodeImages
from tests.support.rootfs import LayerError
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.sandbox import binaries

__all__ = ["helm"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

IMAGE = "localhost/gpuenv:test"
REFERENCE = "gpuenv.test/operator:v1"
SETTINGS = (
    "--set",
    "image.repository=gpuenv.test/operator,image.tag=v1,image.pullPolicy=Never,operator.retrySeconds=2",
)


@pytest.fixture(scope="module")
def images() -> Iterator[Buildah]:
    """The operator's image, built from operator/Dockerfile on a local base."""
    if reason := buildah.why_not():
        pytest.skip(reason)
    try:
        base = buildah.local_base()
    except (LayerError, binaries.BinaryError) as error:
        pytest.skip(str(error))
    with buildah.store() as store:
        local = store.base("localhost/base:1", base)
        arguments = {"BASE_IMAGE": local, "VERSION": "1.2.3", "REVISION": "abc"}
        pinned = [requirements("requirements.txt"), requirements("requirements-dev.txt", only="setuptools")]
        store.build("operator/Dockerfile", IMAGE, arguments, wheels(*pinned))
        yield store


@pytest.fixture(scope="module")
def installed(images: Buildah, real_node: RealNode, helm: Helm) -> Iterator[tuple[Helm, Kubectl]]:
    """The chart, installed with that image; ready."""
    archive = images.save(IMAGE, REFERENCE)
    real_node.import_archive(archive)
    archive.unlink()
    helm = Helm(helm.program, real_node.cluster.admin_kubeconfig)
    kubectl = Kubectl(real_node.cluster)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    real_node.cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    helm("install", "gpuenv", str(CHART), "-n", NAMESPACE, *SETTINGS)
    wait_until(lambda: rolled_out(kubectl), 180, lambda: told(kubectl))
    yield helm, kubectl
    helm.run("uninstall", "gpuenv", "-n", NAMESPACE, "--no-hooks")


def rolled_out(kubectl: Kubectl) -> bool:
    command = ("rollout", "status", "deployment/gpuenv-operator", "-n", NAMESPACE, "--timeout=2s")
    return kubectl.run(*command).returncode == 0


def told(kubectl: Kubectl) -> object:
    pods = kubectl.run("describe", "pods", "-n", NAMESPACE).stdout[-2500:]
    return pods + kubectl.run("logs", "-n", NAMESPACE, "deployment/gpuenv-operator", "--tail=20").stdout


def test_the_image_is_what_it_says(images: Buildah) -> None:
    config = images.config(IMAGE)
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["gpuenv"], ["operator"])
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert images.run(IMAGE, "id", "-u").strip() == "65532"
    assert images.run(IMAGE, "gpuenv", "--version").startswith("gpuenv, version")


def test_the_image_has_no_installer_and_writes_nothing_into_itself(images: Buildah) -> None:
    with pytest.raises(BuildError):
        images.run(IMAGE, "/opt/gpuenv/bin/python", "-m", "pip", "--version")
    writable = images.run(IMAGE, "find", "/opt/gpuenv", "-writable", "-not", "-type", "l")
    assert writable.strip() == ""


def test_helm_test_passes(installed: tuple[Helm, Kubectl]) -> None:
    helm, _ = installed
    assert "Phase:          Succeeded" in helm("test", "gpuenv", "-n", NAMESPACE)


def test_an_environment_gets_its_verdict(
    installed: tuple[Helm, Kubectl], real_node: RealNode, probe_images: NodeImages
) -> None:
    _, kubectl = installed
    kubectl.apply(environment("by-helm", image=probe_images["stand_in_torch"], benchmarks__profile="Off"))
    wait_until(lambda: ready(kubectl, "by-helm"), 240, lambda: told(kubectl))
    assert verdict(kubectl, real_node, "by-helm") == "Compatible"
    labels = kubectl.get("node", real_node.name)["metadata"]["labels"]
    assert labels[names.node_label("by-helm")] == "Compatible"


def test_an_upgrade_in_the_middle_loses_nothing_and_runs_nothing_twice(
    installed: tuple[Helm, Kubectl], real_node: RealNode, probe_images: NodeImages
) -> None:
    helm, kubectl = installed
    kubectl.apply(environment("upgraded", image=probe_images["no_torch"], benchmarks__profile="Off"))
    wait_until(lambda: kubectl.get("pods", "-n", "gpuenv-probes")["items"], 60, lambda: told(kubectl))
    helm("upgrade", "gpuenv", str(CHART), "-n", NAMESPACE, *SETTINGS, "--set", "operator.maxProbes=7")
    wait_until(lambda: rolled_out(kubectl), 180, lambda: told(kubectl))
    wait_until(lambda: ready(kubectl, "upgraded"), 240, lambda: told(kubectl))
    status = kubectl.get("gnr", f"upgraded.{real_node.name}")["status"]
    assert (status["verdict"], status["reason"], status["runs"]) == ("Incompatible", "TorchMissing", 1)
    assert kubectl.get("gnr", f"by-helm.{real_node.name}")["status"]["runs"] == 1
    assert verdict(kubectl, real_node, "by-helm") == "Compatible"


def test_an_uninstall_takes_back_what_was_put_on_nodes(
    installed: tuple[Helm, Kubectl], real_node: RealNode
) -> None:
    helm, kubectl = installed
    started = time.monotonic()
    helm("uninstall", "gpuenv", "-n", NAMESPACE, "--timeout", "4m")
    assert time.monotonic() - started < 200
    labels = kubectl.get("node", real_node.name)["metadata"]["labels"]
    assert not [key for key in labels if key.startswith(names.COMPAT_PREFIX)]
    kept = kubectl.get("genv")["items"]
    assert {one["metadata"]["name"] for one in kept} == {"by-helm", "upgraded"}
    assert not [one for one in kept if one["metadata"].get("finalizers")]
    assert kubectl.get("deployments,jobs", "-n", NAMESPACE)["items"] == []
    kubectl("delete", "genv", "--all", "--timeout=30s")
    # It stays, with people's Secrets; the next tests start without it.
    kubectl("delete", "namespace", "gpuenv-probes", "--timeout=50s")


def ready(kubectl: Kubectl, name: str) -> bool:
    return kubectl.run("wait", "--for=condition=Ready", f"genv/{name}", "--timeout=2s").returncode == 0


def verdict(kubectl: Kubectl, node: RealNode, name: str) -> str:
    return str(kubectl.get("gnr", f"{name}.{node.name}")["status"]["verdict"])
