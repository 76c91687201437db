"""Which nodes an environment is about, by labels and devices; never by what happens to be allocatable now."""

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
    """A ``metav1.LabelSelector`` against labels; an empty one matches everything."""
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
    # A label that is absent is "not in" any list, as in Kubernetes itself.
    return inside if operator == "In" else not inside
