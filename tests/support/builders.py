"""API objects for tests: environments, nodes, probe pods and node reports as dicts, and the reports of probes.

Each builder has plain defaults for everything that a test does not name.
"""

import copy
from collections.abc import Mapping
from typing import Any

from gpuenv.api import names
from gpuenv.plan.objects.times import show_time
from gpuenv.plan.run.manifest import GRACE_SECONDS
from gpuenv_probe import codec

Raw = dict[str, Any]

NOW = 1_800_000_000.0
"""The time at which tests begin, in seconds since the epoch."""
IMAGE = "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"
IMAGE_ID = "docker.io/pytorch/pytorch@sha256:" + "d" * 64
ABSENT = object()
"""As the value of a field of a specification: the field is left out."""


def environment(name: str = "pt", *, metadata: Raw | None = None, **fields: Any) -> Raw:
    """Return a GPUEnvironment as a person writes it, with the smallest valid specification.

    Each keyword is a path into the specification, with ``__`` for dots. ``metadata`` is added to the name.
    """
    spec: Raw = {"image": IMAGE}
    for path, value in fields.items():
        *parents, last = path.split("__")
        target = spec
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is ABSENT:
            del target[last]
        else:
            target[last] = value
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.ENVIRONMENT_KIND,
        "metadata": {"name": name} | (metadata or {}),
        "spec": spec,
    }


def node(name: str = "n1", **changes: Any) -> Raw:
    """Return a ready node with eight A100 and GPU Feature Discovery's labels.

    ``gpus`` is (capacity, allocatable) of the device plugin's ``resource``, or None. ``driver`` and ``boot`` are the
    driver's version and the boot id. ``labels``, ``annotations``, ``taints``, ``conditions``, ``ready``,
    ``unschedulable`` and ``uid`` are the node's own.
    """
    gpus, resource = changes.get("gpus", (8, 8)), changes.get("resource", "nvidia.com/gpu")
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/cuda.driver-version.full": changes.get("driver", "570.86.15"),
        **changes.get("labels", {}),
    }
    conditions = {"Ready": "True" if changes.get("ready", True) else "False", **changes.get("conditions", {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": changes.get("uid", f"uid-{name}"),
            "labels": labels,
            "annotations": changes.get("annotations", {}),
        },
        "spec": {
            "taints": changes.get("taints", []),
            "unschedulable": changes.get("unschedulable", False),
        },
        "status": {
            "capacity": {"cpu": "64"} | ({resource: str(gpus[0])} if gpus else {}),
            "allocatable": {"cpu": "64"} | ({resource: str(gpus[1])} if gpus else {}),
            "nodeInfo": {"bootID": changes.get("boot", "boot-1")},
            "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
        },
    }


def pod(environment: str, node: str, run_id: str = "run1", **status: Any) -> Raw:
    """Return the pending probe pod of one run; ``status`` is added to its status."""
    name = names.pod_name(environment, node, run_id)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
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


def report(environment: str, node: str, **status: Any) -> Raw:
    """Return a node report without a result; ``status`` is added to its status."""
    name = names.report_name(environment, node)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.REPORT_KIND,
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {names.LABEL_ENVIRONMENT: environment, names.LABEL_NODE: names.shorten(node)},
        },
        "spec": {"environmentName": environment, "nodeName": node, "nodeUID": f"uid-{node}"},
        "status": {"verdict": "Unknown", "reason": "GpusBusy"} | status,
    }


def facts_report(run: str, **changes: Any) -> Raw:
    """Return the probe report of the first stage on a healthy A100; ``changes`` replace whole keys."""
    report: Raw = {
        "schema": 1,
        "stage": "facts",
        "run": run,
        "complete": True,
        "container": {"python": "3.11.14", "machine": "x86_64", "glibc": "glibc 2.36", "uid": 65532},
        "driver": {
            "version": "570.86.15",
            "cudaVersion": 12080,
            "cuInit": 0,
            "deviceCount": 1,
            "libcuda": {"path": "/usr/lib/libcuda.so.1", "origin": "host"},
            "deviceNodes": [{"path": "/dev/nvidia0", "errno": 0}, {"path": "/dev/nvidia-uvm", "errno": 0}],
        },
        "gpus": [
            {
                "index": 0,
                "product": "NVIDIA A100-SXM4-80GB",
                "computeCapability": "8.0",
                "memoryMiB": 81251,
                "memoryFreeMiB": 80000,
            }
        ],
        "torch": {"version": "2.9.1+cu128", "cuda": "12.8", "cpuBuild": False, "cudnn": 91002},
    }
    return report | changes


