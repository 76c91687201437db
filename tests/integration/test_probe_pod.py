"""Probe pods against a real API server: valid, admitted under Pod Security, and nothing added to them."""

from typing import Any

import pytest
from tests.support import builders

from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest
from gpuenv.plan.settings import Settings
from gpuenv_sandbox.control_plane.admin_client import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane

PATH = "/api/v1/namespaces/gpuenv-probes/pods?dryRun=All&fieldValidation=Strict"


PLAIN = Settings(config_map="gpuenv-probe-0123456789")


def built(settings: Settings = PLAIN, **spec: Any) -> dict[str, Any]:
    environment = records.environment_record(builders.environment(**spec))
    return manifest.build(environment, records.node_record(builders.node()), settings, run_id="0123456789")


EVERYTHING: dict[str, Any] = {
    "checks": {
        "imports": ["vllm"],
        "features": ["Compile"],
        "commands": [{"name": "smoke", "command": ["python", "-c", "import torch"], "timeoutSeconds": 30}],
    },
    "benchmarks": {"profile": "Standard"},
    "probe": {
        "device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 2},
        "schedulerName": "default-scheduler",
        "resources": {"limits": {"memory": "128Mi", "cpu": "50m"}, "requests": {"ephemeral-storage": "1Gi"}},
        "env": [{"name": "HF_HOME", "value": "/tmp/hf"}],
        "python": "/opt/conda/bin/python",
        "useEntrypoint": True,
        "podLabels": {"kueue.x-k8s.io/queue-name": "probes"},
    },
}


@pytest.mark.parametrize("spec", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_probe_pod_is_admitted_under_restricted(installed: ControlPlane, spec: dict[str, Any]) -> None:
    answer = installed.admin.create(PATH, built(**spec))
    assert answer["spec"]["priority"] < -10, "autoscalers ignore it"
    assert answer["spec"]["preemptionPolicy"] == "Never"
    names = {volume["name"] for volume in answer["spec"]["volumes"]}
    assert names == {"probe", "tmp"}, "no service-account token"


def test_a_probe_pod_with_a_user_namespace_is_admitted_too(installed: ControlPlane) -> None:
    made = built()
    made["spec"]["hostUsers"] = False
    answer = installed.admin.create(PATH, made)
    assert answer["spec"]["hostUsers"] is False
    assert records.pod_record(answer).user_namespace


def test_it_reads_back_as_what_was_planned(installed: ControlPlane) -> None:
    made = built()
    read = records.pod_record(installed.admin.create(PATH, made))
    planned = records.pod_record(made)
    assert (read.environment, read.node, read.run_id, read.inputs_hash, read.fingerprint) == (
        planned.environment,
        planned.node,
        planned.run_id,
        planned.inputs_hash,
        planned.fingerprint,
    )
    assert read.created_at > 0


def test_the_images_own_user_needs_a_looser_namespace(installed: ControlPlane) -> None:
    with pytest.raises(ApiError) as refused:
        installed.admin.create(PATH, built(probe={"runAs": "Image"}))
    assert refused.value.status == 403
    assert "runAsNonRoot" in refused.value.message


def test_openshifts_pod_leaves_the_user_to_the_cluster(installed: ControlPlane) -> None:
    made = built(Settings(config_map="gpuenv-probe-0123456789", openshift=True))
    answer = installed.admin.create(PATH, made)
    assert "runAsUser" not in answer["spec"]["securityContext"]
