"""The settings of the operator that the planner needs. Flags and chart values set them; the defaults are here."""

from dataclasses import dataclass, field
from typing import Literal

from gpuenv.api import names
from gpuenv.api.limits.limits import Limits

UserNamespaces = Literal["Never", "WhereSupported"]
"""Which probe pods get a user namespace of their own: none, or those on nodes whose container runtime supports it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the operator that the planner needs."""

    max_probes: int = 50
    """The largest number of probe pods at a time, over all environments (:mod:`gpuenv.plan.fleet.places`)."""
    probe_namespace: str = names.PROBE_NAMESPACE
    probe_priority_class: str = names.PROBE_PRIORITY_CLASS
    config_map: str = ""
    """The name of the ConfigMap that contains the probe as a zip application."""
    leave_grace_seconds: float = 300.0
    """How long a node must have been outside an environment's selection before label and report are removed."""
    stuck_seconds: float = 120.0
    """How long after its deletion time a pod may take to end before it counts as stuck."""
    retry_seconds: float = 60.0
    retry_max_seconds: float = 3600.0
    failed_pods_kept: int = 20
    """The largest number of failed probe pods that each environment keeps so that people can read their logs."""
    openshift: bool = False
    user_namespaces: UserNamespaces = "Never"
    """Never is the default, because the NVIDIA Container Toolkit does not support pods with a user namespace.

    Its hooks then run as a user who may not prepare the container: https://github.com/NVIDIA/cloud-native-docs/pull/403.
    """
    mass_change_percent: int = 30
    """More than this percentage of an environment's nodes that leave Compatible are a mass change; 0: nothing is.

    :mod:`gpuenv.plan.fleet.mass_change` has the rule.
    """
    mass_change_min_nodes: int = 3
    """Fewer nodes than this are never a mass change."""
    mass_change_window_seconds: float = 86400.0
    """For how long a node that has left Compatible counts."""
    limits: Limits = field(default_factory=Limits)
    """What environments may ask for."""
