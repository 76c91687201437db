"""Decide whether an environment selects a node, by labels and capacity, never by what is allocatable right now."""

from collections.abc import Mapping
from typing import Any

from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.snapshot import NodeRecord


def is_selected(spec: EnvironmentSpec, node: NodeRecord, *, known: bool) -> bool:
    """Return whether the environment selects the node. ``known``: the validation already has a node report.

    Allocatable devices do not matter: a device plug-in that restarts removes them for a while, and a new plug-in has
    not added them yet (https://github.com/kubernetes-sigs/node-feature-discovery/issues/1802 shows the harm of
    deselecting nodes for that). GPU labels only count for NVIDIA's resources, because they say nothing about the
    resources of other device plug-ins.
    """
    if not matches(spec.selector, node.labels):
        return False
    device = spec.probe.device
    return device.resource_name in node.devices or (device.is_nvidia and node.gpu_labels) or known


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a ``metav1.LabelSelector`` matches these labels. An empty selector matches everything."""
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


def label_selector(selector: Mapping[str, Any]) -> str:
    """Return a ``metav1.LabelSelector`` in the form that the API server takes as the parameter of a list."""
    return ",".join(
        [
            *(f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()),
            *(_requirement(expression) for expression in selector.get("matchExpressions", ())),
        ]
    )


def _requirement(expression: Mapping[str, Any]) -> str:
    key, operator = expression["key"], expression["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return str(key) if operator == "Exists" else f"!{key}"
    return f"{key} {operator.lower()} ({','.join(expression['values'])})"
