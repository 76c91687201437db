"""Raw API objects for tests of the controller, as small as the records need them."""

from typing import Any

from gpuenv.api import names

Raw = dict[str, Any]


def node(name: str, version: int = 1, **fields: Any) -> Raw:
    """A GPU node; ``labels`` are added to its own."""
    labels = {"kubernetes.io/hostname": name} | fields.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "labels": labels},
        "spec": {},
        "status": {
            "capacity": {"cpu": "8", "nvidia.com/gpu": "1"},
            "allocatable": {"cpu": "8", "nvidia.com/gpu": "1"},
            "nodeInfo": {"bootID": "boot"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    } | fields


def environment(name: str, version: int = 1, **metadata: Any) -> Raw:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.ENVIRONMENT_KIND,
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": 1}
        | metadata,
        "spec": {"image": "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"},
    }


def pod(environment: str, node: str, run_id: str = "run1", version: int = 1, **status: Any) -> Raw:
    name = names.pod_name(environment, node, run_id)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                names.LABEL_COMPONENT: names.COMPONENT_PROBE,
                names.LABEL_ENVIRONMENT: environment,
                names.LABEL_NODE: names.shorten(node),
            },
            "annotations": {
                names.ANNOTATION_NODE: node,
                names.ANNOTATION_RUN: run_id,
                names.ANNOTATION_INPUTS: "inputs",
                names.ANNOTATION_FINGERPRINT: "fingerprint",
            },
        },
        "spec": {},
        "status": {"phase": "Pending"} | status,
    }


def report(environment: str, node: str, version: int = 1, **status: Any) -> Raw:
    name = names.report_name(environment, node)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.REPORT_KIND,
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {names.LABEL_ENVIRONMENT: environment, names.LABEL_NODE: names.shorten(node)},
        },
        "spec": {"environment": environment, "nodeName": node, "nodeUID": f"uid-{node}"},
        "status": {"verdict": "Unknown", "reason": "GpusBusy"} | status,
    }
