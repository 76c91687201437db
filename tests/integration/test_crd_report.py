"""GPUNodeReports on the real API server: identity, status, selection by field, and what is shown."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv.api.objects import is_genuine
from gpuenv_sandbox.control_plane.admin_client import ApiError, RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

PATH = "/apis/gpuenv.dev/v1alpha1/gpunodereports"

REMEDY: dict[str, Any] = {
    "action": "ChangeImage",
    "message": "Use an image built for CUDA 12.6.",
    "parameters": {"cuda": "12.6"},
}
STATUS: dict[str, Any] = {
    "verdict": "Incompatible",
    "reason": "ArchNotInBuild",
    "message": "sm_61 is not among the build's targets.",
    "remedies": [REMEDY],
    "checks": [
        {
            "name": "architecture",
            "status": "Fail",
            "reason": "ArchNotInBuild",
            "message": "sm_61 is not among the build's targets.",
            "remedies": [REMEDY],
            "source": "https://github.com/pytorch/pytorch/blob/main/RELEASE.md",
        },
        {"name": "driver-version", "status": "Pass"},
    ],
    "facts": {
        "container": {"python": "3.11.7", "env": {"NVIDIA_VISIBLE_DEVICES": "all"}},
        "driver": {
            "version": "570.86.15",
            "cuInit": 0,
            "deviceNodes": [{"path": "/dev/nvidia0", "errno": 0}],
        },
        "torch": {"version": "2.9.1+cu128", "cuda": "12.8", "available": None},
        "stages": ["facts", "kernels"],
        "omitted": ["warnings"],
    },
    "gpus": [{"index": 0, "product": "NVIDIA GeForce GTX 1080 Ti", "health": {"throttleReasons": 0}}],
    "steps": [{"name": "matmul", "gpu": 0, "status": "Fail", "error": {"layer": "cudart", "code": 209}}],
    "commands": [],
    "benchmarks": [{"benchmark": "MatMul", "gpu": 0, "median": 10.5}],
    "image": {"digest": "sha256:" + "0" * 64, "platform": "linux/amd64"},
    "basis": "Measured",
    "versions": {
        "driver": "570.86.15",
        "pytorch": "2.9.1+cu128",
        "cuda": "12.8",
        "cudnn": "9.10.2",
        "nccl": "2.27.5",
        "python": "3.11.7",
    },
    "validationTime": "2026-01-01T00:00:00Z",
    "observedRevalidate": "",
    "environmentGeneration": 3,
    "lastResult": {"verdict": "Incompatible", "reason": "ArchNotInBuild", "message": "m"},
    "lastAttempt": {"time": "2026-01-01T00:00:00Z", "count": 1, "reason": "GpusBusy", "message": ""},
    "internal": {"anything": {"at": ["all"]}},
    "conditions": [
        {
            "type": "Validated",
            "status": "True",
            "reason": "Measured",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 3,
        }
    ],
}


def report(environment: str = "pytorch-2-9", node: str = "node-1") -> dict[str, Any]:
    return {
        "apiVersion": "gpuenv.dev/v1alpha1",
        "kind": "GPUNodeReport",
        "metadata": {"name": f"{environment}.{node}"},
        "spec": {"environmentName": environment, "nodeName": node, "nodeUID": "1-2-3"},
    }


@pytest.fixture
def stored(installed: ControlPlane) -> Iterator[str]:
    """The path of a report that has a status."""
    admin = installed.admin
    created = admin.create(PATH, report())
    path = f"{PATH}/{created['metadata']['name']}"
    admin.merge(f"{path}/status", {"status": STATUS})
    yield path
    admin.delete(path)


def test_every_field_of_the_status_is_kept(stored: str, admin: RestClient) -> None:
    strictly = f"{stored}/status?fieldValidation=Strict"
    status = admin.merge(strictly, {"status": STATUS})["status"]
    expected = STATUS | {"facts": STATUS["facts"] | {"torch": {"version": "2.9.1+cu128", "cuda": "12.8"}}}
    assert status == expected, "a null in a merge patch removes its key; nothing else may be lost"


def test_the_status_cannot_be_forged_by_who_may_only_write_reports(stored: str, admin: RestClient) -> None:
    annotations = {"gpuenv.dev/revalidate": "1"}
    admin.merge(stored, {"status": {"verdict": "Compatible"}, "metadata": {"annotations": annotations}})
    read = admin.get(stored)
    assert read["status"]["verdict"] == "Incompatible"
    assert read["metadata"]["annotations"] == annotations


@pytest.mark.parametrize(
    "change",
    [{"environmentName": "other"}, {"nodeName": "other"}],
    ids=str,
)
def test_a_report_stays_about_its_environment_and_node(
    stored: str, admin: RestClient, change: dict[str, str]
) -> None:
    with pytest.raises(ApiError, match="delete it, and the operator makes a new one") as caught:
        admin.merge(stored, {"spec": change})
    assert f"spec.{next(iter(change))}" in caught.value.message


@pytest.mark.parametrize("name", ["other.node-1", "pytorch-2-9.node-2", "pytorch-2-9.node-1.copy"])
def test_a_report_has_the_name_of_its_environment_and_node(installed: ControlPlane, name: str) -> None:
    """A second report of the same node would be another answer to the same question."""
    forged = report() | {"metadata": {"name": name}}
    with pytest.raises(ApiError, match=r"metadata.name must be <spec.environmentName>.<spec.nodeName>"):
        installed.admin.create(PATH, forged)


@pytest.mark.parametrize("length", [253 - len("pytorch-2-9."), 253 - len("pytorch-2-9.") + 1, 253])
def test_the_operators_name_of_a_long_node_is_accepted(installed: ControlPlane, length: int) -> None:
    node = "n" * length
    given = report(node=node) | {"metadata": {"name": names.report_name("pytorch-2-9", node)}}
    assert is_genuine(installed.admin.create(PATH, given))
    installed.admin.delete(f"{PATH}/{given['metadata']['name']}")


@pytest.mark.parametrize("field", ["environmentName", "nodeName", "nodeUID"])
def test_the_identity_is_required(installed: ControlPlane, field: str) -> None:
    incomplete = report()
    del incomplete["spec"][field]
    with pytest.raises(ApiError, match=f"spec.{field}: Required value"):
        installed.admin.create(PATH, incomplete)


def test_an_unknown_verdict_is_refused(stored: str, admin: RestClient) -> None:
    with pytest.raises(ApiError, match=r'status\.verdict: Unsupported value: "Fine"'):
        admin.merge(f"{stored}/status", {"status": {"verdict": "Fine"}})


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        ("spec.environmentName=pytorch-2-9,status.verdict=Incompatible", 1),
        ("spec.nodeName=node-1", 1),
        ("status.reason=ArchNotInBuild", 1),
        ("status.verdict=Compatible", 0),
    ],
)
def test_reports_are_selected_by_field(stored: str, kubectl: Kubectl, selector: str, count: int) -> None:
    # A watch cache serves lists, and may be a moment behind.
    wait_until(lambda: len(kubectl.get("gnr", "--field-selector", selector)["items"]) == count)


def test_kubectl_get_answers_the_question_at_a_glance(stored: str, kubectl: Kubectl) -> None:
    header, row = (line.split() for line in kubectl("get", "gnr", "pytorch-2-9.node-1").splitlines())
    assert header == ["NAME", "VERDICT", "REASON", "PRODUCT", "DRIVER", "VALIDATED"]
    assert row[1:4] == ["Incompatible", "ArchNotInBuild", "NVIDIA"]
    assert row[-2] == "570.86.15"

    wide = kubectl("get", "gnr", "pytorch-2-9.node-1", "-o", "wide")
    assert wide.split("\n")[0].split()[6:] == ["ENVIRONMENT", "NODE", "PYTORCH", "CUDA", "MESSAGE"]
    for shown in ("NVIDIA GeForce GTX 1080 Ti", "570.86.15", "2.9.1+cu128", " 12.8 ", "sm_61 is not among"):
        assert shown in wide


def test_the_columns_fit_a_screen_with_long_names(installed: ControlPlane, kubectl: Kubectl) -> None:
    """160 characters, with the name of a node on EKS, and with one of the longest reasons."""
    long = report("team-a-pytorch-2-9", "ip-10-20-30-40.eu-central-1.compute.internal")
    path = f"{PATH}/{installed.admin.create(PATH, long)['metadata']['name']}"
    status = STATUS | {"reason": "ForwardCompatUnsupported", "gpus": [{"product": "NVIDIA H100 80GB HBM3"}]}
    installed.admin.merge(f"{path}/status", {"status": status})
    try:
        lines = kubectl("get", "gnr", path.rpartition("/")[2]).splitlines()
    finally:
        installed.admin.delete(path)
    assert max(map(len, lines)) <= 160, lines


def test_one_category_lists_both_kinds(stored: str, kubectl: Kubectl) -> None:
    assert "gpunodereport.gpuenv.dev/pytorch-2-9.node-1" in kubectl("get", "gpuenv", "-o", "name")
