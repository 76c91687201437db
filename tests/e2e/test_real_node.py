"""The real node runs pods as any cluster's node does; these are the kubelet's own words that gpuenv reads."""

from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.node import RealNode
from tests.support.node_images import ROOTS_PYTHON
from tests.support.wait import wait_until

from gpuenv_sandbox.control_plane.admin_client import RestClient

pytestmark = pytest.mark.e2e

MESSAGE = "print('x' * 4096, file=open('/dev/termination-log', 'w'), end='')"
IMPORT_TORCH = """
import os
try:
    import torch
    text = f"torch {torch.__version__} cuda {torch.version.cuda}"
except ImportError as error:
    text = str(error)
print(f"{text} uid {os.getuid()}", file=open("/dev/termination-log", "w"), end="")
"""
CALL_API = """
import os, ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = "https://" + os.environ["KUBERNETES_SERVICE_HOST"] + "/version"
context = ssl.create_default_context(cafile=account + "ca.crt")
headers = {"Authorization": "Bearer " + open(account + "token").read()}
answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context, timeout=60)
print(answer.status, file=open("/dev/termination-log", "w"), end="")
"""


class Pods:
    """Runs pods with one container in a namespace that enforces ``restricted``."""

    def __init__(self, admin: RestClient, namespace: str) -> None:
        self.admin = admin
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def create(self, name: str, image: str, *command: str) -> None:
        container = {
            "name": "main",
            "image": image,
            "command": list(command),
            "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "512Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "containers": [container],
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": 0,
        }
        self.admin.create(self.path, {"metadata": {"name": name}, "spec": spec})

    def run(self, image: str, *command: str) -> dict[str, Any]:
        """How the container of a new pod has ended."""
        self.create("pod", image, *command)
        ended: dict[str, Any] = wait_until(lambda: self._ended("pod"), lambda: self.status("pod"))
        return ended

    def status(self, name: str) -> Any:
        return self.admin.get(f"{self.path}/{name}")["status"]

    def _ended(self, name: str) -> Any:
        states = [one["state"] for one in self.status(name).get("containerStatuses", [])]
        return next((state["terminated"] for state in states if "terminated" in state), None)


@pytest.fixture
def pods(real_node: RealNode, admin: RestClient, kubectl: Kubectl, namespace: str) -> Pods:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return Pods(admin, namespace)


def test_a_termination_message_of_full_size_is_read_through_the_api(
    pods: Pods, probe_images: dict[str, str]
) -> None:
    ended = pods.run(probe_images["no_torch"], "python3", "-c", MESSAGE)
    assert (ended["reason"], ended["message"]) == ("Completed", "x" * 4096)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("stand_in_torch", "torch 2.9.1+cu128 cuda 12.8 uid 65532"),
        ("cpu_torch", "torch 1.13.0a0 cuda None uid 65532"),
        ("no_torch", "No module named 'torch' uid 65532"),
    ],
)
def test_what_python_sees_in_each_image(
    pods: Pods, probe_images: dict[str, str], image: str, expected: str
) -> None:
    assert pods.run(probe_images[image], "python3", "-c", IMPORT_TORCH).get("message") == expected


@pytest.mark.parametrize(
    ("image", "python", "expected"),
    [
        ("no_python", "python3", "executable file not found in $PATH"),
        ("root_only_python", "python3", "executable file not found in $PATH"),
        ("root_only_python", ROOTS_PYTHON, "permission denied"),
    ],
)
def test_what_the_kubelet_says_where_the_interpreter_cannot_start(
    pods: Pods, probe_images: dict[str, str], image: str, python: str, expected: str
) -> None:
    ended = pods.run(probe_images[image], python, "-c", "")
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert expected in ended["message"]


def test_a_pod_waits_while_no_gpu_is_advertised(
    real_node: RealNode, pods: Pods, probe_images: dict[str, str]
) -> None:
    def scheduled() -> list[str]:
        conditions = pods.status("waits").get("conditions", [])
        return [one.get("reason") for one in conditions if one["type"] == "PodScheduled"]

    real_node.advertise({"nvidia.com/gpu": "0"})
    try:
        pods.create("waits", probe_images["no_torch"], "python3", "-c", "")
        wait_until(lambda: scheduled() == ["Unschedulable"], scheduled)
    finally:
        real_node.advertise({"nvidia.com/gpu": "1"})
    wait_until(lambda: pods.status("waits")["phase"] == "Succeeded", lambda: pods.status("waits"))


def test_a_pod_reaches_the_api_server_at_the_address_of_its_service(
    pods: Pods, probe_images: dict[str, str]
) -> None:
    assert pods.run(probe_images["no_torch"], "python3", "-c", CALL_API).get("message") == "200"
