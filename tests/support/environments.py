"""GPUEnvironments for tests: a small valid one, changed field by field."""

import copy
from typing import Any

IMAGE = "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"
ABSENT = object()
"""As a value: the field is removed."""


def environment(name: str = "pytorch-2-9", **fields: Any) -> dict[str, Any]:
    """A valid environment; each keyword is a path into the spec, with ``__`` for dots."""
    changes = {path.replace("__", "."): value for path, value in fields.items()}
    return changed({"metadata": {"name": name}, "spec": {"image": IMAGE}}, changes)


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of an environment with the fields at dotted paths of its spec set."""
    result = copy.deepcopy(base)
    result |= {"apiVersion": "gpuenv.dev/v1alpha1", "kind": "GPUEnvironment"}
    for path, value in changes.items():
        *parents, last = path.split(".")
        target = result["spec"]
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is ABSENT:
            del target[last]
        else:
            target[last] = value
    return result
