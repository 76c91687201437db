"""Real probe pods on a real kubelet: each image ends with a verdict and reason of its own."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.builders import environment
from tests.support.node_images import ROOTS_PYTHON, NodeImages
from tests.support.release import Release
from tests.support.wait import PATIENCE, PATIENTLY, wait_until

from gpuenv.api import names

pytestmark = pytest.mark.e2e

ALL_SECONDS = 4 * PATIENCE
"""For all environments: whichever is asked for first may be the last to get the GPU."""
ROOTS = {"probe__python": ROOTS_PYTHON}
NO_SUCH_CLASS = {"probe__runtimeClassName": "nvidia-legacy"}
BEHIND_ENTRYPOINT = {"probe__useEntrypoint": True}
LITTLE_MEMORY = {"probe__resources": {"limits": {"memory": "12Mi"}}}
WRITES = {
    "checks__imports": ["writes"],
    "checks__commands": [{"name": "writes", "command": ["touch", "/var/tmp/checked"]}],
}
WRITABLE = {"probe__rootFilesystem": "Writable"}
TIMEOUTS = {"setupSeconds": 300, "pullSeconds": 300, "runSeconds": 300, "schedulingSeconds": int(ALL_SECONDS)}
LITTLE_TIME = {"probe__timeouts": TIMEOUTS | {"runSeconds": 10}}


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
    "roots-python": Case("root_only_python", "Unknown", "PythonUnreadable", ROOTS),
    "entrypoint": Case("needs_entrypoint", "Compatible", "", BEHIND_ENTRYPOINT),
    "past-entrypoint": Case("needs_entrypoint", "Incompatible", "TorchMissing"),
    "writes": Case("writes_outside_tmp", "Unknown", "ReadOnlyFilesystem", WRITES),
    "entrypoint-writes": Case("writes_outside_tmp", "Unknown", "ProbeCrashed", BEHIND_ENTRYPOINT),
    "may-write": Case("writes_outside_tmp", "Compatible", "", WRITES | BEHIND_ENTRYPOINT | WRITABLE),
    "hangs-at-once": Case("hangs_at_once", "Unknown", "ProbeTimeout", LITTLE_TIME),
    "hangs-in-kernel": Case("hangs_in_a_kernel", "Unknown", "ProbeTimeout", LITTLE_TIME),
    "not-there": Case("gpuenv.test/not-there:1", "Unknown", "ImagePullFailed"),
    "no-runtime-class": Case("stand_in_torch", "Unknown", "ProbeRejected", NO_SUCH_CLASS),
    "little-memory": Case("stand_in_torch", "Unknown", "OomKilled", LITTLE_MEMORY),
}  # fmt: skip


@pytest.fixture(scope="module")
def applied(release: Release, probe_images: NodeImages) -> Release:
    """All environments at once: the one GPU is theirs in turn."""
    objects = []
    for name, case in CASES.items():
        image = case.image if "/" in case.image else probe_images[case.image]
        spec = {"probe__timeouts": TIMEOUTS, "benchmarks__profile": "None"} | case.spec
        objects.append(environment(name, image=image, **spec))
    release.kubectl.apply(*objects)
    return release


@pytest.mark.parametrize("name", CASES)
def test_each_image_ends_with_its_own_verdict(applied: Release, name: str) -> None:
    case = CASES[name]
    status = applied.answer(name, ALL_SECONDS)
    assert (status["verdict"], status.get("reason", "")) == (case.verdict, case.reason), status
    assert "Traceback" not in str(status.get("message", ""))
    assert applied.label(name) == case.verdict


def test_an_entry_point_that_may_not_write_is_explained(applied: Release) -> None:
    status = applied.answer("entrypoint-writes", ALL_SECONDS)
    assert "set spec.probe.rootFilesystem: Writable" in str(status["message"])


def test_people_see_it_at_a_glance(applied: Release) -> None:
    kubectl = applied.kubectl
    kubectl("wait", "--for=condition=Compatible", "genv/stand-in", PATIENTLY)
    table = kubectl("get", "gnr", "-o", "wide")
    assert applied.node.name in table and "Compatible" in table
    described = kubectl("describe", "genv/cpu-build")
    assert "TorchCpuBuild" in described


def test_deleting_an_environment_removes_all_that_was_made_for_it(applied: Release) -> None:
    name, kubectl = "no-torch", applied.kubectl
    kubectl("delete", f"genv/{name}", PATIENTLY)

    def nothing_left() -> bool:
        selector = f"{names.LABEL_ENVIRONMENT}={name}"
        pods = kubectl.get("pods", "-A", "-l", selector)["items"]
        reports = kubectl.get("gnr", "-l", selector)["items"]
        return applied.label(name) is None and not pods and not reports

    wait_until(nothing_left)
    assert kubectl.run("get", f"gnr/cpu-build.{applied.node.name}").returncode == 0
