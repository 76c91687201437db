"""The limits that an administrator sets for all environments of a cluster.

An author of an environment may have less power in the cluster than the operator, so these limits bound what an
environment may ask for. Each default is defined here once; the chart's values repeat them, and a test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gpuenv.api import names
from gpuenv.api.limits.groups import Group

MAX_RESOURCES: Final = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "32Gi"}


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret for pulling images, and patterns of the names of the environments that may use it.

    The Secret is in the namespace of the probe pods.
    """

    secret_name: str
    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What environments may ask for. In a pattern, ``*`` stands for any characters, ``/`` included."""

    max_environments: int = 200
    """The largest number of environments in the cluster, without those of groups that have a number of their own."""
    images: tuple[str, ...] = ("*",)
    """Patterns of the images."""
    priority_class_names: tuple[str, ...] = (names.PROBE_PRIORITY_CLASS,)
    resource_names: tuple[str, ...] = (
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-*",
        "deviceclass.resource.kubernetes.io/gpu.nvidia.com",
        "deviceclass.resource.kubernetes.io/mig.nvidia.com",
    )
    """Patterns of the extended resources that probe pods may request.

    The defaults are GPUs only. ``nvidia.com/*`` would contain devices of networks as well, such as those of NVIDIA's
    Network Operator, which no NetworkPolicy bounds.
    """
    max_devices: int = 8
    """The largest number of devices of one probe pod, of all resources together."""
    allocation_modes: tuple[str, ...] = ("ExactCount", "All")
    """The values of ``spec.probe.device.allocationMode``, also those that only a later version of gpuenv implements."""
    max_resources: Mapping[str, str] = field(default_factory=lambda: dict(MAX_RESOURCES))
    """The largest amounts of ``cpu``, ``memory`` and ``ephemeral-storage`` of one probe pod, as quantities."""
    environment_variables: tuple[str, ...] = ("*",)
    """Patterns of the names of variables. Variables named ``NVIDIA_*`` are refused in any case."""
    pod_label_keys: tuple[str, ...] = ("kueue.x-k8s.io/queue-name",)
    """The keys of the labels that environments may add to their probe pods."""
    pod_annotation_keys: tuple[str, ...] = ()
    """The keys of the annotations that environments may add to their probe pods."""
    runtime_class_names: tuple[str, ...] = ("nvidia", "nvidia-cdi", "nvidia-legacy")
    """The RuntimeClasses of probe pods. The defaults are those that NVIDIA's GPU Operator creates."""
    scheduler_names: tuple[str, ...] = ("default-scheduler",)
    toleration_keys: tuple[str, ...] = ("*",)
    """Patterns of the keys of taints. A toleration of all taints has no key and needs the pattern ``*``."""
    max_timeout_seconds: int = 3600
    """The largest value of each field of ``spec.probe.timeouts``."""
    max_command_bytes: int = 65536
    """The largest size of ``spec.checks.commands``, as the JSON that the probe pod carries."""
    pull_secrets: tuple[PullSecret, ...] = ()
    """No environment may use a Secret that is not listed here."""
    gpu_seconds_per_day: int = 0
    """How many GPU-seconds the probe pods of one environment may use in a day (UTC); 0: any number.

    It does not hold for environments of groups that have a number of their own.
    """
    groups: tuple[Group, ...] = ()
    """Groups of environments that count together. An environment belongs to the first group that names it."""
