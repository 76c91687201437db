"""The way people meet gpuenv: its image, its chart, a cluster with a kubelet. Built, installed, used, removed."""

from collections.abc import Iterator

import pytest
from tests.support.buildah import Buildah, BuildError
from tests.support.builders import environment
from tests.support.helm import CHART, NAMESPACE, Helm
from tests.support.node import RealNode
from tests.support.node_images import NodeImages
from tests.support.release import IMAGE, SETTINGS, Release, going, installed
from tests.support.wait import PATIENTLY, wait_until

from gpuenv.api import names

pytestmark = pytest.mark.e2e

SLOW_TO_RETRY = (*SETTINGS, "--set", "operator.retrySeconds=3600")
"""So that a run is counted once, however long an upgrade takes."""


@pytest.fixture(scope="module")
def release(operator_on_node: RealNode, helm: Helm) -> Iterator[Release]:
    """A release of this module's own, because the last test takes it away."""
    with installed(operator_on_node, helm, SLOW_TO_RETRY) as one:
        yield one


def test_the_image_is_what_it_says(operator_images: Buildah) -> None:
    config = operator_images.config(IMAGE)
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["gpuenv"], ["operator"])
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert operator_images.run(IMAGE, "id", "-u").strip() == "65532"
    assert operator_images.run(IMAGE, "gpuenv", "--version").startswith("gpuenv, version")


def test_the_image_has_no_sandbox_and_says_what_to_do(operator_images: Buildah) -> None:
    with pytest.raises(
        BuildError, match=r"sandbox needs the module gpuenv_sandbox.*`make sandbox` in a checkout"
    ):
        operator_images.run(IMAGE, "gpuenv", "sandbox")
    script = "import cryptography"
    with pytest.raises(BuildError, match="No module named 'cryptography'"):
        operator_images.run(IMAGE, "/opt/gpuenv/bin/python", "-c", script)


def test_the_image_has_no_installer_and_writes_nothing_into_itself(operator_images: Buildah) -> None:
    with pytest.raises(BuildError):
        operator_images.run(IMAGE, "/opt/gpuenv/bin/python", "-m", "pip", "--version")
    writable = operator_images.run(IMAGE, "find", "/opt/gpuenv", "-writable", "-not", "-type", "l")
    assert writable.strip() == ""


def test_helm_test_passes(release: Release) -> None:
    assert "Phase:          Succeeded" in release.helm("test", "gpuenv", "-n", NAMESPACE)


def test_an_environment_gets_its_verdict(release: Release, probe_images: NodeImages) -> None:
    release.kubectl.apply(
        environment("by-helm", image=probe_images["stand_in_torch"], benchmarks__profile="None")
    )
    assert release.answer("by-helm")["verdict"] == "Compatible"
    assert release.label("by-helm") == "Compatible"


def test_an_upgrade_in_the_middle_loses_nothing_and_runs_nothing_twice(
    release: Release, probe_images: NodeImages
) -> None:
    """The probe hangs for its twenty seconds while one operator goes and the next one comes."""
    helm, kubectl = release.helm, release.kubectl
    timeouts = {"setupSeconds": 300, "pullSeconds": 300, "runSeconds": 20}
    hangs = {"benchmarks__profile": "None", "probe__timeouts": timeouts}
    kubectl.apply(environment("upgraded", image=probe_images["hangs_in_a_kernel"], **hangs))
    wait_until(lambda: phases(release, "upgraded") == ["Running"], release.told)
    helm("upgrade", "gpuenv", str(CHART), "-n", NAMESPACE, *SLOW_TO_RETRY, "--set", "operator.maxProbes=7")
    release.roll_out()
    status = release.answer("upgraded")
    assert (status["verdict"], status["reason"], status["internal"]["runs"]) == ("Unknown", "ProbeTimeout", 1)
    kept = kubectl.get("gnr", f"by-helm.{release.node.name}")["status"]
    assert (kept["verdict"], kept["internal"]["runs"]) == ("Compatible", 1)
    assert release.label("by-helm") == "Compatible"


def test_an_uninstall_takes_back_what_was_put_on_nodes(release: Release) -> None:
    helm, kubectl = release.helm, release.kubectl
    helm("uninstall", "gpuenv", "-n", NAMESPACE, PATIENTLY)
    labels = kubectl.get("node", release.node.name)["metadata"]["labels"]
    assert not [key for key in labels if key.startswith(names.COMPAT_PREFIX)]
    kept = kubectl.get("genv")["items"]
    assert {one["metadata"]["name"] for one in kept} == {"by-helm", "upgraded"}
    assert not [one for one in kept if one["metadata"].get("finalizers")]
    assert kubectl.get("deployments,jobs", "-n", NAMESPACE)["items"] == []
    assert kubectl.run("get", "pods", "-n", "gpuenv-probes", "-o", "name").stdout == ""
    kubectl("delete", "genv", "--all", PATIENTLY)
    wait_until(lambda: not going(kubectl, "gpuenv-probes"))


def phases(release: Release, name: str) -> list[str]:
    """The phases of an environment's probe pods."""
    selector = f"{names.LABEL_ENVIRONMENT}={name}"
    pods = release.kubectl.get("pods", "-n", "gpuenv-probes", "-l", selector)["items"]
    return [one["status"]["phase"] for one in pods]
