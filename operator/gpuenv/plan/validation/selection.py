"""Which nodes an environment selects, by labels and devices, and never by what is allocatable at the moment."""

from collections.abc import Mapping
from typing import Any

from gpuenv.api.environment import EnvironmentSpec
from gpuenv.plan.model import NodeRecord


def is_selected(spec: EnvironmentSpec, node: NodeRecord, *, known: bool) -> bool:
    """Return whether the environment is about the node. ``known``: there is a report of it already.

    A device plug-in that restarts takes the device out of *allocatable*, a new one has not put it in yet: neither
    deselects a node (https://github.com/kubernetes-sigs/node-feature-discovery/issues/1802 tells what that does).
    NVIDIA's labels announce the devices of NVIDIA's plug-in. They say nothing about the resources of another one.
    """
    if not matches(spec.selector, node.labels):
        return False
    device = spec.probe.device
    return device.resource_name in node.devices or (device.is_nvidia and node.gpu_labels) or known


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a ``metav1.LabelSelector`` matches labels. An empty one matches everything."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions", ()))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present, operator = expression["key"] in labels, expression["operator"]
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return not present
    inside = present and labels[expression["key"]] in expression["values"]
    # As in Kubernetes itself, an absent label is "not in" any list.
    return inside if operator == "In" else not inside
