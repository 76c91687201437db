"""What happens to a real node while it is validated: full, out of GPUs for a while, removed and back again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.builders import environment
from tests.support.cluster import Kubectl
from tests.support.node import RealNode
from tests.support.node_images import ROOTS_PYTHON, NodeImages
from tests.support.release import Release
from tests.support.wait import PATIENTLY, wait_until

from gpuenv.api import names

pytestmark = pytest.mark.e2e

GPU = "nvidia.com/gpu"
ENFORCE = "pod-security.kubernetes.io/enforce"


class Environment:
    """One environment on the real node."""

    def __init__(self, release: Release, name: str, image: str, **fields: Any) -> None:
        self.release, self.kubectl, self.node, self.name = release, release.kubectl, release.node, name
        self.kubectl.apply(environment(name, image=image, benchmarks__profile="None", **fields))

    def report(self) -> Any:
        result = self.kubectl.run("get", "gnr", f"{self.name}.{self.node.name}", "-o", "name")
        return self.kubectl.get("gnr", f"{self.name}.{self.node.name}") if result.returncode == 0 else {}

    def label(self) -> str | None:
        return self.release.label(self.name)

    def until(self, verdict: str, reason: str = "") -> Any:
        """Waits for report and label; the report's status."""

        def status() -> Any:
            return self.report().get("status") or {}

        def reached() -> bool:
            found = status()
            return (found.get("verdict"), found.get("reason", "")) == (
                verdict,
                reason,
            ) and self.label() == verdict

        wait_until(reached, status)
        return status()


@contextmanager
def somebodys_pod(kubectl: Kubectl, node: RealNode, image: str) -> Iterator[None]:
    """A running pod that has the node's one GPU."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", "import threading; threading.Event().wait()"],
        "resources": {"limits": {GPU: "1"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "nodeName": node.name}
    metadata = {"name": "somebodys", "namespace": "default"}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl("wait", "--for=condition=Ready", "pod/somebodys", PATIENTLY)
    try:
        yield
    finally:
        kubectl("delete", "pod/somebodys", PATIENTLY)


@contextmanager
def every_label_of(one: Environment) -> Iterator[list[str]]:
    """The values that the label takes meanwhile, as a watch tells them; "" for none."""
    key = names.node_label(one.name).replace(".", "\\.")
    with one.kubectl.watch(
        "node", one.node.name, "-o", f'jsonpath={{.metadata.labels.{key}}}{{"\\n"}}'
    ) as lines:
        yield lines


def test_a_full_node_is_unknown_until_its_gpu_is_free(release: Release, probe_images: NodeImages) -> None:
    image = probe_images["stand_in_torch"]
    timeouts = {"schedulingSeconds": 5}
    with somebodys_pod(release.kubectl, release.node, image):
        full = Environment(release, "full", image, probe__timeouts=timeouts)
        assert full.until("Unknown", "GpusBusy")["message"]
        assert release.kubectl("get", "pod/somebodys", "-o", "jsonpath={.status.phase}") == "Running"
    full.until("Compatible")


def test_a_device_plugin_that_restarts_costs_no_label(release: Release, probe_images: NodeImages) -> None:
    plugin = Environment(release, "plug-in", probe_images["stand_in_torch"])
    before = plugin.until("Compatible")
    with every_label_of(plugin) as seen:
        release.node.advertise({GPU: "0"})
        try:
            plugin.until("Unknown", "GpuNotAdvertised")
        finally:
            release.node.advertise({GPU: "1"})
        after = plugin.until("Compatible")
        wait_until(lambda: seen[-1:] == ["Compatible"], lambda: seen)
    assert after["internal"]["runID"] == before["internal"]["runID"], "nothing was run again"
    assert seen == ["Compatible", "Unknown", "Compatible"], "the label changed, and was never away"


def test_a_node_that_was_removed_and_added_again_is_validated_anew(
    release: Release, probe_images: NodeImages
) -> None:
    back = Environment(release, "back", probe_images["stand_in_torch"])
    before = back.until("Compatible")
    uid = back.report()["spec"]["nodeUID"]
    release.node.leave_and_join_again()
    assert back.label() is None, "a new node begins without labels"
    release.node.advertise({GPU: "1"})
    wait_until(lambda: back.report().get("spec", {}).get("nodeUID") not in (None, uid), back.report)
    assert back.until("Compatible")["internal"]["runID"] != before["internal"]["runID"]


def test_an_image_that_needs_its_own_user_runs_where_the_namespace_allows_it(
    release: Release, probe_images: NodeImages
) -> None:
    """An interpreter that only root may read, with ``runAs: Image``: refused by ``restricted``, not by ``baseline``."""
    image = probe_images["root_only_python"]
    fields = {"probe__python": ROOTS_PYTHON, "probe__runAs": "Image"}
    as_image = Environment(release, "as-image", image, **fields)
    refused = as_image.until("Unknown", "ProbeRejected")
    assert "PodSecurity" in refused["message"]
    release.kubectl("label", "--overwrite", "namespace/gpuenv-probes", f"{ENFORCE}=baseline")
    try:
        as_image.until("Compatible")
    finally:
        release.kubectl("label", "--overwrite", "namespace/gpuenv-probes", f"{ENFORCE}=restricted")
