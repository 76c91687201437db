"""Real probe pods on a real kubelet: each image ends with a verdict and reason of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.environments import environment
from tests.support.installation import installed
from tests.support.node import RealNode
from tests.support.node_images import NodeImages
from tests.support.operator_process import operator
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.sandbox.controlplane import ControlPlane

__all__ = ["installed"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ANSWER_SECONDS = 240
ROOTS_PYTHON = {"probe__python": "/root/.venv/bin/python3"}
NO_SUCH_CLASS = {"probe__runtimeClassName": "not-there"}
LITTLE_MEMORY = {"probe__resources": {"limits": {"memory": "12Mi"}}}
QUICK = {"setupSeconds": 60, "pullSeconds": 60, "runSeconds": 60, "schedulingSeconds": 120}


@dataclass(frozen=True)
class Case:
    """One environment on the real node: which image, how it is probed, and how it must end."""

    image: str
    verdict: str
    reason: str
    spec: dict[str, Any] = field(default_factory=dict)


CASES = {
    "stand-in": Case("stand_in_torch", "Compatible", ""),
    "cpu-build": Case("cpu_torch", "Incompatible", "TorchCpuBuild"),
    "no-torch": Case("no_torch", "Incompatible", "TorchMissing"),
    "no-python": Case("no_python", "Unknown", "PythonMissing"),
    "roots-python": Case("root_only_python", "Unknown", "PythonUnreadable", ROOTS_PYTHON),
    "not-there": Case("gpuenv.test/not-there:1", "Unknown", "ImagePullFailed"),
    "no-runtime-class": Case("stand_in_torch", "Unknown", "ProbeRejected", NO_SUCH_CLASS),
    "little-memory": Case("stand_in_torch", "Unknown", "OomKilled", LITTLE_MEMORY),
}  # fmt: skip


@pytest.fixture(scope="module")
def operating(installed: ControlPlane, real_node: RealNode) -> Iterator[ControlPlane]:
    with operator(installed, "--log-level", "info"):
        yield installed


@pytest.fixture(scope="module")
def applied(operating: ControlPlane, probe_images: NodeImages) -> Iterator[Kubectl]:
    """All environments at once: the one GPU is theirs in turn."""
    kubectl = Kubectl(operating)
    objects = []
    for name, case in CASES.items():
        image = case.image if "/" in case.image else probe_images[case.image]
        spec = {"probe__timeouts": QUICK, "benchmarks__profile": "Off"} | case.spec
        objects.append(environment(name, image=image, **spec))
    kubectl.apply(*objects)
    yield kubectl
    kubectl("delete", "genv", "--all", "--timeout=60s")


@pytest.mark.parametrize("name", CASES)
def test_each_image_ends_with_its_own_verdict(applied: Kubectl, real_node: RealNode, name: str) -> None:
    case = CASES[name]
    report = f"gnr/{name}.{real_node.name}"

    def answered() -> bool:
        result = applied.run("wait", "--for=condition=Ready", f"genv/{name}", "--timeout=2s")
        return result.returncode == 0

    wait_until(answered, ANSWER_SECONDS, lambda: applied.get(f"genv/{name}")["status"])
    status = applied.get(report)["status"]
    assert (status["verdict"], status.get("reason", "")) == (case.verdict, case.reason), status
    assert "Traceback" not in str(status.get("message", ""))
    label = applied.get(f"node/{real_node.name}")["metadata"]["labels"][names.node_label(name)]
    assert label == case.verdict


def test_people_see_it_at_a_glance(applied: Kubectl, real_node: RealNode) -> None:
    applied("wait", "--for=condition=Compatible", "genv/stand-in", f"--timeout={ANSWER_SECONDS}s")
    table = applied("get", "gnr", "-o", "wide")
    assert real_node.name in table and "Compatible" in table
    described = applied("describe", "genv/cpu-build")
    assert "TorchCpuBuild" in described


def test_deleting_an_environment_removes_all_that_was_made_for_it(
    applied: Kubectl, real_node: RealNode
) -> None:
    name = "no-torch"
    applied("delete", f"genv/{name}", "--timeout=60s")

    def nothing_left() -> bool:
        labels = applied.get(f"node/{real_node.name}")["metadata"]["labels"]
        selector = f"{names.LABEL_ENVIRONMENT}={name}"
        pods = applied.get("pods", "-A", "-l", selector)["items"]
        reports = applied.get("gnr", "-l", selector)["items"]
        return names.node_label(name) not in labels and not pods and not reports

    wait_until(nothing_left, 60)
    assert applied.run("get", f"gnr/cpu-build.{real_node.name}").returncode == 0
