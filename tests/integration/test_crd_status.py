"""The status of a GPUEnvironment on the real API server: kept whole, shown at a glance, and waited for."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.builders import IMAGE, environment
from tests.support.cluster import Kubectl
from tests.support.wait import PATIENTLY, wait_until

from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

PATH = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
NAME = "status-shown"


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        condition("Accepted", "True", "SpecAccepted"),
        condition("Ready", "True", "AllAnswered"),
        condition("Compatible", "False", "SomeIncompatible"),
        condition("Consistent", "Unknown", "ContentUnknown"),
        condition("Published", "True", "UpToDate"),
        condition("Stalled", "False", "SpecAccepted"),
    ],
    "summary": {
        "selected": 12,
        "compatible": 9,
        "degraded": 1,
        "incompatible": 2,
        "unknown": 0,
        "running": 0,
        "waiting": 0,
    },
    "image": {
        "requested": IMAGE,
        "digests": [{"digest": "sha256:0", "platform": "linux/amd64", "nodeCount": 12}],
    },
    "problems": [
        {
            "reason": "ArchNotInBuild",
            "verdict": "Incompatible",
            "nodeCount": 2,
            "nodes": ["a", "b"],
            "message": "m",
            "remedies": [{"action": "ChangeImage", "message": "r", "parameters": {"cuda": "12.6"}}],
        }
    ],
    "placement": {
        "require": {"nodeSelector": {f"compat.gpuenv.dev/{NAME}": "Compatible"}},
        "tolerant": {"affinity": {"nodeAffinity": {"requiredDuringScheduling": []}}},
        "avoid": {"affinity": {"nodeAffinity": {"requiredDuringScheduling": []}}},
    },
    "observedRevalidate": "1",
    "internal": {"anything": {"at": ["all"]}},
}


@pytest.fixture
def stored(installed: ControlPlane) -> Iterator[str]:
    admin = installed.admin
    admin.create(PATH, environment(NAME))
    admin.merge(f"{PATH}/{NAME}/status", {"status": STATUS})
    yield f"{PATH}/{NAME}"
    admin.delete(f"{PATH}/{NAME}")


def test_every_field_of_the_status_is_kept(stored: str, admin: RestClient) -> None:
    assert admin.get(stored)["status"] == STATUS


def test_a_status_does_not_change_the_generation(stored: str, admin: RestClient) -> None:
    assert admin.get(stored)["metadata"]["generation"] == 1


def test_kubectl_get_answers_the_question_at_a_glance(stored: str, kubectl: Kubectl) -> None:
    header, row = (line.split() for line in kubectl("get", "genv", NAME).splitlines())
    counts = ["NODES", "COMPATIBLE", "DEGRADED", "INCOMPATIBLE", "UNKNOWN"]
    assert header == ["NAME", "READY", *counts, "PROBLEM", "AGE"]
    assert row[:8] == [NAME, "True", "12", "9", "1", "2", "0", "ArchNotInBuild"]

    header, row = (line.split() for line in kubectl("get", "genv", NAME, "-o", "wide").splitlines())
    assert header[9:] == ["RUNNING", "CONSISTENT", "PUBLISHED", "IMAGE"]
    assert row[9:] == ["0", "Unknown", "True", IMAGE]


def test_the_columns_fit_a_screen_with_the_longest_name(installed: ControlPlane, kubectl: Kubectl) -> None:
    name = "e" * 50
    installed.admin.create(PATH, environment(name))
    status = STATUS | {"problems": [{"reason": "ForwardCompatUnsupported", "nodeCount": 1}]}
    installed.admin.merge(f"{PATH}/{name}/status", {"status": status})
    try:
        lines = kubectl("get", "genv", name).splitlines()
    finally:
        installed.admin.delete(f"{PATH}/{name}")
    assert max(map(len, lines)) <= 160, lines


def test_kubectl_wait_follows_the_conditions(stored: str, kubectl: Kubectl) -> None:
    kubectl("wait", "--for=condition=Ready", PATIENTLY, f"genv/{NAME}")
    kubectl("wait", "--for=condition=Compatible=False", PATIENTLY, f"genv/{NAME}")


def test_kubectl_explain_knows_the_fields(installed: ControlPlane, kubectl: Kubectl) -> None:
    """Once the API server has published them, which takes it a few seconds after it accepted the kinds."""

    def explained(field: str, words: str) -> bool:
        return words in " ".join(kubectl.run("explain", field).stdout.split())

    wait_until(lambda: explained("genv.spec.expect", "PEP 440 specifiers"))
    wait_until(lambda: explained("gnr.status.checks", "with the worst first"))
