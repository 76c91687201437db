"""A person who may create environments and nothing else tries to get more than the administrator allows.

The API server and the operator are real, and the administrator has left most limits at their defaults. Each attempt is
taken from a list of holes that were open before there were limits.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import builders
from tests.support.cluster import Kubectl
from tests.support.operator_process import (
    ENVIRONMENTS,
    QUICK,
    T4,
    nodes,
    operator,
    probe_pods,
    report,
    started,
    until_labelled,
)
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api import names, reasons
from gpuenv_sandbox.control_plane.cluster import ControlPlane

AUTHOR = "author"
LIMITS = {"images": ["pytorch/*"], "tolerationKeys": ["nvidia.com/*"]}
SCRIPT = {"name": "large", "command": ["sh", "-c", *["#" * 1024] * 8]}
HONEST = "honest"

ATTEMPTS: dict[str, tuple[dict[str, Any], str]] = {
    "preempt": ({"probe__priorityClassName": "system-node-critical"}, "spec.probe.priorityClassName"),
    "kvm": ({"probe__device__resourceName": "devices.kubevirt.io/kvm"}, "spec.probe.device.resourceName"),
    "rdma": ({"probe__resources": {"limits": {"rdma/hca": 1}}}, "spec.probe.resources.limits"),
    "memory": ({"probe__resources": {"requests": {"memory": "900Gi"}}}, "spec.probe.resources.requests.memory"),
    "many-gpus": ({"probe__device__count": 64}, "spec.probe.device.count"),
    "all-gpus": ({"probe__env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}, "spec.probe.env[0]"),
    "imex": ({"probe__env": [{"name": "NVIDIA_IMEX_CHANNELS", "value": "0"}]}, "spec.probe.env[0]"),
    "network": ({"probe__podAnnotations": {"k8s.v1.cni.cncf.io/networks": "storage"}}, "spec.probe.podAnnotations"),
    "mesh": ({"probe__podLabels": {"azure.workload.identity/use": "true"}}, "spec.probe.podLabels"),
    "runtime": ({"probe__runtimeClassName": "kata"}, "spec.probe.runtimeClassName"),
    "scheduler": ({"probe__schedulerName": "mine"}, "spec.probe.schedulerName"),
    "secret": ({"imagePullSecrets": [{"name": "other-team"}]}, "spec.imagePullSecrets[0]"),
    "metadata": ({"image": "169.254.169.254/latest/meta-data:1"}, "spec.image"),
    "lookalike": ({"image": "pytorch.evil.example/pytorch:1"}, "spec.image"),
    "everywhere": ({"probe__tolerations": [{"operator": "Exists"}]}, "spec.probe.tolerations[0]"),
    "for-days": ({"probe__timeouts__runSeconds": 86400}, "spec.probe.timeouts.runSeconds"),
    "scripts": ({"checks__commands": [SCRIPT | {"name": f"c{n}"} for n in range(9)]}, "spec.checks.commands"),
}  # fmt: skip
"""By name of the environment: what it asks for, and the field that has to be named."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


@pytest.fixture(scope="module")
def author(plane: ControlPlane) -> Kubectl:
    """kubectl with the rights of an author of environments."""
    subject = {"kind": "ServiceAccount", "name": AUTHOR, "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gpuenv-author"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}
    admin = Kubectl(plane)
    admin.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": AUTHOR}},
        binding | {"metadata": {"name": AUTHOR}, "roleRef": role, "subjects": [subject]},
    )
    kubectl = Kubectl(plane, plane.kubeconfig_for_service_account("default", AUTHOR))
    wait_until(lambda: kubectl.run("auth", "can-i", "create", "gpuenvironments").returncode == 0, "the role")
    assert kubectl.run("auth", "can-i", "create", "pods", "-n", "gpuenv-probes").returncode != 0
    return kubectl


def accepted(plane: ControlPlane, environment: str) -> tuple[str, str, str]:
    """Return status, reason and message of the condition Accepted for the present generation, "" for each before."""
    found = plane.admin.get(f"{ENVIRONMENTS}/{environment}")
    for one in found["status"]["conditions"]:
        if one["type"] == "Accepted" and one["observedGeneration"] == found["metadata"]["generation"]:
            return one["status"], one["reason"], one["message"]
    return "", "", ""


def is_refused(seen: tuple[str, str, str], field: str) -> bool:
    """Return whether an environment is not allowed, with a message that names the field and a cure."""
    status, reason, message = seen
    cured = "remove it" in message or "ask the administrator" in message
    return (status, reason) == ("False", reasons.NotAllowed) and message.startswith(field) and cured


async def test_each_attempt_is_refused_with_field_and_cure(
    plane: ControlPlane, author: Kubectl, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text(yaml.safe_dump(LIMITS), encoding="utf-8")
    async with nodes(plane, T4) as (_, (node,)):
        selected = {"nodes__selector": {"matchLabels": {"kubernetes.io/hostname": node}}}
        with operator(plane, *QUICK, f"--limits={limits}") as running:
            wanted = {name: fields for name, (fields, _) in ATTEMPTS.items()} | {HONEST: {}}
            made = [builders.environment(name, **selected, **fields) for name, fields in wanted.items()]
            await asyncio.to_thread(author.apply, *made)
            # When the honest environment, which comes last, has its answer, all others had their chance.
            await until_labelled(plane, HONEST, [node], "Compatible", running)

            def unlike() -> dict[str, Any]:
                seen = {name: (accepted(plane, name), field) for name, (_, field) in ATTEMPTS.items()}
                return {name: one for name, one in seen.items() if not is_refused(*one)}

            await wait_until_async(lambda: not unlike(), unlike)
            for name in ATTEMPTS:
                assert probe_pods(plane, name) == []
                assert report(plane, name, node) is None
                assert (
                    names.node_label(name)
                    not in plane.admin.get(f"/api/v1/nodes/{node}")["metadata"]["labels"]
                )

            author(
                "patch",
                "genv",
                "scheduler",
                "--type=merge",
                "-p",
                '{"spec": {"probe": {"schedulerName": null}}}',
            )
            await until_labelled(plane, "scheduler", [node], "Compatible", running)

        limits.write_text(yaml.safe_dump({"tolerationKeys": ["*"]}), encoding="utf-8")
        with operator(plane, *QUICK, f"--limits={limits}") as running:
            await until_labelled(plane, "everywhere", [node], "Compatible", running)
            assert accepted(plane, "preempt")[:2] == ("False", reasons.NotAllowed)
            assert accepted(plane, HONEST)[0] == "True"
