"""What a program can do inside a real probe pod: what is refused, and what the pod's own limits end.

The first container of the pod runs another program than the probe; everything else is the manifest that the operator
creates. Traffic is not tried: the chart's NetworkPolicy denies it, and the network plug-in of this node enforces none. A
program without credentials gets nothing from the API server anyway.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import attempts, builders
from tests.support.node import PIDS_LIMIT, RealNode
from tests.support.probe_pods import seen_as_stamped
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api import reasons
from gpuenv.controller import bundle, probe_files
from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest
from gpuenv.plan.run.clocks import observe
from gpuenv.plan.run.outcome import Ended, Outcome
from gpuenv.plan.settings import Settings
from gpuenv_sandbox.control_plane.admin_client import RestClient

pytestmark = pytest.mark.e2e

ATTEMPTS = Path(attempts.__file__).read_text(encoding="utf-8")
FILL = """
with open("{path}", "wb", buffering=0) as file:
    for _ in range(64):
        file.write(b"x" * 2**20)
import threading
threading.Event().wait()
"""
"""A program that writes 64 MiB and then waits for the kubelet."""
LITTLE_STORAGE = {"limits": {"ephemeral-storage": "16Mi"}}


class ProbePods:
    """Runs probe pods whose first container runs a Python program of the test."""

    def __init__(self, admin: RestClient, node: RealNode, image: str, settings: Settings) -> None:
        self._admin, self._node, self._image, self._settings = admin, node, image, settings
        self._path = f"/api/v1/namespaces/{settings.probe_namespace}/pods"

    def start(self, program: str, pod_spec: dict[str, Any] | None = None, **probe: Any) -> "ProbePod":
        raw = builders.environment(unique("confined"), image=self._image, probe=probe)
        environment = records.environment_record(raw)
        node = records.node_record(self._admin.get(f"/api/v1/nodes/{self._node.name}"))
        made = manifest.build(environment, node, self._settings, run_id="0123456789")
        made["spec"] |= pod_spec or {}
        made["spec"]["initContainers"][0]["command"] = ["python3", "-c", program]
        created = self._admin.create(f"{self._path}?fieldValidation=Strict", made)
        assert environment.spec is not None
        path = f"{self._path}/{created['metadata']['name']}"
        return ProbePod(
            self._admin,
            path,
            lambda raw, now: observe(
                seen_as_stamped(records.pod_record(raw)), node, environment.spec, self._settings, now
            ),
        )

    def events(self) -> Any:
        """Return the Events of all pods in the namespace."""
        return self._admin.get(f"/api/v1/namespaces/{self._settings.probe_namespace}/events")["items"]


class ProbePod:
    """One probe pod on the real node."""

    def __init__(self, admin: RestClient, path: str, look: Any) -> None:
        self._admin, self._path, self._look = admin, path, look

    def read(self) -> dict[str, Any]:
        pod: dict[str, Any] = self._admin.get(self._path)
        return pod

    def outcome(self, now: float | None = None) -> Outcome:
        """Return what the operator makes of the pod, by default at present."""
        outcome: Outcome = self._look(self.read(), time.time() if now is None else now)
        return outcome

    def report(self) -> Any:
        """Wait until the first container has ended, and return the JSON in its termination message."""

        def ended() -> Any:
            states = [one["state"] for one in self.read()["status"].get("initContainerStatuses", [])]
            return next((state["terminated"] for state in states if "terminated" in state), None)

        state = wait_until(ended, lambda: self.read()["status"])
        assert state["exitCode"] == 0, state
        return json.loads(state["message"])


@pytest.fixture
def probe_pods(
    real_node: RealNode, admin: RestClient, namespace: str, probe_images: dict[str, str]
) -> Iterator[ProbePods]:
    """Probe pods in a namespace that enforces ``restricted``, with a PriorityClass like the chart's."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    files = probe_files.config_map(bundle.build_zipapp(), namespace)
    admin.create(f"/api/v1/namespaces/{namespace}/configmaps", files)
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    priority = {"metadata": {"name": namespace}, "value": -100, "preemptionPolicy": "Never"}
    admin.create(classes, priority)
    settings = Settings(
        probe_namespace=namespace, probe_priority_class=namespace, config_map=files["metadata"]["name"]
    )
    yield ProbePods(admin, real_node, probe_images["no_torch"], settings)
    admin.delete(f"{classes}/{namespace}")


def test_what_a_program_in_a_probe_pod_is_refused(probe_pods: ProbePods) -> None:
    done = probe_pods.start(ATTEMPTS).report()
    assert done == {
        # No credentials, and nothing to be had without them.
        "token": "ENOENT",
        "secrets": [],
        "API": done["API"],
        # Files: only /tmp, and /dev/shm, which has 64 MiB and counts as memory.
        "writable": ["/dev/shm", "/tmp"],
        "shm": "ENOSPC",
        # No device of the node, and no way to make one; no GPU but those of the device plug-in.
        "devices": [],
        "disk device": "EPERM",
        "NVIDIA": [],
        # No rights, and none to be had.
        "root": "EPERM",
        "mount": "EPERM",
        "namespace": "EPERM",
        "status": {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"},
        "other processes": [1],
        # CPUs, memory and /dev/shm in MiB.
        "limits": [8.0, 8192, 64],
        # The pod has no limit of processes. Here the kubelet's own one (podPidsLimit) stops it.
        "fork": "EAGAIN",
        "processes": done["processes"],
    }
    assert done["processes"] < PIDS_LIMIT
    assert any(word in done["API"] for word in ("401", "403", "no connection")), done["API"]


@pytest.mark.parametrize(
    ("path", "root"), [("/tmp/much", "ReadOnly"), ("/var/tmp/much", "Writable")], ids=["tmp", "root"]
)
def test_a_pod_that_fills_the_disk_is_evicted_and_blames_neither_image_nor_node(
    probe_pods: ProbePods, path: str, root: str
) -> None:
    pod = probe_pods.start(FILL.format(path=path), resources=LITTLE_STORAGE, rootFilesystem=root)
    wait_until(lambda: pod.read()["status"].get("phase") == "Failed", lambda: pod.read()["status"])
    outcome = pod.outcome()
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reasons.StorageExceeded, False), pod.read()["status"]
    assert "limit" in outcome.message


def test_a_user_namespace_that_the_node_does_not_support_is_named(probe_pods: ProbePods) -> None:
    """The operator asks for one only where the node supports it; here it is forced on a node with an older runc."""
    pod = probe_pods.start("", {"hostUsers": False})
    wait_until(lambda: "FailedCreatePodSandBox" in str(probe_pods.events()), probe_pods.events)
    outcome = pod.outcome(time.time() + 3600)
    assert isinstance(outcome, Ended)
    assert (outcome.reason, outcome.answered) == (reasons.UserNamespaceFailed, False)
