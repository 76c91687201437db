"""Raw objects for tests, as an API server would hand them out; everything not named has a plain default."""

import copy
from collections.abc import Mapping
from typing import Any

from gpuenv.plan.objects.times import show_time
from gpuenv_probe import codec

Raw = dict[str, Any]

NOW = 1_800_000_000.0
"""The time at which tests begin."""
IMAGE = "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"
IMAGE_ID = "docker.io/pytorch/pytorch@sha256:" + "d" * 64


def environment(name: str = "pt", **spec: Any) -> Raw:
    """A GPUEnvironment with our finalizer; keywords are fields of its spec."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": 1,
            "finalizers": ["gpuenv.dev/cleanup"],
            "annotations": {},
        },
        "spec": {"image": IMAGE, "schedule": {"maxConcurrent": 1000}} | spec,
    }


def node(name: str = "n1", **changes: Any) -> Raw:
    """A ready node with eight A100 and GPU Feature Discovery's labels.

    ``gpus``: (capacity, allocatable) or None, of ``resource``; ``driver``, ``boot``, ``labels``, ``annotations``, ``taints``,
    ``ready``, ``unschedulable``, ``conditions``, ``uid``.
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


def facts_report(run: str, **changes: Any) -> Raw:
    """What a probe tells in its first stage on a healthy A100."""
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
    """What a probe tells in its second stage on a healthy A100."""
    steps = ["alloc", "matmul", "conv", "attention", "train"]
    report: Raw = {
        "schema": 1,
        "stage": "kernels",
        "run": run,
        "complete": True,
        "torch": {"available": True, "archFlags": ["sm_70", "sm_80", "sm_90"], "cudnnEnabled": True},
        "steps": [{"name": name, "gpu": 0, "dtype": "fp32", "status": "Pass"} for name in steps],
        "benchmarks": [
            {"kernel": "matmul", "gpu": 0, "dtype": "bf16", "unit": "TFLOPS", "median": 240.5, "samples": 5}
        ],
    }
    return report | changes


def wrong_matmul(run: str) -> Raw:
    """A second stage whose matmul computed wrong numbers."""
    report = kernels_report(run)
    report["steps"][1] |= {"status": "Wrong", "detail": "3 of 1024 numbers are off"}
    return report


def running(started: float) -> Raw:
    """State of a container that runs."""
    return {"running": {"startedAt": show_time(started)}}


def waiting(reason: str, message: str = "") -> Raw:
    """State of a container that waits."""
    return {"waiting": {"reason": reason, "message": message}}


def terminated(
    message: str | Raw = "", *, code: int = 0, reason: str = "", at: float = NOW, started: float | None = None
) -> Raw:
    """State of a container that has ended; a report as message is encoded as the probe does it."""
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
    """A copy of a probe pod with another status.

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
    return pod


def _condition(kind: str, status: str, reason: str = "", message: str = "", at: float = NOW) -> Raw:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": show_time(at),
    }