def kernels_report(run: str, **changes: Any) -> Raw:
    """Return the probe report of the second stage on a healthy A100; ``changes`` replace whole keys."""
    steps = ["alloc", "matmul", "conv", "attention", "train"]
    report: Raw = {
        "schema": 1,
        "stage": "kernels",
        "run": run,
        "complete": True,
        "torch": {"available": True, "archFlags": ["sm_70", "sm_80", "sm_90"], "cudnnEnabled": True},
        "steps": [{"name": name, "gpu": 0, "dtype": "fp32", "status": "Pass"} for name in steps],
        "benchmarks": [
            {
                "benchmark": "MatMul",
                "gpu": 0,
                "dtype": "BF16",
                "unit": "TFLOPS",
                "median": 240.5,
                "samples": 5,
            }
        ],
    }
    return report | changes


def wrong_matmul(run: str) -> Raw:
    """Return the probe report of a second stage whose matmul computed wrong numbers."""
    report = kernels_report(run)
    report["steps"][1] |= {"status": "Wrong", "detail": "3 of 1024 numbers are off"}
    return report


def running(started: float) -> Raw:
    """Return the state of a container that has been running since ``started``."""
    return {"running": {"startedAt": show_time(started)}}


def waiting(reason: str, message: str = "") -> Raw:
    """Return the state of a container that cannot start yet."""
    return {"waiting": {"reason": reason, "message": message}}


def terminated(
    message: str | Raw = "", *, code: int = 0, reason: str = "", at: float = NOW, started: float | None = None
) -> Raw:
    """Return the state of a container that ended at ``at``. A probe report as message is encoded as the probe does."""
    text = codec.encode(message) if isinstance(message, Mapping) else message
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": text,
            "startedAt": show_time(at - 10 if started is None else started),
            "finishedAt": show_time(at),
        }
    }


def pod_status(pod: Raw, phase: str, **changes: Any) -> Raw:
    """Return a copy of a probe pod with another status.

    ``facts`` and ``kernels`` are container states; ``scheduled``, ``sandbox`` and ``deleted`` are times;
    ``unschedulable`` is the scheduler's message; ``disruption``, ``reason`` and ``message`` are the pod's.
    """
    pod = copy.deepcopy(pod)
    conditions = []
    if "scheduled" in changes:
        conditions.append(_condition("PodScheduled", "True", at=changes["scheduled"]))
    elif "unschedulable" in changes:
        why = changes.get("scheduling_reason", "Unschedulable")
        conditions.append(_condition("PodScheduled", "False", why, changes["unschedulable"]))
    if "sandbox" in changes:
        conditions.append(_condition("PodReadyToStartContainers", "True", at=changes["sandbox"]))
    if "disruption" in changes:
        conditions.append(_condition("DisruptionTarget", "True", changes["disruption"]))
    statuses = {
        name: {"name": name, "state": changes[name], "imageID": changes.get("image_id", IMAGE_ID)}
        for name in ("facts", "kernels")
        if name in changes
    }
    pod["status"] = {
        "phase": phase,
        "reason": changes.get("reason", ""),
        "message": changes.get("message", ""),
        "conditions": conditions,
        "initContainerStatuses": [statuses["facts"]] if "facts" in statuses else [],
        "containerStatuses": [statuses["kernels"]] if "kernels" in statuses else [],
    }
    if "deleted" in changes:
        pod["metadata"]["deletionTimestamp"] = show_time(changes["deleted"])
        pod["metadata"]["deletionGracePeriodSeconds"] = GRACE_SECONDS
    return pod


def _condition(kind: str, status: str, reason: str = "", message: str = "", at: float = NOW) -> Raw:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": show_time(at),
    }
