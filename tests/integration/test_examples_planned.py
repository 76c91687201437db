"""What the planner makes of each example fits the schemas, and the real API server admits the probe pods."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.builders import node

from gpuenv import knowledge
from gpuenv.api import names
from gpuenv.api.limits.limits import Limits, PullSecret
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.plan import planner
from gpuenv.plan.actions import CreatePod, Plan, WriteStatus
from gpuenv.plan.objects.records import environment_record, node_record
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Snapshot
from gpuenv_sandbox.control_plane.cluster import ControlPlane

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENTS = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
STRICT = "fieldValidation=Strict"
NOW = 1_800_000_000.0
ALL_FIELDS = Limits(
    pod_annotation_keys=("example.com/cost-centre",),
    pull_secrets=(PullSecret("team-registry", ("all-fields",)),),
)
"""The limits that allow the example with all fields. The defaults allow all others."""
PRODUCT = {"node.example.com/pool": "training", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}


@pytest.fixture(params=sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def environment(request: pytest.FixtureRequest, installed: ControlPlane) -> Iterator[dict[str, Any]]:
    """An example as the API server stores it, not suspended and with the finalizer, so that a run is due."""
    given = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    given["metadata"]["finalizers"] = [names.FINALIZER]
    given["spec"] |= {"suspend": False}
    path = f"{ENVIRONMENTS}/{given['metadata']['name']}"
    yield installed.admin.create(f"{ENVIRONMENTS}?{STRICT}", given)
    installed.admin.merge(path, {"metadata": {"finalizers": None}})
    installed.admin.delete(path)


def planned(environment: dict[str, Any]) -> Plan:
    record, gpu_node = environment_record(environment), node_record(node("gpu-1", labels=PRODUCT))
    settings = Settings(
        probe_namespace=PROBE_NAMESPACE, config_map="gpuenv-probe-0123456789", limits=ALL_FIELDS
    )
    snapshot = Snapshot({record.name: record}, {gpu_node.name: gpu_node}, {}, {}, settings)
    return planner.plan(snapshot, NOW, knowledge.load())


async def test_the_probe_pod_is_admitted(installed: ControlPlane, environment: dict[str, Any]) -> None:
    """By the operator's rights and under `restricted` Pod Security; the RuntimeClass of an example must be there."""
    if handler := environment["spec"]["probe"].get("runtimeClassName"):
        runtime = {"metadata": {"name": handler}, "handler": handler}
        installed.admin.create("/apis/node.k8s.io/v1/runtimeclasses", runtime)
    (create,) = [action for action in planned(environment).actions if isinstance(action, CreatePod)]
    rights = installed.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    path = f"/api/v1/namespaces/{PROBE_NAMESPACE}/pods?dryRun=All&{STRICT}"
    async with await Kube.from_environment(str(rights)) as kube:
        if environment["metadata"]["name"] == "all-fields":
            # tests/integration/test_policy_follows_limits.py has the limits that admit it.
            with pytest.raises(ApiError, match=r"limits\.podAnnotationKeys"):
                await kube.create(path, create.manifest)
            return
        pod = await kube.create(path, create.manifest)
    assert pod["spec"]["priority"] == -100
    assert pod["spec"]["preemptionPolicy"] == "Never"
    assert not pod["spec"]["automountServiceAccountToken"]


def test_the_status_is_kept_whole(installed: ControlPlane, environment: dict[str, Any]) -> None:
    (write,) = [action for action in planned(environment).actions if isinstance(action, WriteStatus)]
    path = f"{ENVIRONMENTS}/{environment['metadata']['name']}/status?{STRICT}"
    assert installed.admin.merge(path, {"status": write.status})["status"] == write.status


def test_the_deployments_are_what_the_status_says(installed: ControlPlane) -> None:
    given = yaml.safe_load((EXAMPLES / "pytorch-2.9.yaml").read_text(encoding="utf-8"))
    given["metadata"] |= {"uid": "u", "generation": 1, "finalizers": [names.FINALIZER]}
    (write,) = [action for action in planned(given).actions if isinstance(action, WriteStatus)]
    for way in ("require", "tolerant", "avoid"):
        text = (EXAMPLES / f"scheduling/deployment-{way}.yaml").read_text(encoding="utf-8")
        pod = yaml.safe_load(text)["spec"]["template"]["spec"]
        snippet = write.status["placement"][way]
        assert {key: pod[key] for key in snippet} == snippet
