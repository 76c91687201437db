"""The real scheduler places the example Deployments by the label that verdicts are published as."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api import names
from gpuenv_sandbox.control_plane.admin_client import RestClient

EXAMPLES = Path(__file__).parents[2] / "examples/scheduling"
LABEL = names.node_label("pytorch-2-9")
VERDICTS = ("Compatible", "Degraded", "Incompatible", "Unknown", None)
"""None: not judged yet, so without the label."""


@pytest.fixture
def fleet(admin: RestClient) -> Iterator[dict[str | None, str]]:
    """One node with one GPU for each verdict."""
    group = unique("fleet")
    nodes = {verdict: f"{(verdict or 'unlabelled').lower()}-{group}" for verdict in VERDICTS}
    quantities = {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "1"}
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": ""}
    for verdict, name in nodes.items():
        labels = {"test": group} | ({LABEL: verdict} if verdict else {})
        admin.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        status = {"capacity": quantities, "allocatable": quantities, "conditions": [ready]}
        admin.merge(f"/api/v1/nodes/{name}/status", {"status": status})
    yield nodes
    for name in nodes.values():
        admin.delete(f"/api/v1/nodes/{name}")


@pytest.mark.parametrize(
    ("example", "allowed"),
    [
        ("deployment-require.yaml", {"Compatible"}),
        ("deployment-tolerant.yaml", {"Compatible", "Degraded"}),
        ("deployment-avoid.yaml", {"Compatible", "Degraded", "Unknown", None}),
    ],
)
def test_a_workload_lands_only_where_it_may(
    admin: RestClient,
    namespace: str,
    fleet: dict[str | None, str],
    example: str,
    allowed: set[str | None],
) -> None:
    deployment = yaml.safe_load((EXAMPLES / example).read_text(encoding="utf-8"))
    deployment["spec"]["replicas"] = len(fleet)
    pod = deployment["spec"]["template"]["spec"]
    # A node without a kubelet stays tainted for a while, and other tests may have nodes of their own.
    pod["tolerations"] += [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    pod["nodeSelector"] = pod.get("nodeSelector", {}) | {"test": fleet["Compatible"].partition("-")[2]}
    admin.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment)

    placed = wait_until(lambda: decided(admin, namespace, len(fleet)))
    assert sorted(filter(None, placed)) == sorted(fleet[verdict] for verdict in allowed)
    assert placed.count(None) == len(fleet) - len(allowed)


def decided(admin: RestClient, namespace: str, replicas: int) -> list[str | None]:
    """The node of each pod, None where the scheduler found none, once it has looked at all of them."""
    pods: list[dict[str, Any]] = admin.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert len(pods) == replicas
    for pod in pods:
        conditions = {one["type"]: one for one in pod["status"].get("conditions", [])}
        assert "PodScheduled" in conditions
        assert pod["spec"].get("nodeName") or conditions["PodScheduled"]["reason"] == "Unschedulable"
    return [pod["spec"].get("nodeName") for pod in pods]
